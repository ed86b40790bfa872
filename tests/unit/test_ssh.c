/* links: control/ssh_keys.c control/ssh_session.c control/entropy.c control/users.c control/refusal.c control/password.c control/terminal.c control/schema.c control/rt/random.c control/rt/ring.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c */
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
#include "control/rt/sys.h"
#include "control/shell.h"
#include "control/ssh_keys.h"
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

struct shell *shell_open(struct terminal *t, const char *user, u64 id, const char *from,
                         const char *line, void (*ended)(void *owner, int status), void *owner)
{
    struct shell *s = malloc(sizeof(*s));

    (void)from;
    assert_ptr_equal(users_by_id(id), users_find(user));
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
static char folder[] = "/tmp/bulkhead-ssh-XXXXXX";
static char key[SSH_KEYS_HOST];
static bool served, passwords = true, room = true;

static bool has_room(void *owner)
{
    (void)owner;
    return room;
}

static void serve(void *arg)
{
    struct ssh_session_options o = {
        .key = key, .peer = "test", .passwords = passwords, .logged_in = has_room};

    ssh_session_serve(*(int *)arg, &o);
    served = true;
}

/* Nothing else wakes the loop, which sleeps when the last fiber has ended. */
static struct loop_timer ticker;

static void tick(void *owner)
{
    loop_timer_set(owner, clock_after(10 * CLOCK_MS));
}

/* Until fn(arg) says so in `served`. */
static void in_fiber(void (*fn)(void *arg), void *arg)
{
    served = false;
    ticker = (struct loop_timer){.fn = tick, .owner = &ticker};
    tick(&ticker);
    assert_non_null(fiber_spawn("ssh", fn, arg));
    while (!served)
        loop_step();
    loop_timer_cancel(&ticker);
}

static void run(int fd)
{
    in_fiber(serve, &fd);
}

static int set_up(void **state)
{
    struct user *u;

    (void)state;
    clock_init();
    return mkdtemp(folder) && ssh_keys_new_host(key) && users_add("anna", ROLE_ADMIN, &u) == HV_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    char line[80];

    (void)state;
    snprintf(line, sizeof(line), "rm -r %s", folder);
    return system(line);
}

static void host_keys(void **state)
{
    char text[80];

    (void)state;
    assert_true(ssh_keys_is_host(key));
    assert_false(ssh_keys_is_host("AAAA"));
    assert_false(ssh_keys_is_host(""));
    assert_true(ssh_keys_host_fingerprint(key, text, sizeof(text)));
    assert_memory_equal(text, "SHA256:", 7);
    assert_false(ssh_keys_user_fingerprint("", text, sizeof(text)));
    assert_false(ssh_keys_user_fingerprint("ssh-ed25519", text, sizeof(text)));
    assert_false(ssh_keys_user_fingerprint("ssh-ed25519 AAAA", text, sizeof(text)));
    assert_false(ssh_keys_user_fingerprint("ssh-rubbish AAAA", text, sizeof(text)));
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

/* ---- OpenSSH's client --------------------------------------------------------------------------
 */
#define BY_KEY "-o PreferredAuthentications=publickey "
#define BY_PASSWORD "-o PreferredAuthentications=password "

static void sh(const char *line)
{
    assert_int_equal(system(line), 0);
}

/* A key in the folder; its public half. */
static void make_key(const char *name, const char *type, char text[USERS_KEY])
{
    char line[200];

    snprintf(line, sizeof(line), "cd %s && ssh-keygen -q -t %s -N '' -C '' -f %s", folder, type,
             name);
    sh(line);
    snprintf(line, sizeof(line), "cut -d' ' -f1,2 %s/%s.pub", folder, name);
    FILE *f = popen(line, "r");
    assert_non_null(fgets(text, USERS_KEY, f));
    pclose(f);
    text[strcspn(text, "\n")] = 0;
}

static char answer[1000]; /* what the client said, and "=status" */

/* `ssh OPTIONS user@here 'echo this'`; passwords are asked of the script `ask` in the folder. */
static void come(const char *user, const char *options)
{
    char line[1200];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in {
        unsigned short family, port;
        u32 address;
        char zero[8];
    } a = {.family = AF_INET, .address = 0x0100007f};
    socklen_t size = sizeof(a);

    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    snprintf(line, sizeof(line),
             "cd %s && SSH_ASKPASS=%s/ask SSH_ASKPASS_REQUIRE=force DISPLAY=none SSH_AUTH_SOCK= "
             "timeout 60 ssh -F /dev/null -o IdentitiesOnly=yes -o LogLevel=QUIET "
             "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null %s -p %u %s@127.0.0.1 "
             "'echo this' </dev/null 2>&1; echo \"=$?\"",
             folder, folder, options, __builtin_bswap16(a.port), user);
    FILE *f = popen(line, "r");
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    run(fd);
    answer[fread(answer, 1, sizeof(answer) - 1, f)] = 0;
    pclose(f);
    close(listener);
}

static void come_with_key(const char *type)
{
    char text[USERS_KEY], shown[80], line[200];
    struct user *anna = users_find("anna");

    make_key("key", type, text);
    assert_int_equal(users_add_key(anna, text), HV_OK);
    come("anna", BY_KEY "-i key");
    assert_string_equal(answer, "echo this=7\n");

    assert_true(ssh_keys_user_fingerprint(text, shown, sizeof(shown)));
    snprintf(line, sizeof(line), "ssh-keygen -lf %s/key.pub | grep -qF '%s'", folder, shown);
    sh(line);
    users_remove_key(anna, 0);
    come("anna", BY_KEY "-i key");
    assert_string_equal(answer, "=255\n");
    users_unlock(anna);
    snprintf(line, sizeof(line), "rm %s/key*", folder);
    sh(line);
}

/* How often that is in the log since the last call with NULL. */
static u32 logged(const char *text)
{
    static struct log_cursor begin;
    struct log_cursor c = begin;
    char record[256];
    u32 n = 0;

    while (sys_log_read(&c, record, sizeof(record)) > 0)
        n += text && strstr(record, text) != NULL;
    if (!text)
        begin = c;
    return n;
}

static void keys_that_are_refused(void **state)
{
    char text[USERS_KEY], shown[80], name[8], line[200], options[200] = BY_KEY;
    struct user *anna = users_find("anna");

    (void)state;
    for (u32 i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "key%u", i);
        make_key(name, "ed25519", text);
        snprintf(options + strlen(options), sizeof(options) - strlen(options), "-i %s ", name);
    }
    assert_true(ssh_keys_user_fingerprint(text, shown, sizeof(shown)));
    logged(NULL);
    come("anna", options);
    assert_string_equal(answer, "=255\n");
    snprintf(line, sizeof(line),
             "login of anna from test refused: 3 keys not accepted, the last %s", shown);
    assert_int_equal(logged(line), 1);
    assert_int_equal(logged("refused"), 1);
    assert_int_equal(anna->failures, 1);
    come("eve", options);
    assert_int_equal(logged("login of eve from test refused: no such user; 3 keys"), 1);

    /* The third is the right one: that is told, and no failure. */
    logged(NULL);
    assert_int_equal(users_add_key(anna, text), HV_OK);
    come("anna", options);
    assert_string_equal(answer, "echo this=7\n");
    assert_int_equal(anna->failures, 0);
    assert_int_equal(logged("user anna (test) logged in by key"), 1);
    assert_int_equal(logged("login of anna from test refused: 2 keys not accepted"), 1);
    assert_int_equal(logged("refused"), 1);

    room = false;
    come("anna", options);
    assert_string_equal(answer, "=255\n");
    assert_int_equal(logged("login of anna from test refused: too many sessions"), 1);
    room = true;

    /* Of more than SSH_SESSION_REFUSALS the right one comes too late. */
    logged(NULL);
    for (u32 i = 3; i < SSH_SESSION_REFUSALS + 3; i++) {
        snprintf(name, sizeof(name), "key%u", i);
        make_key(name, "ed25519", text);
    }
    come("anna", BY_KEY "-i key3 -i key4 -i key5 -i key6 -i key7 -i key8 -i key2");
    assert_string_equal(answer, "=255\n");
    assert_int_equal(logged("login of anna from test refused: 6 keys not accepted"), 1);
    assert_int_equal(logged("logged in"), 0);
    for (u32 i = 1; i < USERS_FAILURES; i++)
        come("anna", BY_KEY "-i key1");
    assert_int_equal(logged("user anna is locked for 600 s"), 1);
    come("anna", BY_KEY "-i key2");
    assert_string_equal(answer, "=255\n");
    assert_int_equal(logged("login of anna from test refused: locked; 1 key not accepted"), 1);
    users_unlock(anna);
    snprintf(line, sizeof(line), "rm %s/key*", folder);
    sh(line);
}

static void set_password(void *arg)
{
    (void)arg;
    assert_int_equal(users_set_password(users_find("anna"), "eight888"), HV_OK);
    served = true;
}

static void passwords_that_are_refused(void **state)
{
    char line[200];

    (void)state;
    in_fiber(set_password, NULL);
    snprintf(line, sizeof(line), "printf '#!/bin/sh\\necho eight888\\n' >%s/ask; chmod +x %s/ask",
             folder, folder);
    sh(line);
    logged(NULL);
    come("anna", BY_PASSWORD);
    assert_string_equal(answer, "echo this=7\n");
    assert_int_equal(logged("user anna (test) logged in by password"), 1);
    assert_int_equal(logged("refused"), 0);

    snprintf(line, sizeof(line), "printf '#!/bin/sh\\necho wrong\\n' >%s/ask", folder);
    sh(line);
    come("anna", BY_PASSWORD "-o NumberOfPasswordPrompts=9");
    assert_string_equal(answer, "=255\n");
    assert_int_equal(logged("login of anna from test refused: wrong password"), SSH_SESSION_TRIES);
    assert_int_equal(logged("refused"), SSH_SESSION_TRIES);
    assert_int_equal(users_find("anna")->failures, SSH_SESSION_TRIES);
    users_unlock(users_find("anna"));

    passwords = false; /* the client is not asked for one then */
    logged(NULL);
    come("anna", BY_PASSWORD);
    assert_string_equal(answer, "=255\n");
    assert_int_equal(logged("connection of test refused: nobody tried to log in"), 1);
    passwords = true;
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
        cmocka_unit_test(keys_that_are_refused),
        cmocka_unit_test(passwords_that_are_refused),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
