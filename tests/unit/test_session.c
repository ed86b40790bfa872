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

/* Until all was said; `in` is closed once `until` was, or at once without it. */
static void read_all(int fd, int in, const char *until)
{
    u32 len = 0;
    ssize_t n;
    bool open = true;

    output[0] = 0;
    do {
        if (open && (!until || strstr(output, until)))
            open = close(in);
        n = read(fd, output + len, sizeof(output) - 1 - len);
        len += n > 0 ? (u32)n : 0;
        output[len] = 0;
    } while (len + 1 < sizeof(output) && n > 0);
    if (open)
        close(in);
}

/* Types all of it at once, then hangs up, once `until` was said if that is given: for commands that
 * wait for something. */
static void session_until(const char *config, const char *keys, const char *until)
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
        alarm(100);
        execl("build/host/bulkhead", "bulkhead", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(write(in[1], keys, strlen(keys)), strlen(keys));
    read_all(out[0], in[1], until);
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("status %x after: %s", status, output);
}

static void session(const char *config, const char *keys)
{
    session_until(config, keys, NULL);
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

static void a_session_begins_with_the_addresses(void **state)
{
    (void)state;
    session("boot/bulkhead.conf",
            "host user add anna role=admin\rhost user passwd anna\r" LOGIN(
                "eight888", "eight888") "net switch add vsw0\rnet kif add k1 switch=vsw0\r"
                                        "net kif add k0 switch=vsw0 ip=10.0.0.1/24\r"
                                        "host login console=yes\rexit\r" LOGIN(
                                            "anna", "eight888") "echo in again\r");
    says("\r\nin again");
    says("\nAddresses: k1 none; k0 10.0.0.1/24\r\n");
}

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

#define KEY_A "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
#define PRINT_A "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"
#define KEY_B "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/"

/* The fingerprint is ssh-keygen's. */
static void keys_come_and_go(void **state)
{
    (void)state;
    session("boot/bulkhead.conf",
            "host user add anna role=admin\rhost user add bob\r"
            "host user key anna 'key=" KEY_A " anna@home'\r"
            "host user key anna 'key=" KEY_A "'\rhost user key anna 'key=ssh-ed25519 AAAA'\r"
            "host user show anna\rhost user key anna 'key=" KEY_B "'\r"
            "host user unkey anna key=3\rhost user unkey anna key=" PRINT_A "\r"
            "host user lock bob until=99999999999\rhost user list\rhost config show\r"
            "host user lock bob\rhost config show\rhost user unkey anna key=1\recho now\r"
            "host config show\rhost user unlock bob\rhost user list\rhost user lock anna\r"
            "host log level=notice\r");
    says("key 1              " PRINT_A " ssh-ed25519");
    says("E_EXISTS: anna has that key already");
    says("E_KEY: that is no public key");
    says("E_KEY: anna has no such key");
    says("\nhost user key anna 'key=" KEY_B "'\r");
    assert_null(strstr(output, "\nhost user key anna 'key=" KEY_A "'\r")); /* gone by then */
    says("\nhost user add anna role=admin\r\nhost user key anna 'key=" KEY_B
         "'\r\nhost user add bob role=auditor\r\nhost user lock bob\r");
    assert_null(strstr(strstr(output, "\nnow\r"), "\nhost user key"));
    says("locked for 5"); /* 599 s, not longer */
    says("\nhost user lock bob until=");
    says("E_LAST_ADMIN: ");
    says("user anna has a key more, " PRINT_A ", by root");
    says("user anna has a key less, " PRINT_A ", by root");
    says("user bob was locked by root");
}

static void rights_end_with_the_user(void **state)
{
    (void)state;
    session("boot/bulkhead.conf",
            "host user add anna role=admin\rhost user passwd anna\r" LOGIN("eight888", "eight888") "host user add eve role=admin\rhost user passwd eve\r" LOGIN(
                "evil8888",
                "evil8888") "host login console=yes\rexit\r" LOGIN("eve",
                                                                   "evil8888") "host user remove "
                                                                               "eve; vm delete "
                                                                               "demo --yes\r" LOGIN(
                                                                                   "anna",
                                                                                   "eight888") "hos"
                                                                                               "t "
                                                                                               "use"
                                                                                               "r "
                                                                                               "add"
                                                                                               " ca"
                                                                                               "rl "
                                                                                               "rol"
                                                                                               "e="
                                                                                               "adm"
                                                                                               "in"
                                                                                               "\r"
                                                                                               "hos"
                                                                                               "t "
                                                                                               "use"
                                                                                               "r "
                                                                                               "rol"
                                                                                               "e "
                                                                                               "ann"
                                                                                               "a "
                                                                                               "rol"
                                                                                               "e="
                                                                                               "ope"
                                                                                               "rat"
                                                                                               "or;"
                                                                                               " vm"
                                                                                               " de"
                                                                                               "let"
                                                                                               "e "
                                                                                               "dem"
                                                                                               "o "
                                                                                               "--"
                                                                                               "yes"
                                                                                               "\rn"
                                                                                               "et "
                                                                                               "swi"
                                                                                               "tch"
                                                                                               " ad"
                                                                                               "d "
                                                                                               "sw0"
                                                                                               "\r"
                                                                                               "vm "
                                                                                               "lis"
                                                                                               "t "
                                                                                               "| "
                                                                                               "gre"
                                                                                               "p "
                                                                                               "dem"
                                                                                               "o "
                                                                                               "| "
                                                                                               "cou"
                                                                                               "nt"
                                                                                               "\re"
                                                                                               "xit"
                                                                                               "\r");
    says("E_SESSION: the user was removed or locked, so the session ends");
    says("session of eve from console ends: the user was removed or locked");
    says("E_ROLE: vm delete needs the role admin");
    says("\n1\r");
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

static void says_not(const char *text)
{
    if (strstr(output, text))
        fail_msg("'%s' is in: %s", text, output);
}

/* The n-th line that begins with this word. */
static void line_of(const char *word, u32 n, char out[80])
{
    const char *at = output;

    while ((at = strstr(at, word)) && (at == output || at[-1] != '\n' || n-- != 0))
        at++;
    if (!at)
        fail_msg("no line '%s' in: %s", word, output);
    snprintf(out, 80, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void a_clone_has_its_own_identity(void **state)
{
    char uuid[3][80], mac[3][80];

    (void)state;
    session_until("boot/bulkhead.conf",
                  "disk ram d1 size=200M\rstore create ds1 d1\rnet switch add vsw0\r"
                  "vm create a mem=128M kernel=k home=ds1:a nic0.switch=vsw0\r"
                  "vm set a nic0.mac=02:00:00:00:77:01\rdisk create ds1:a/a.raw size=1M\r"
                  "vm set a disk0.file=ds1:a/a.raw\rvm clone a b --linked\rvm clone a c\r"
                  "vm show a\rvm show b\rvm show c\rnosuch\r",
                  "E_UNKNOWN: ");
    for (u32 i = 0; i < 3; i++) {
        line_of("uuid ", i, uuid[i]);
        line_of("nic0.mac ", i, mac[i]);
    }
    assert_string_equal(mac[0], "nic0.mac           02:00:00:00:77:01");
    for (u32 i = 1; i < 3; i++) {
        assert_string_equal(mac[i], "nic0.mac           auto");
        assert_string_not_equal(uuid[i], uuid[0]);
    }
    assert_string_not_equal(uuid[1], uuid[2]);
}

/* On a disk in memory: a VM's directory, snapshots, clones, templates, and all of it found again.
 */
static void vms_on_a_datastore(void **state)
{
    (void)state;
    session_until("boot/bulkhead.conf",
                  "disk ram d1 size=200M\rstore create ds1 d1\r"
                  "vm create web1 mem=128M kernel=k home=ds1:web1 cpu=2,weight=50\r"
                  "disk create ds1:web1/a.qcow2 size=100G format=qcow2\r"
                  "vm set web1 disk0.file=ds1:web1/a.qcow2 disk0.format=qcow2\r"
                  "vm snapshot take web1 s1 description=\"before the patch\"\r"
                  "vm snapshot take web1 s2\rvm set web1 mem=64M\rvm snapshot revert web1 s1\r"
                  "vm snapshot take web1 s3\rvm snapshot list web1\rvm show web1\r"
                  "vm clone web1 web2 --linked mem=32M\rvm show web2\r"
                  "vm delete web1 --yes\rvm snapshot delete web1 clone-web2\r"
                  "vm snapshot delete web1 s1 direction=down\rvm snapshot list web1\rnosuch\r",
                  "E_UNKNOWN: ");
    says("s1                        ");
    says("before the patch");
    says("  s2 ");
    says("  s3 ");
    says("mem                128M");
    says("cpu.weight         50");
    says("disk0.file         ds1:web1/web1-disk0-000002.delta");
    says("mem                32M");
    says("disk0.file         ds1:web2/web2-disk0-000001.delta");
    says("E_HAS_CLONES: 'web2/web2-disk0-000001.delta' is made from VM web1. Try: delete the");
    says("E_HAS_CLONES: 'web2/web2-disk0-000001.delta' is made from snapshot clone-web2.");
    says("  clone-web2 ");
    session_until("boot/bulkhead.conf",
                  "disk ram d1 size=200M\rstore create ds1 d1\r"
                  "vm create t1 mem=128M kernel=k home=ds1:t1\r"
                  "disk create ds1:t1/a.raw size=64M\rvm set t1 disk0.file=ds1:t1/a.raw\r"
                  "vm convert t1\rvm start t1\rvm clone t1 b --linked\rvm clone t1 c --template\r"
                  "vm convert t1 to=vm\rstore rm ds1:t1/a.raw\rvm unregister b\rvm unregister c\r"
                  "store scan ds1\rdisk stats d1\rdisk stats d9\rvm list\rvm register ds1:b\rvm "
                  "delete b --yes\rvm delete t1 --yes\r"
                  "store ls ds1:\rstore check ds1\rtask list\rhost config show\rnosuch\r",
                  "E_UNKNOWN: ");
    says("E_TEMPLATE: VM t1 is a template. Try: vm clone, or vm convert to=vm");
    says("E_HAS_CLONES: 'b/b-disk0-000001.delta' is made from template t1.");
    says("'b-disk0-000001.delta' is made from it");
    says("VM b has number 102.");
    says("VM c has number 103.");
    says("on an error        report");
    says("BELOW");
    says("E_NO_DISK: there is no disk 'd9'");
    says("E_EXIST: there is already a VM b");
    says_not("t1/ ");
    says_not("b/ ");
    says("c/ ");
    says("0 problems");
    says("vm clone t1 c");
    says("vm register ds1:c");
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
        cmocka_unit_test(a_session_begins_with_the_addresses),
        cmocka_unit_test(roles_bound_what_users_do),
        cmocka_unit_test(keys_come_and_go),
        cmocka_unit_test(rights_end_with_the_user),
        cmocka_unit_test(survives_noise),
        cmocka_unit_test(a_clone_has_its_own_identity),
        cmocka_unit_test(vms_on_a_datastore),
        cmocka_unit_test(readme_has_every_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
