/* Name and password at a terminal, and the `host login` command; in a shell's fiber. */
#include "control/login.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/users.h"

#define TYPING (60 * CLOCK_SECOND)
#define PAUSE (2 * CLOCK_SECOND) /* after a refusal */

static bool console_asks;

bool login_wanted(void)
{
    return console_asks && users_any();
}

bool login_read(struct terminal *t, const char *question, bool shown, u64 deadline, char *buf,
                u32 len)
{
    u32 n = 0;

    terminal_print(t, question);
    for (;;) {
        int key = terminal_key(t, deadline);

        if (key < 0 || key == 0x03 || (key == 0x04 && !n)) {
            terminal_print(t, "\n");
            memset(buf, 0, len);
            return false;
        }
        if (key == '\r' || key == '\n')
            break;
        if ((key == 0x7f || key == 0x08) && n) {
            n--;
            if (shown)
                terminal_print(t, "\b \b");
        } else if (key == 0x15) {
            for (; n; n--)
                terminal_print(t, shown ? "\b \b" : "");
        } else if (key >= 0x20 && key != 0x7f && n + 1 < len) {
            buf[n++] = (char)key;
            if (shown)
                terminal_write(t, &buf[n - 1], 1);
        }
    }
    buf[n] = 0;
    terminal_print(t, "\n");
    return true;
}

u64 login_console(struct terminal *t, char *user, u32 len)
{
    char password[USERS_PASSWORD], name[USERS_NAME];

    if (!login_read(t, "login: ", true, ~0ull, name, sizeof(name)) || !name[0])
        return 0;
    if (!login_read(t, "password: ", false, clock_after(TYPING), password, sizeof(password)))
        return 0;
    u64 id = users_check(name, password, "console");
    memset(password, 0, sizeof(password));
    snprintf(user, len, "%s", name);
    if (id)
        return id;
    fiber_sleep_until(clock_after(PAUSE));
    terminal_print(t, "E_LOGIN: name or password is wrong, or the user is locked. "
                      "Try: again, later\n");
    return 0;
}

/* ---- host login -------------------------------------------------------------------------------
 */
static enum hv_status run_login(const struct schema_args *args, struct out *out)
{
    const char *console = args_text(args, "console");

    if (!console) {
        out_field(out, "console", "%s",
                  !console_asks ? "no login: whoever is at it is root"
                  : users_any() ? "login"
                                : "login, as soon as there is a user");
        out_end_object(out);
        return HV_OK;
    }
    bool admin = false;
    for (const struct user *u = users_first(); u; u = u->next)
        admin |= u->role == ROLE_ADMIN && u->hash[0] && !u->barred;
    if (!strcmp(console, "yes") && !admin)
        return out_error(out, HV_EINVAL, "E_NO_USER", "host user add NAME role=admin",
                         "no administrator with a password could log in at the console");
    console_asks = !strcmp(console, "yes");
    return HV_OK;
}

static void save_login(struct schema_text *t)
{
    if (console_asks)
        schema_put(t, "host login console=yes");
}
SCHEMA_SAVES(save_login, SAVES_SERVICE);

static const struct schema_arg login_args[] = {
    {"console", PLACE_KEY, ARG_ENUM, .values = "yes|no",
     .help = "no: whoever is at the serial console is root"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "login", "whether the serial console asks who is there", "host login console=yes",
     ROLE_ADMIN, login_args, NULL, run_login},
};
SCHEMA_COMMANDS(commands);
