/* links: control/ssh_session.c control/entropy.c control/users.c control/password.c control/terminal.c control/schema.c control/rt/random.c control/rt/ring.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c */
/* SSH connections over Linux sockets: OpenSSH's client, and bytes that no client sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/loop.h"
#include "control/shell.h"
#include "control/ssh_session.h"
#include "control/users.h"

/* ---- a shell that repeats what it is told ------------------------------------------------------
 */
struct shell {
    struct terminal *terminal;
    const char *line;
    void (*ended)(void *owner, int status);
    void *owner;
};

static void shell_fiber(void *arg)
{
    struct shell *s = arg;
    int key;

    if (s->line)
        terminal_print(s->terminal, s->line);
    while (!s->line && (key = terminal_key(s->terminal, LOOP_NEVER)) >= 0) {
        char byte = (char)key;

        terminal_write(s->terminal, &byte, 1);
    }
    s->ended(s->owner, 7);
    free(s);
}

struct shell *shell_open(struct terminal *t, const char *user, enum schema_role role,
                         const char *from, const char *line, void (*ended)(void *owner, int status),
                         void *owner)
{
    struct shell *s = malloc(sizeof(*s));

    (void)user, (void)role, (void)from;
    *s = (struct shell){t, line, ended, owner};
    assert_non_null(fiber_spawn("shell", shell_fiber, s));
    return s;
}

void shell_resize(struct shell *s, u32 rows, u32 columns)
{
    (void)s, (void)rows, (void)columns;
}

/* ---- connections -------------------------------------------------------------------------------
 */
static char key[SSH_SESSION_KEY];
static bool served;

static void serve(void *arg)
{
    struct ssh_session_options o = {.key = key, .peer = "test", .passwords = true};

    ssh_session_serve(*(int *)arg, &o);
    served = true;
}

/* Nothing else wakes the loop, which sleeps when the last fiber has ended. */
static struct loop_timer ticker;

static void tick(void *owner)
{
    loop_timer_set(owner, clock_after(10 * CLOCK_MS));
}

static void run(int fd)
{
    served = false;
    ticker = (struct loop_timer){.fn = tick, .owner = &ticker};
    tick(&ticker);
    assert_non_null(fiber_spawn("ssh", serve, &fd));
    while (!served)
        loop_step();
    loop_timer_cancel(&ticker);
}

static int set_up(void **state)
{
    struct user *u;

    (void)state;
    clock_init();
    return ssh_session_new_key(key) && users_add("anna", ROLE_ADMIN, &u) == HV_OK ? 0 : -1;
}

static void host_keys(void **state)
{
    char text[80];

    (void)state;
    assert_true(ssh_session_is_key(key));
    assert_false(ssh_session_is_key("AAAA"));
    assert_false(ssh_session_is_key(""));
    assert_true(ssh_session_fingerprint(key, text, sizeof(text)));
    assert_memory_equal(text, "SHA256:", 7);
}

/* Bytes, then the end of the stream. */
static void say(const void *bytes, u32 len)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[0], bytes, len), len);
    shutdown(pair[0], SHUT_WR);
    run(pair[1]);
    close(pair[0]);
}

static void noise(void **state)
{
    static const char banner[] = "SSH-2.0-OpenSSH_9.2p1\r\n";
    u8 bytes[4000];

    (void)state;
    srand(1);
    for (u32 n = 0; n < 300; n++) {
        u32 len = (u32)rand() % sizeof(bytes), skip = n % 3 ? sizeof(banner) - 1 : 0;

        for (u32 i = 0; i < len; i++)
            bytes[i] = (u8)rand();
        if (len < skip + 6)
            len = skip + 6;
        memcpy(bytes, banner, skip);
        if (n % 3 == 2) { /* a packet that may be whole: length, padding, KEXINIT */
            bytes[skip] = bytes[skip + 1] = 0;
            bytes[skip + 4] = 4 + (u8)(n % 16);
            bytes[skip + 5] = (u8)(n % 5 ? 20 : n);
        }
        say(bytes, len);
    }
}

/* OpenSSH's client, its key that the user has, and a command. */
static void come_with_key(const char *type)
{
    char folder[] = "/tmp/bulkhead-ssh-XXXXXX", line[900], text[USERS_KEY + 100] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in {
        unsigned short family, port;
        u32 address;
        char zero[8];
    } a = {.family = AF_INET, .address = 0x0100007f};
    socklen_t size = sizeof(a);

    assert_non_null(mkdtemp(folder));
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    snprintf(line, sizeof(line), "ssh-keygen -q -t %s -N '' -C '' -f %s/key", type, folder);
    assert_int_equal(system(line), 0);
    snprintf(line, sizeof(line), "cut -d' ' -f1,2 %s/key.pub", folder);
    FILE *f = popen(line, "r");
    assert_non_null(fgets(text, sizeof(text), f));
    pclose(f);
    text[strcspn(text, "\n")] = 0;
    assert_int_equal(users_add_key(users_find("anna"), text), HV_OK);
    snprintf(line, sizeof(line),
             "timeout 60 ssh -F /dev/null -i %s/key -o IdentitiesOnly=yes -o LogLevel=ERROR "
             "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p %u anna@127.0.0.1 "
             "'echo this' </dev/null; echo \"=$?\"",
             folder, __builtin_bswap16(a.port));
    f = popen(line, "r");
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    run(fd);
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    pclose(f);
    close(listener);
    snprintf(line, sizeof(line), "rm -r %s", folder);
    assert_int_equal(system(line), 0);
    assert_string_equal(text, "echo this=7\n");
}

static void the_other_implementation(void **state)
{
    (void)state;
    come_with_key("ed25519");
    come_with_key("ecdsa");
    come_with_key("rsa -b 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_keys),
        cmocka_unit_test(the_other_implementation),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
