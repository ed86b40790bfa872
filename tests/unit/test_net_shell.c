/* links: */
/* The network commands of the shell, in the control partition as a Linux program: switches,
 * ports, kernel interfaces, routes. */
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

/* Types a line whenever there is a prompt, waits for the end of what it does, then hangs up. */
static void session(const char *keys)
{
    static const char last[] = "echo the-end\n", prompt[] = "\rbulkhead> \x1b[J";
    const char *seen = output;
    int in[2], out[2], status;
    u32 len = 0;
    ssize_t n;

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        alarm(60);
        execl("build/host/bulkhead", "bulkhead", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    output[0] = 0;
    while (len + 1 < sizeof(output) &&
           (n = read(out[0], output + len, sizeof(output) - 1 - len)) > 0) {
        len += (u32)n;
        output[len] = 0;
        for (const char *at; in[1] >= 0 && keys && (at = strstr(seen, prompt));) {
            const char *line = *keys ? keys : last;
            long typed = (long)strcspn(line, "\n") + 1;

            seen = at + 1;
            assert_int_equal(write(in[1], line, (size_t)typed), typed);
            keys = *keys ? keys + typed : NULL;
        }
        if (in[1] >= 0 && strstr(output, "\nthe-end")) {
            close(in[1]);
            in[1] = -1;
        }
    }
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("status %x after: %s", status, output);
}

static void says(const char *text)
{
    if (!strstr(output, text))
        fail_msg("nowhere in it: %s\n%s", text, output);
}

static void switches_ports_and_their_errors(void **state)
{
    (void)state;
    session("net switch list\n"
            "net switch add vsw0 mtu=9000\n"
            "net switch add vsw0\n"
            "net switch add 'a b'\n"
            "net switch add vsw1 mtu=10\n"
            "net switch set vsw0 age=60s snooping=off\n"
            "net switch show vsw0\n"
            "net kif add k0 switch=vsw0\n"
            "net kif add k0 switch=vsw0\n"
            "net kif add k1 switch=vsw9\n"
            "net port set k0 vlan=5000\n"
            "net port set k0 mode=trunk vlans=10,20-29 native=none\n"
            "net port list\n"
            "net port show k0\n"
            "net policy k0 forged=accept\n"
            "net policy vsw0 promisc=inherit\n"
            "net shape k0 avg=10mbit peak=5mbit\n"
            "net shape k0 avg=10mbit peak=20mbit burst=256k\n"
            "net link k0 delay=50ms loss=101%\n"
            "net link k0 delay=50ms loss=1.5%\n"
            "net port show k0 | grep emulation\n"
            "net port show k0 | grep shaped\n"
            "net mirror k0 to=k0\n"
            "net mac add vsw0 mac=00:11:22:33:44:55 port=k0 vlan=7\n"
            "net mac list vsw0\n"
            "net mac remove vsw0 mac=00:11:22:33:44:55 vlan=7\n"
            "net uplink add vsw0 nic7\n"
            "net team set vsw0 policy=lacp timers=fast\n"
            "net team show vsw0\n"
            "net lldp vsw0 both\n"
            "net neighbors\n"
            "net switch delete vsw0\n"
            "net kif remove k0\n"
            "net switch delete vsw0\n"
            "net switch list\n");
    says("There is no virtual switch.");
    says("E_EXISTS: there is a switch 'vsw0'");
    says("E_NAME: a name has");
    says("E_VALUE: mtu must be");
    says("E_EXISTS: that name or address is taken");
    says("E_NO_SWITCH: no switch is named 'vsw9'");
    says("E_VALUE: vlan: '5000'");
    says("10,20-29 native none");
    says("E_VALUE: a switch has nothing to inherit from");
    says("E_VALUE: peak: '5mbit' is not a rate above the average");
    says("average 10000000 bit/s, peak 20000000, burst 256000 bytes");
    says("E_VALUE: loss: '101%'");
    says("delay 50000 us each way, loss 15000 in a million");
    says("E_MIRROR:");
    says("00:11:22:33:44:55  7     k0            static");
    says("E_NO_NIC: no card is named 'nic7'");
    says("active, fast timers");
    says("E_BUSY: guests or kernel interfaces are on vsw0");
}

static void interfaces_routes_and_their_errors(void **state)
{
    (void)state;
    session("net switch add vsw0\n"
            "net kif add k1 switch=vsw0 ip=10.0.1.2/24\n"
            "net kif add k0 switch=vsw0 ip=10.0.0.1/24 gw=10.0.0.9\n"
            "net kif show k0\n"
            "net ping 10.0.1.2 count=3 interval=5ms\n"
            "net ping 10.0.0.8 count=1\n"
            "net mac list vsw0\n"
            "net route add 10.9.0.0/16 via=10.0.1.7\n"
            "net route add 10.9.0.0/16 via=10.0.1.7\n"
            "net route add 10.8.0.0/16 via=10.3.1.7\n"
            "net route add 10.8.0.0/16 via=10.3.1.7 --wait\n"
            "net route list\n"
            "net kif set k1 ip=10.3.1.2/24\n"
            "echo later; net route list; echo until-here\n"
            "net route remove 10.9.0.0/16\n"
            "net route remove 10.9.0.0/16\n"
            "net route add 2001:db8::/32 via=10.0.0.1\n"
            "net route add fe80::/64 via=fe80::1\n"
            "net route add 10.5.0.0/16 via=127.0.0.1\n"
            "net kif set k0 ip=2001:db8:1::5/48\n"
            "net kif set k0 ip=fe80::5/64\n"
            "net kif set k0 ip=2001:db8:1::5/64 gw=10.0.0.9\n"
            "net kif set k0 gw=10.0.0.7\n"
            "net kif set k0 ip=dhcp gw=10.0.0.7\n"
            "net kif set k0 vlan=7 ip=10.0.0/24\n"
            "net kif add k5 switch=vsw0 ip=10.0.0/24\n"
            "net kif add k5 switch=vsw0 vlan=4095\n"
            "net kif add k5 switch=vsw0 ip=10.7.0.1/24 gw=nonsense\n"
            "net kif show k5\n"
            "net kif show k0 | grep VLAN\n"
            "net ping 1.2.3.4.5 count=1\n"
            "net dns set 10.0.0.53,nonsense\n"
            "net ntp set 10.0.0.1\n"
            "net ntp show\n"
            "net ntp set off\n"
            "net ntp show\n"
            "net ntp set dhcp\n"
            "net ntp show\n"
            "net dns set 10.0.0.53,fd00::53\n"
            "net dns show\n"
            "net dns set dhcp\n"
            "net dns show\n");
    says("k1 has the address 10.0.1.2/24");
    says("64 bytes from 10.0.1.2: seq=3");
    says("3 sent, 3 answered, 0 lost");
    says("1 sent, 0 answered, 1 lost");
    says("10.9.0.0/16         10.0.1.7         k1      static     active");
    says("10.8.0.0/16         10.3.1.7         -       static     waits: no interface's network");
    says("It waits: no interface's network has 10.3.1.7 in it yet");
    assert_non_null(strstr(output, "\nlater"));
    if (!strstr(strstr(output, "\nlater"),
                "10.9.0.0/16         10.0.1.7         -       static     waits") ||
        !strstr(strstr(output, "\nlater"),
                "10.8.0.0/16         10.3.1.7         k1      static     active"))
        fail_msg("%s", output);
    says("E_VALUE: via: '10.0.0.1' is not an address of the network's family");
    says("E_VALUE: network: 'fe80::/64'");
    says("E_GATEWAY: no interface's network has 127.0.0.1 in it");
    says(
        "E_VALUE: ip: '2001:db8:1::5/48' is not an IPv6 address of one station in a network of 64");
    says("E_VALUE: ip: 'fe80::5/64' is not an IPv6 address of one station");
    says("E_VALUE: gw: '10.0.0.9' is not");
    says("E_VALUE: gw: '10.0.0.7' is not");
    says("E_VALUE: ip: '10.0.0/24' is not");
    says("E_VALUE: gw: 'nonsense' is not");
    says("E_NO_KIF: no kernel interface is named 'k5'");
    says("vsw0, VLAN 0"); /* of a line with a mistake nothing is done */
    says("set by hand");
    says("from               off");
    says("from               nowhere: DHCP has named none");
    says("server             fd00::53");
    says("from               nowhere\r\n");
    says("E_EXISTS: there is such a route");
    says("E_GATEWAY: no interface's network has 10.3.1.7 in it");
    says("0.0.0.0/0           10.0.0.9         k0      default");
    says("E_NO_ROUTE:");
    says("E_VALUE: servers: '10.0.0.53,nonsense'");
}

/* A port of a VM is there only while it runs. */
static void ports_of_vms_that_do_not_run(void **state)
{
    (void)state;
    session("net switch add vsw0\n"
            "vm create web kernel=x mem=16M nic0.switch=vsw0 nic1.switch=vsw0 nic1.mirror=yes\n"
            "net shape web:0 avg=nonsense\n"
            "net shape web:0 avg=10mbit burst=256k\n"
            "net shape web:0 avg=20mbit dir=out\n"
            "net policy web:0 promisc=accept broadcast=100\n"
            "net policy web:0 forged=accept promisc=inherit\n"
            "net link web:0 delay=5ms loss=1%\n"
            "net link web:0 delay=0\n"
            "net mirror web:0 to=web:1 dir=in\n"
            "net port set web:0 mode=trunk vlans=10,20 native=1\n"
            "net port set web:0 link=down isolate=on\n"
            "net port set web:0 mode=access vlan=7 link=up\n"
            "net port set web:0 vlan=4095\n"
            "net mac add vsw0 mac=00:11:22:33:44:55 port=web:0 vlan=7\n"
            "net mac add vsw0 mac=00:11:22:33:44:66 port=web:0\n"
            "net mac remove vsw0 mac=00:11:22:33:44:66\n"
            "net policy web:2 promisc=accept\n"
            "net policy 100:0 promisc=accept\n"
            "net policy nobody:0 promisc=accept\n"
            "echo before; host config show; echo after-that\n"
            "vm set web nic0.vlan=9\n"
            "net shape web:0 avg=off\n"
            "net mirror web:0 to=none\n"
            "echo second; host config show; echo after-that\n"
            "vm set web nic0.switch=\n"
            "echo third; host config show; echo after-that\n");
    says("E_VALUE: avg: 'nonsense'");
    says("E_VALUE: vlan: '4095'");
    says("E_NO_PORT: no switch or port is named 'web:2'");
    says("E_NO_PORT: no switch or port is named '100:0'");
    says("E_NO_PORT: no switch or port is named 'nobody:0'");
    char *second = strstr(output, "\nsecond"), *third = strstr(output, "\nthird");
    assert_non_null(second);
    assert_non_null(third);
    *second = *third = 0;
    says("\nnet shape web:0 avg=10mbit burst=256k dir=in\r\n"
         "net shape web:0 avg=20mbit dir=out\r\n"
         "net policy web:0 forged=accept broadcast=100\r\n"
         "net link web:0 loss=1%\r\n"
         "net mirror web:0 to=web:1 dir=in\r\n"
         "net port set web:0 mode=access vlan=7 isolate=on\r\n"
         "net mac add vsw0 mac=00:11:22:33:44:55 vlan=7 port=web:0\r\n"
         "after-that");
    if (!strstr(second + 1, "\nnet policy web:0 forged=accept broadcast=100\r\n"
                            "net link web:0 loss=1%\r\n"
                            "net port set web:0 isolate=on\r\n"
                            "net mac add"))
        fail_msg("%s", second + 1);
    if (strstr(third + 1, "web:0"))
        fail_msg("%s", third + 1);
}

/* What `host config show` says between two lines that are echoed, as lines to be typed. */
static void shown(char *lines, u32 size)
{
    char *from = strstr(output, "\nbegin"), *to = strstr(output, "\nend-of-it");
    u32 n = 0;

    assert_non_null(from);
    assert_non_null(to);
    for (from = strchr(from + 1, '\n') + 1; from < to + 1 && n < size; from++) {
        if (*from != '\r')
            lines[n++] = *from;
    }
    lines[n] = 0;
}

/* Everything that can be set without a card is made again by the lines that the host keeps. */
static void what_was_set_is_kept(void **state)
{
    static const char set[] =
        "net switch add vsw0 mtu=9000\n"
        "net switch set vsw0 age=60s snooping=off\n"
        "net switch add vsw1\n"
        "net policy vsw0 promisc=accept macchange=accept forged=accept broadcast=100\n"
        "net policy vsw1 dhcpserver=reject router=reject multicast=7 unknown=8\n"
        "net team set vsw0 policy=lacp failback=no lacp=passive timers=fast\n"
        "net team set vsw1 policy=iphash\n"
        "net lldp vsw0 both\n"
        "net cdp vsw0 listen\n"
        "net lldp vsw1 advertise\n"
        "net kif add k0 switch=vsw0 ip=10.0.0.1/24 gw=10.0.0.9 mac=06:42:48:00:00:01\n"
        "net kif add k1 switch=vsw0 ip=dhcp mac=06:42:48:00:00:02\n"
        "net kif set k0 ip=2001:db8::5/64 gw=2001:db8::1\n"
        "net kif add k2 switch=vsw1 ip=2001:db8:2::5/64 mac=06:42:48:00:00:03\n"
        "net kif add k3 switch=vsw1 ip=2001:db8:3::5/64 mac=06:42:48:00:00:04\n"
        "net kif set k3 ip=::\n"
        "net kif set k1 ip=2001:db8:1::5/64 gw=fe80::1\n"
        "net route add 10.1.0.0/16 via=10.7.0.1\n"
        "net route add 2001:db8:7::/48 via=2001:db8:1::7\n"
        "net route add 2001:db8:8::/48 via=fe80::7%k1\n"
        "net dns set 10.0.0.53,fd00::53\n"
        "net ntp set off\n"
        "net port set k0 mode=trunk vlans=10,20-29 native=none\n"
        "net port set k0 isolate=on link=down\n"
        "net policy k0 promisc=reject unknown=50\n"
        "net shape k0 avg=10mbit peak=20mbit burst=256k dir=in\n"
        "net shape k0 avg=5mbit dir=out\n"
        "net link k0 delay=50ms loss=1.5%\n"
        "net mac add vsw0 mac=00:11:22:33:44:55 port=k0 vlan=20\n"
        "vm create web kernel=x mem=16M nic0.model=virtio nic0.switch=vsw0 nic0.vlan=10 "
        "nic0.mac=auto nic0.queues=2 nic1.switch=vsw0 nic1.mirror=yes\n"
        "net mirror k0 to=web:1 dir=out\n"
        "net mirror web:0 to=web:1\n"
        "net port set web:0 mode=trunk vlans=10,20 native=1\n"
        "net shape web:0 avg=1mbit peak=2mbit burst=100k\n"
        "net policy web:0 macchange=accept dhcpserver=reject\n"
        "net link web:0 delay=5ms loss=0.1%\n";
    static char first[16 * KIB], again[16 * KIB], keys[32 * KIB];
    static const char end[] = "echo begin; host config show; echo end-of-it\n";

    (void)state;
    snprintf(keys, sizeof(keys), "%s%s", set, end);
    session(keys);
    shown(first, sizeof(first));
    snprintf(keys, sizeof(keys), "%s%s", first, end);
    session(keys);
    shown(again, sizeof(again));
    assert_string_equal(first, again);
    snprintf(output, sizeof(output), "%s", first);
    says("net switch add vsw0 mtu=9000\n");
    says("snooping=off\n");
    says("net policy vsw0 promisc=accept macchange=accept forged=accept broadcast=100\n");
    says("net policy vsw1 dhcpserver=reject router=reject multicast=7 unknown=8\n");
    says("net team set vsw0 policy=lacp failback=no lacp=passive timers=fast\n");
    says("net team set vsw1 policy=iphash failback=yes");
    says("net lldp vsw0 both\nnet cdp vsw0 listen\n");
    says("net lldp vsw1 advertise\n");
    says("net port set k0 mode=trunk vlans=10,20-29 native=none");
    says("net policy k0 promisc=reject unknown=50\n");
    says("net mac add vsw0 mac=00:11:22:33:44:55 vlan=20 port=k0\n");
    says("net mirror web:0 to=web:1");
    says("net port set web:0 mode=trunk vlans=10,20 native=1\n");
    says("nic0.vlan=10");
    says("net kif set k0 ip=2001:db8::5/64 gw=2001:db8::1\n");
    says("net kif set k1 ip=2001:db8:1::5/64 gw=fe80::1%k1\n");
    says("net kif add k2 switch=vsw1 mac=06:42:48:00:00:03\nnet kif set k2 ip=2001:db8:2::5/64\n"
         "net kif add k3 switch=vsw1 mac=06:42:48:00:00:04\n");
    assert_null(strstr(output, "net kif set k3"));
    says("net route add 10.1.0.0/16 via=10.7.0.1 --wait\n");
    says("net route add 2001:db8:7::/48 via=2001:db8:1::7 --wait\n");
    says("net route add 2001:db8:8::/48 via=fe80::7%k1 --wait\n");
    says("net dns set 10.0.0.53,fd00::53\nnet ntp set off\n");
}

/* Each command says how it is used, and why something is not done. */
static void help_and_more_errors(void **state)
{
    static const char *const verbs[] = {"switch", "port",  "uplink", "team",    "mac",
                                        "policy", "shape", "mirror", "capture", "neighbors",
                                        "link",   "lldp",  "cdp",    "kif"};
    char keys[4096];
    u32 n = 0;

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(verbs); i++)
        n += (u32)snprintf(keys + n, sizeof(keys) - n, "help net %s\n", verbs[i]);
    session(keys);
    says("net switch add vsw0 mtu=9000");
    says("net port set web:0 mode=trunk vlans=10,20 native=1");
    says("net uplink add vsw0 nic0");
    says("net team set vsw0 policy=lacp timers=fast");
    says("net mac add vsw0 mac=00:11:22:33:44:55 port=nic0");
    says("net policy web:0 promisc=accept broadcast=1000");
    says("net shape web:0 avg=10mbit peak=20mbit burst=256k");
    says("net mirror web:0 to=probe:0");
    says("net capture web:0 file=ds1:web.pcapng seconds=10");
    says("what LLDP and CDP heard");
    if (strstr(strstr(output, "bulkhead> "), "\nE_"))
        fail_msg("%s", output);
    session("net switch add vsw0\n"
            "net switch add\n"
            "net switch show vsw7\n"
            "net switch delete vsw7\n"
            "net switch set vsw0 age=10ms\n"
            "net switch frobnicate vsw0\n"
            "net port show x:0\n"
            "net kif add k0 switch=vsw0\n"
            "net port set k0 mode=access vlans=10\n"
            "net port set k0 mode=trunk vlan=10\n"
            "net port set k0 native=1 vlans=5000\n"
            "net uplink remove nic3\n"
            "net uplink add vsw3 nic3\n"
            "net team show vsw3\n"
            "net team set vsw0 policy=best\n"
            "net mac add vsw0 mac=01:00:5e:00:00:01 port=k0\n"
            "net mac add vsw0 mac=00:11:22:33:44:55 vlan=4095 port=k0\n"
            "net mac add vsw0 mac=00:11:22:33:44:55 port=k0\n"
            "net mac add vsw0 mac=00:11:22:33:44:55 port=k0\n"
            "net mac remove vsw0 mac=00:11:22:33:44:66\n"
            "net policy k7 promisc=accept\n"
            "net policy k0 broadcast=99999999999\n"
            "net shape k0\n"
            "net shape k0 avg=10mbit burst=much\n"
            "net link k0 delay=11s\n"
            "net mirror k0 to=k9\n"
            "net capture k9\n"
            "net capture k0 file=ds9:x.pcapng\n"
            "net lldp vsw0 loudly\n"
            "net cdp vsw9 both\n");
    says("E_SYNTAX: a name is missing");
    says("E_NO_SWITCH: no switch is named 'vsw7'");
    says("E_VALUE: age: '10ms' is not a time of at least 1 s");
    says("E_NO_PORT: no port is named 'x:0'");
    says("E_VALUE: vlans: '10' is not for access ports");
    says("E_VALUE: vlan: '10' is not for access ports");
    says("E_NO_NIC: 'nic3' is no uplink");
    says("E_NO_SWITCH: no switch is named 'vsw3'");
    says("best");
    says("E_VALUE: mac: '01:00:5e:00:00:01' is not the address of one station");
    says("E_VALUE: vlan must be 0 to 4094");
    says("E_EXISTS: that address is fixed already");
    says("E_NO_MAC: no such address in that VLAN");
    says("E_NO_PORT: no switch or port is named 'k7'");
    says("E_VALUE: avg: '' is not a rate of at least 8kbit, or off");
    says("E_VALUE: burst: 'much' is not a number of bytes");
    says("E_VALUE: delay: '11s' is not a time of at most 10s");
    says("E_NO_PORT: no port is named 'k9'");
    says("E_NO_STORE: there is no store for 'ds9:x.pcapng'");
    says("E_NO_SWITCH: no switch is named 'vsw9'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_set_is_kept),
        cmocka_unit_test(help_and_more_errors),
        cmocka_unit_test(switches_ports_and_their_errors),
        cmocka_unit_test(interfaces_routes_and_their_errors),
        cmocka_unit_test(ports_of_vms_that_do_not_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
