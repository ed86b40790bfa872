/* links: */
/* The whole control partition as a Linux program, driven through its console: build/host/bulkhead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/abi/types.h"

static char output[256 * KIB];

static u32 read_all(int fd)
{
    u32 len = 0;
    ssize_t n;

    while (len + 1 < sizeof(output) && (n = read(fd, output + len, sizeof(output) - 1 - len)) > 0)
        len += (u32)n;
    output[len] = 0;
    return len;
}

/* Types all of it at once, then hangs up. */
static void session(const char *config, const char *keys)
{
    int in[2], out[2], status;

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        if (config)
            setenv("BULKHEAD_CONF", config, 1);
        alarm(30);
        execl("build/host/bulkhead", "bulkhead", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(write(in[1], keys, strlen(keys)), strlen(keys));
    close(in[1]);
    read_all(out[0]);
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("status %x after: %s", status, output);
}

static void says(const char *text)
{
    if (!strstr(output, text))
        fail_msg("no '%s' in: %s", text, output);
}

static void comes_up_and_answers(void **state)
{
    (void)state;
    session("boot/bulkhead.conf", "vm list\rvm show demo\rhost info\rhost lo | count\rhelp\r");
    says("Bulkhead 0.");
    says("bulkhead> ");
    says("100     demo ");
    says("kernel             guests/demo/vmlinuz");
    says("uptime ");
}

static void a_bad_configuration_leaves_the_shell(void **state)
{
    char path[] = "/tmp/bulkhead-conf-XXXXXX";
    int fd = mkstemp(path);
    const char *text = "[vm a]\nkernel: k\ncpu: many\n[vm b]\nkernel: k\n";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    session(path, "vm list\r");
    unlink(path);
    says("E_CONFIG: bulkhead.conf:3: cpu: 'many' is not a number. Try: 2");
    says("stopped");
    assert_null(strstr(output, "  a  "));
}

static void errors_set_the_status(void **state)
{
    (void)state;
    session(NULL, "vm start nobody\recho status $?\recho a; echo status $?\r");
    says("E_NOENT: ");
    says("\nstatus 8\r");
    says("\nstatus 0\r");
}

static void filters_and_json(void **state)
{
    (void)state;
    session("boot/bulkhead.conf",
            "vm list | grep demo | count\rvm list | json\rhost info | json\r");
    says("\n1\r\n");
    says("{\"number\":100,\"name\":\"demo\"");
    says("{\"version\":\"Bulkhead");
}

/* A terminal that tells its size gets pages; q ends them. */
static void pages_for_a_terminal(void **state)
{
    (void)state;
    session("boot/bulkhead.conf", "\x1b[10;80Rhost info\rqecho done\r");
    says("--more--");
    says("\ndone\r");
    assert_null(strstr(output, "control restarts"));
    session("boot/bulkhead.conf", "\x1b[10;80Rhost info\r  \recho done\r");
    says("control restarts");
    session("boot/bulkhead.conf", "\x1b[10;80Rhost info --no-more\recho done\r");
    assert_null(strstr(output, "--more--"));
}

static void asks_before_it_deletes(void **state)
{
    (void)state;
    session("boot/bulkhead.conf", "vm delete demo\rnvm list\rvm delete demo\ry\rvm list | count\r");
    says("[y/N]");
    says("demo");
}

#define LOGIN(name, password) name "\r" password "\r"

static void roles_bound_what_users_do(void **state)
{
    (void)state;
    session("boot/bulkhead.conf",
            "host login console=yes\r" /* nobody could get in */
            "host user add anna role=admin\rhost user passwd anna\r" LOGIN("eight888", "eight888") "host user add bob\rhost user passwd bob\r" LOGIN("password", "passw0rd") "host user passwd bob\r" LOGIN("password", "password") "host user add carl role=operator\rhost user passwd carl\r" LOGIN(
                "carlcarl",
                "carlcarl") "host login console=yes\rexit\r" LOGIN("bob",
                                                                   "password") "vm list | "
                                                                               "count\rnet switch "
                                                                               "list\rnet switch "
                                                                               "add sw0\r"
                                                                               "host cpu 0 "
                                                                               "mode=dedicated\rvm "
                                                                               "delete demo "
                                                                               "--yes\rhost config "
                                                                               "show\rexit\r" LOGIN("carl", "carlcarl") "net switch add sw0\rvm delete demo --yes\rexit\r" LOGIN(
                                                                                   "anna",
                                                                                   "eight888") "vm "
                                                                                               "del"
                                                                                               "ete"
                                                                                               " de"
                                                                                               "mo "
                                                                                               "--"
                                                                                               "yes"
                                                                                               "\rv"
                                                                                               "m "
                                                                                               "lis"
                                                                                               "t "
                                                                                               "| "
                                                                                               "cou"
                                                                                               "nt"
                                                                                               "\r"
                                                                                               "hos"
                                                                                               "t "
                                                                                               "use"
                                                                                               "r "
                                                                                               "lis"
                                                                                               "t "
                                                                                               "| "
                                                                                               "gre"
                                                                                               "p "
                                                                                               "bob"
                                                                                               "\rh"
                                                                                               "ost"
                                                                                               " lo"
                                                                                               "g "
                                                                                               "lev"
                                                                                               "el="
                                                                                               "not"
                                                                                               "ice"
                                                                                               "\r");
    says("E_NO_USER: no administrator with a password");
    says("E_PASSWORD: the two are not the same");
    says("There is no virtual switch");
    says("E_ROLE: net switch needs the role operator");
    says("E_ROLE: host cpu needs the role admin");
    says("E_ROLE: vm delete needs the role admin");
    says("E_ROLE: host config needs the role admin");
    says("user bob (console) logged in by password, role auditor");
    says("user carl (console) was refused: vm delete needs role admin");
    says("user anna (console) logged in by password, role admin");
    says("\n0\r");
    assert_null(strstr(output, "eight888")); /* never shown */
}

static void survives_noise(void **state)
{
    static char noise[20000];

    (void)state;
    srand(1);
    for (u32 i = 0; i + 1 < sizeof(noise); i++)
        noise[i] = (char)(rand() % 255 + 1);
    session("boot/bulkhead.conf", noise);
}

static void readme_has_every_command(void **state)
{
    (void)state;
    assert_int_equal(system("tools/gen-shell-reference.sh --check"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_up_and_answers),
        cmocka_unit_test(a_bad_configuration_leaves_the_shell),
        cmocka_unit_test(errors_set_the_status),
        cmocka_unit_test(filters_and_json),
        cmocka_unit_test(pages_for_a_terminal),
        cmocka_unit_test(asks_before_it_deletes),
        cmocka_unit_test(roles_bound_what_users_do),
        cmocka_unit_test(survives_noise),
        cmocka_unit_test(readme_has_every_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
