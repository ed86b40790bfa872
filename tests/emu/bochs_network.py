"""Debian's virtio network driver on a virtual switch, two guests that talk, on VT-x; qemu_svm.py
runs the same on AMD-V."""
import re

from tests.emu.bochs_demo import back_in_shell, config, guest_command, leave, section, start, \
    to_shell
from tests.emu.suite import bochs

NIC = "nic0: switch=vsw0\n"
FILES = config(section("one", 1) + NIC, section("two", 1) + NIC)
FILES_2 = config(section("one", 1) + NIC, section("two", 2) + NIC)


def address(c, vm, ip, cpus=1):
    """Boots a guest and gives its card an address; leaves its console."""
    start(c, vm)
    to_shell(c, vm, cpus)
    guest_command(c, f"ip link set eth0 up; ip addr add {ip}/24 dev eth0")
    guest_command(c, "until grep -q up /sys/class/net/eth0/operstate; do sleep 1; done", 60)
    text = guest_command(c, "cat /sys/class/net/eth0/address")
    mac = re.search(r"06:42:48(:[0-9a-f]{2}){3}", text)
    assert mac, text
    leave(c)
    return mac[0]


def ping(c, vm, ip, count=3, size=56, wait=10):
    """How many of the echoes came back."""
    back_in_shell(c, vm)
    text = guest_command(c, f"ping -c {count} -W {wait} -s {size} {ip}", 120)
    leave(c)
    return int(re.search(r"(\d+) packets received", text)[1])


def tell(c, vm, line, timeout=60):
    """What a guest's shell prints for a line."""
    back_in_shell(c, vm)
    text = guest_command(c, line, timeout)
    leave(c)
    return text


def counted(c, port, what):
    """Frames and bytes that a port has counted."""
    found = re.search(rf"(?m)^{what} +(\d+) frames, (\d+) bytes", c.command(f"net port show {port}"))
    return int(found[1]), int(found[2])


def fine(c, line, timeout=30):
    text = c.command(line, timeout)
    assert not re.search("(?m)^E_", text), text
    return text


def tcp(c):
    back_in_shell(c, "two")
    guest_command(c, "nc -l -p 7 >/tmp/got & true")
    leave(c)
    before = counted(c, "one:0", "in")
    back_in_shell(c, "one")
    guest_command(c, "seq 1 20000 >/tmp/sent; nc -w 30 10.9.0.2 7 </tmp/sent", 120)
    sent = guest_command(c, "md5sum </tmp/sent").split()[0]
    leave(c)
    assert tell(c, "two", "md5sum </tmp/got").split()[0] == sent
    return [after - b for after, b in zip(counted(c, "one:0", "in"), before)]


RATE = 4_000_000  # bits a second
UPTIME = "cut -d' ' -f1 /proc/uptime"


def shaped(c):
    """What a shaped port sends while TCP has more for it, in bits a second of the guests' clock."""
    tell(c, "two", "nc -l -p 7 >/dev/null & true")
    fine(c, f"net shape two:0 avg={RATE} burst=16k dir=out")
    before = counted(c, "two:0", "out")[1]
    text = tell(c, "one", f"a=$({UPTIME}); dd if=/dev/zero bs=64k count=24 2>/dev/null | "
                f"nc -w 60 10.9.0.2 7; echo $a $({UPTIME})", 300)
    after = counted(c, "two:0", "out")[1]
    fine(c, "net shape two:0 avg=off dir=out")
    begin, end = map(float, text.split()[-2:])
    return (after - before) * 8 / (end - begin)


def keeps_rate(c):
    with c.check("a shaped port keeps its rate within 5 %, though TCP has more for it"):
        rate = shaped(c)
        assert abs(rate - RATE) < RATE * 0.05, rate


def shape(c):
    """Where the machine's clock counts instructions."""
    with c.check("two guests are on a switch", vital=True):
        fine(c, "net switch add vsw0")
        address(c, "one", "10.9.0.1")
        address(c, "two", "10.9.0.2")
        assert ping(c, "one", "10.9.0.2") == 3
    keeps_rate(c)


def vlans(c):
    with c.check("in another VLAN a guest is out of reach"):
        fine(c, "vm set two nic0.vlan=20")
        assert ping(c, "one", "10.9.0.2", wait=1) == 0
        fine(c, "vm set two nic0.vlan=0")
        assert ping(c, "one", "10.9.0.2") == 3
    with c.check("a trunk guest's sub-interface reaches the access port of its VLAN"):
        fine(c, "net port set one:0 mode=trunk vlans=10,20 native=0")
        tell(c, "one", "ip link add link eth0 name eth0.10 type vlan id 10; "
             "ip addr add 10.9.10.1/24 dev eth0.10; ip link set eth0.10 up")
        fine(c, "vm set two nic0.vlan=10")
        tell(c, "two", "ip addr add 10.9.10.2/24 dev eth0")
        assert ping(c, "two", "10.9.10.1") == 3
    with c.check("captured, its frames have the tag, those of the access port have none"):
        tell(c, "two", "ping 10.9.10.1 >/dev/null & true")
        # Twelve bytes of addresses, then a tag or a type.
        text = fine(c, "net capture one:0 count=6 seconds=100 bytes=16", 200)
        assert len(re.findall("0000 (?: ..){12} 81 00 00 0a", text)) >= 4, text
        text = fine(c, "net capture two:0 count=6 seconds=100 bytes=16", 200)
        assert len(re.findall("0000 (?: ..){12} 08 0", text)) >= 4 and " 81 00 " not in text, text
    with c.check("in VLAN 20 it sees the same trunk, but not the other guest"):
        fine(c, "vm set two nic0.vlan=20")
        text = fine(c, "net capture one:0 count=4 seconds=100 bytes=16 dir=out", 200)
        assert "81 00 00 14" in text, text
        assert ping(c, "two", "10.9.10.1", wait=1) == 0
        tell(c, "two", "kill %1; ip addr del 10.9.10.2/24 dev eth0")
        tell(c, "one", "ip link del eth0.10")
        fine(c, "net port set one:0 mode=access vlan=0")
        fine(c, "vm set two nic0.vlan=0")


def policies(c):
    with c.check("a frame from a forged address is dropped and counted"):
        tell(c, "two", "mac=$(cat /sys/class/net/eth0/address); "
             "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; "
             "ip link set eth0 up")
        assert ping(c, "two", "10.9.0.1", wait=1) == 0
        text = c.command("net port show two:0")
        assert re.search(r"dropped +[1-9]\d* forged", text) and "refused by policy" in text, text
        fine(c, "net policy two:0 macchange=accept")
        assert ping(c, "two", "10.9.0.1") == 3
        tell(c, "two", "ip link set eth0 down; ip link set eth0 address $mac; ip link set eth0 up")
    with c.check("a cable that is pulled is seen by the guest, and the other way round"):
        fine(c, "net port set two:0 link=down")
        tell(c, "two", "until grep -q down /sys/class/net/eth0/operstate; do sleep 1; done", 120)
        fine(c, "net port set two:0 link=up")
        tell(c, "two", "until grep -q up /sys/class/net/eth0/operstate; do sleep 1; done", 120)
        assert ping(c, "two", "10.9.0.1") == 3


def new_nic(c, vm, card):
    tell(c, vm, f"until [ -e /sys/class/net/{card} ]; do sleep 1; done; ip link set {card} up; "
         f"until grep -q up /sys/class/net/{card}/operstate; do sleep 1; done", 120)


def hot_plug(c):
    with c.check("a NIC is put into a running guest: a probe that sees what a mirror copies"):
        assert "E_NOENT: nic1: there is no switch vsw9" in c.command("vm set one nic1.switch=vsw9")
        fine(c, "vm set one nic1.switch=vsw0 nic1.mirror=yes")
        new_nic(c, "one", "eth1")
        fine(c, "net mirror two:0 to=one:1")
        before = int(tell(c, "one", "cat /sys/class/net/eth1/statistics/rx_packets"))
        assert ping(c, "one", "10.9.0.2") == 3
        after = int(tell(c, "one", "cat /sys/class/net/eth1/statistics/rx_packets"))
        assert after - before >= 6, (before, after)
    with c.check("it is taken out again"):
        fine(c, "vm set one nic1.switch=", 120)
        assert "one:1" not in c.command("net port list")
        assert "eth1" not in tell(c, "one", "ls /sys/class/net")
        assert "nic1.switch" not in c.command("vm show one")
    with c.check("and another is put in, on another switch, with the doorbells of the kernel"):
        fine(c, "net switch add vsw1")
        fine(c, "vm set one nic1.switch=vsw1")
        new_nic(c, "one", "eth1")
        tell(c, "one", "ip addr add 10.9.1.1/24 dev eth1")
        tell(c, "two", "ip addr add 10.9.1.2/24 dev eth0")
        assert ping(c, "one", "10.9.1.2", wait=1) == 0
    with c.check("the other guest's NIC is moved to that switch: there they meet"):
        fine(c, "vm set two nic0.switch=vsw1")
        assert ping(c, "one", "10.9.1.2") == 3
        assert ping(c, "one", "10.9.0.2", wait=1) == 0
    with c.check("after a crash of the control partition both still do"):
        c.send("debug crash null\r")
        c.expect(r"started again", 60)
        c.prompt(60)
        assert ping(c, "one", "10.9.1.2") == 3
        assert "nic1.switch" in c.command("vm show one")
        assert re.search(r"(?m)^macchange +accept$", c.command("net port show two:0"))
    with c.check("what a guest must be stopped for is refused"):
        text = c.command("vm set one nic1.mac=06:42:48:01:02:03")
        assert "E_STATE" in text, text


def network(c, cpus=1):
    with c.check("a NIC on a switch that is not there is refused", vital=True):
        text = c.command("vm start one")
        assert "E_NOENT: nic0: there is no switch vsw0" in text, text
        c.command("net switch add vsw0")
    with c.check("two guests get cards with addresses of their own", vital=True):
        macs = {address(c, "one", "10.9.0.1"), address(c, "two", "10.9.0.2", cpus)}
        assert len(macs) == 2, macs
    with c.check("they reach each other, with small and with full frames"):
        assert ping(c, "one", "10.9.0.2") == 3
        assert ping(c, "two", "10.9.0.1", size=1472) == 3
    with c.check("TCP carries a file, whole, in frames that nobody had to cut"):
        # Over a long cable the sender has more to send than a frame when it may, unless it is slow.
        fine(c, "net link two:0 delay=30ms")
        seen = []
        while not seen or (len(seen) < 10 and seen[-1][1] <= 1514 * seen[-1][0]):
            seen.append(tcp(c))
        fine(c, "net link two:0 delay=0")
        assert seen[-1][1] > 1514 * seen[-1][0], seen
    if not c.machine.emulates_svm:  # QEMU's clock is that of the loaded machine: svm-shape
        keeps_rate(c)
    with c.check("a card has a pair of queues for each vCPU"):
        text = tell(c, "two", "ls /sys/class/net/eth0/queues")
        assert text.count("rx-") == cpus and text.count("tx-") == cpus, text
    with c.check("the switch knows both ports and their addresses"):
        text = c.command("net port list")
        assert "one:0" in text and "two:0" in text, text
        text = c.command("net mac list vsw0")
        assert all(mac in text for mac in macs), text
    vlans(c)
    policies(c)
    hot_plug(c)
    with c.check("a stopped guest leaves no port behind, what was set at it comes again, and nothing in the log is an error"):
        c.command("vm stop one")
        c.command("vm stop two")
        c.until("vm list", r"two +stopped", 30)
        assert "one:0" not in c.command("net port list")
        assert "net policy two:0 macchange=accept" in c.command("host config show")
        fine(c, "vm start two")
        assert re.search(r"(?m)^macchange +accept$", c.command("net port show two:0"))
        fine(c, "vm stop two")
        c.until("vm list", r"two +stopped", 30)
        log = c.command("host log | grep ERROR")
        assert not log, log


@bochs("network", cpus=1, limit=900, files=FILES)
def network_vtx(c):
    network(c)
