"""Debian's virtio network driver on a virtual switch, two guests that talk, on VT-x; qemu_svm.py
runs the same on AMD-V."""
import os
import re
import types

from tests.emu import decode
from tests.emu.bochs_demo import back_in_shell, config, guest_command, leave, section, start, \
    to_shell
from tests.emu.bochs_devices import WithCard
from tests.emu.qemu_net import serve
from tests.emu.qemu_nics import Peer
from tests.emu.suite import declare, not_run

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


def shaped(c, port, way):
    """What comes through a port, shaped one way, while TCP has more for it, in bits a second of the
    guests' clock."""
    tell(c, "two", "nc -l -p 7 >/dev/null & true")
    fine(c, f"net shape {port} avg={RATE} burst=16k dir={way}")
    before = counted(c, "two:0", "out")[1]
    text = tell(c, "one", f"a=$({UPTIME}); dd if=/dev/zero bs=64k count=24 2>/dev/null | "
                f"nc -w 60 10.9.0.2 7; echo $a $({UPTIME})", 300)
    after = counted(c, "two:0", "out")[1]
    fine(c, f"net shape {port} avg=off dir={way}")
    begin, end = map(float, text.split()[-2:])
    return (after - before) * 8 / (end - begin)


def keeps_rate(c):
    for port, way, does in (("two:0", "out", "gets"), ("one:0", "in", "sends")):
        with c.check(f"a port shaped in what it {does} keeps its rate within 5 %, though TCP has more for it"):
            rate = shaped(c, port, way)
            assert abs(rate - RATE) < RATE * 0.05, rate


def shape(c):
    """Where the machine's clock counts instructions."""
    with c.check("two guests are on a switch", vital=True):
        fine(c, "net switch add vsw0")
        address(c, "one", "10.9.0.1")
        address(c, "two", "10.9.0.2")
        assert ping(c, "one", "10.9.0.2") == 3
    keeps_rate(c)


def wire_of(c):
    """The other end of the machine's card; None: it has none."""
    if c.machine.emulates_svm:
        return Peer(c)
    if not c.machine.peer:
        return None
    return types.SimpleNamespace(socket=c.machine.peer, send=c.machine.send,
                                 receive=lambda: c.machine.peer.recv(65536))


def card_for_guests(c):
    """The first boot's network has the card: it is given back."""
    with c.check("the network of the first boot is taken away", vital=True):
        c.until("net uplink list", "nic0 +vsw0", 60)
        for line in ("net kif remove k0", "net uplink remove nic0", "net switch delete vsw0"):
            fine(c, line)


OUTSIDE = bytes.fromhex("020000000001")


def tag_bytes(vlan):
    return b"" if vlan is None else b"\x81\0" + vlan.to_bytes(2, "big")


def question(vlan, asker, target):
    """Who has 10.9.0.TARGET, asks 10.9.0.ASKER."""
    return (b"\xff" * 6 + OUTSIDE + tag_bytes(vlan) + b"\x08\x06\0\1\x08\0\6\4\0\1" + OUTSIDE +
            bytes([10, 9, 0, asker]) + bytes(6) + bytes([10, 9, 0, target])).ljust(60, b"\0")


def answers(c, w, rounds=3):
    """Guests 1 and 2 are asked in VLANs 10 and 20 and without a tag; {(who, tag of the answer, who was
    told)} of as many rounds of answers."""
    told = {10: 110, 20: 120, None: 100}
    seen, got, tries = set(), 0, 0
    w.socket.settimeout(0.3)
    while got < rounds and tries < 100:
        tries += 1
        for vlan, asker in told.items():
            for guest in (1, 2):
                w.send(question(vlan, asker, guest))
        this, answered = set(), True
        while answered:
            try:
                f = w.receive()
            except TimeoutError:
                answered = False
                continue
            tag = f[14] % 16 << 8 | f[15] if f[12:14] == b"\x81\0" else None
            arp = f[12:] if tag is None else f[16:]
            if arp[:2] == b"\x08\x06" and arp[8:10] == b"\0\2" and f[:6] == OUTSIDE:
                this.add((arp[19], tag, arp[29]))
        seen |= this
        got += len({who for who, _, _ in this}) == 2
        c.pump(0.05)
    assert got == rounds, (got, seen)
    return seen


def on_wire(c, w):
    """Guest one in VLAN 10, guest two in VLAN 20, as the network outside sees them."""
    with c.check("on the wire each guest's frames have its VLAN's tag, and it hears that VLAN alone"):
        fine(c, "net uplink add vsw0 nic0")
        for vm, vlan in (("one", 10), ("two", 20)):
            fine(c, f"vm set {vm} nic0.vlan={vlan}")
        assert answers(c, w) == {(1, 10, 110), (2, 20, 120)}
    with c.check("the native VLAN of the uplink has none, and one that is not on its list is not heard"):
        fine(c, "net port set nic0 vlans=10 native=20")
        seen = answers(c, w)
        assert {(1, 10, 110), (2, None, 100)} <= seen and \
            all(tag == {1: 10, 2: None}[who] for who, tag, _ in seen), seen
        fine(c, "net port set nic0 vlans=all native=0")
    with c.check("tshark finds the host in its LLDP and CDP frames there, and nothing to complain of"):
        found = {}
        for protocol, is_it in (("lldp", lambda f: f[12:14] == b"\x88\xcc"),
                                ("cdp", lambda f: f[:6] == bytes.fromhex("01000ccccccc"))):
            for _ in range(100):
                fine(c, f"net {protocol} vsw0 advertise")  # says so at once
                try:
                    while protocol not in found:
                        f = w.receive()
                        found |= {protocol: f} if is_it(f) else {}
                    break
                except TimeoutError:
                    pass
            fine(c, f"net {protocol} vsw0 off")
        path = os.path.join(c.machine.folder, "discovery.pcap")
        decode.write(path, [found["lldp"], found["cdp"]])
        rows = decode.fields(path, "lldp.tlv.system.name", "lldp.port.id", "cdp.deviceid", "cdp.portid",
                             "_ws.expert.message", "_ws.malformed")
        assert rows == [["bulkhead", "nic0", "", "", "", ""], ["", "", "bulkhead", "nic0", "", ""]], rows
    for vm in ("one", "two"):
        fine(c, f"vm set {vm} nic0.vlan=0")
    fine(c, "net uplink remove nic0")


def queue_interrupts(c, vm):
    text = tell(c, vm, "grep -E 'virtio.*put' /proc/interrupts")
    return {row[1]: sum(map(int, row[0].split())) for row in
            re.findall(r"(?m)^ *\d+:((?: +\d+)+) .*virtio\d+-(\w+put\.\d)", text)}


def both_pairs(c):
    with c.check("each vCPU sends by a pair of queues of its own, where its answers come, with two interrupts"):
        first = queue_interrupts(c, "two")
        assert sorted(first) == ["input.0", "input.1", "output.0", "output.1"], first
        for _ in range(10):
            for mask in (1, 2):
                tell(c, "one", "nc -l -p 9 >/dev/null & true")
                tell(c, "two", f"seq 1 5000 | taskset {mask} nc -w 60 10.9.0.1 9", 120)
            now = queue_interrupts(c, "two")
            if all(now[name] > first[name] + 5 for name in now):
                break
        assert all(now[name] > first[name] + 5 for name in now), (first, now)


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


def dropped(c, port, why):
    found = re.search(rf"dropped +(\d+) {why}", c.command(f"net port show {port}"))
    return int(found[1]) if found else 0


def more_policies(c):
    with c.check("isolated ports do not see each other, but the host's own interface, which sees them"):
        fine(c, "net kif add k9 switch=vsw0 ip=10.9.0.9/24")
        for vm in ("one", "two"):
            fine(c, f"net port set {vm}:0 isolate=on")
        assert ping(c, "one", "10.9.0.2", wait=1) == 0
        assert ping(c, "one", "10.9.0.9") == 3
        assert "3 answered" in c.command("net ping 10.9.0.2 count=3 interval=20ms", 60)
        for vm in ("one", "two"):
            fine(c, f"net port set {vm}:0 isolate=off")
        assert ping(c, "one", "10.9.0.2") == 3
    with c.check("a promiscuous port gets what is said between others, another does not"):
        for choice, least, most in (("reject", 0, 5), ("accept", 6, 99), ("inherit", 0, 5)):
            fine(c, f"net policy one:0 promisc={choice}")
            before = counted(c, "one:0", "out")[0]
            assert "3 answered" in c.command("net ping 10.9.0.2 count=3 interval=20ms", 60)
            assert least <= counted(c, "one:0", "out")[0] - before <= most
    with c.check("a guest that answers as a DHCP server is guarded against"):
        tell(c, "two", r"printf 'start 10.9.0.50\nend 10.9.0.59\ninterface eth0\nlease_file /tmp/leases\n"
             r"pidfile /tmp/pid\n' >/tmp/conf; touch /tmp/leases; udhcpd /tmp/conf")
        ask = "udhcpc -i eth0 -n -q -f -s /bin/true -t 2 -T "
        text = tell(c, "one", ask + "20", 300)
        assert "lease of 10.9.0.5" in text and dropped(c, "two:0", "dhcp-guard") == 0, text
        fine(c, "net policy vsw0 dhcpserver=reject")
        text = tell(c, "one", ask + "3", 120)
        assert "lease of" not in text and dropped(c, "two:0", "dhcp-guard") > 0, text
        fine(c, "net policy vsw0 dhcpserver=accept")
        tell(c, "two", "kill $(cat /tmp/pid)")
    with c.check("a storm of broadcasts is held to its limit, counted and told once"):
        fine(c, "net policy two:0 broadcast=2")
        tell(c, "two", "for i in $(seq 101 130); do ping -c 1 -W 1 10.9.0.$i >/dev/null & done; wait", 120)
        assert dropped(c, "two:0", "storm") >= 10
        assert c.command("host log | grep 'two:0 is over its storm limit'").count("storm limit") == 1
        fine(c, "net policy two:0 broadcast=0")
    with c.check("a long cable is 50 ms each way, a broken one loses all"):
        fine(c, "net link two:0 delay=50ms")
        text = tell(c, "one", "ping -c 3 -W 30 10.9.0.2", 120)
        assert float(re.search(r"min/avg/max = ([\d.]+)/", text)[1]) >= 100, text
        fine(c, "net link two:0 delay=0 loss=100%")
        assert ping(c, "one", "10.9.0.2", wait=1) == 0 and dropped(c, "two:0", "lost") > 0
        fine(c, "net link two:0 loss=0")
        assert ping(c, "one", "10.9.0.2") == 3
    fine(c, "net kif remove k9")


def new_nic(c, vm, card):
    tell(c, vm, f"until [ -e /sys/class/net/{card} ]; do sleep 1; done; ip link set {card} up; "
         f"until grep -q up /sys/class/net/{card}/operstate; do sleep 1; done", 120)


def jumbo_outside(c, w):
    """QEMU's card takes frames of 9,000 bytes as well; Bochs' does not."""
    with c.check("frames of 9,000 bytes go out at an uplink, and come in"):
        assert "E_UPLINK_IN_USE" in c.command("net uplink add vsw1 nic0") + \
            c.command("net uplink add vsw0 nic0")
        tell(c, "one", "ip addr add 10.0.0.5/24 dev eth1; ping -c 60 -W 10 -s 8972 10.0.0.1 >/tmp/jumbo 2>&1 & true")
        seen = serve(w, 300, 5)
        assert len([f for f in seen if len(f) == 9014]) == 5, sorted(map(len, seen))
        tell(c, "one", "kill -INT $!; wait; true")
        text = tell(c, "one", "cat /tmp/jumbo")
        assert int(re.search(r"(\d+) packets received", text)[1]) >= 4, text
        fine(c, "net uplink remove nic0")


def hot_plug(c, wire):
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
        fine(c, "net switch add vsw1 mtu=9000")
        fine(c, "vm set one nic1.switch=vsw1")
        new_nic(c, "one", "eth1")
        tell(c, "one", "ip addr add 10.9.1.1/24 dev eth1")
        tell(c, "two", "ip addr add 10.9.1.2/24 dev eth0")
        assert ping(c, "one", "10.9.1.2", wait=1) == 0
    with c.check("the other guest's NIC is moved to that switch: there they meet"):
        fine(c, "vm set two nic0.switch=vsw1")
        assert ping(c, "one", "10.9.1.2") == 3
        assert ping(c, "one", "10.9.0.2", wait=1) == 0
    with c.check("the switch has an MTU of 9,000: so have drivers that start on it, and such frames come whole"):
        tell(c, "two", "cd /sys/bus/virtio/drivers/virtio_net; d=$(ls -d virtio*); echo $d >unbind; "
             "echo $d >bind; cd /; ip link set eth0 up; ip addr add 10.9.1.2/24 dev eth0; ip addr add 10.9.0.2/24 dev eth0; "
             "until grep -q up /sys/class/net/eth0/operstate; do sleep 1; done", 120)
        for vm, card in (("one", "eth1"), ("two", "eth0")):
            assert tell(c, vm, f"cat /sys/class/net/{card}/mtu").strip() == "9000"
        before = counted(c, "two:0", "in")
        assert ping(c, "one", "10.9.1.2", size=8972) == 3
        frames, size = [a - b for a, b in zip(counted(c, "two:0", "in"), before)]
        assert size >= 3 * 9014 and frames < 15, (frames, size)  # cut they would be 21
    if wire and c.machine.emulates_svm:
        jumbo_outside(c, wire)
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


def network(c):
    cpus, wire = 2, wire_of(c)
    if wire:
        card_for_guests(c)
    else:
        not_run(f"{c.boot}: an Intel card", "localhost has no address (/etc/hosts)")
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
    both_pairs(c)
    with c.check("the switch knows both ports and their addresses"):
        text = c.command("net port list")
        assert "one:0" in text and "two:0" in text, text
        text = c.command("net mac list vsw0")
        assert all(mac in text for mac in macs), text
    vlans(c)
    if wire:
        on_wire(c, wire)
    policies(c)
    if not c.machine.emulates_svm:  # nothing of this knows whose virtualisation it is
        more_policies(c)
    hot_plug(c, wire)
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


@declare("bochs", WithCard)("network", cpus=1, limit=900, files=FILES_2)
def network_vtx(c):
    network(c)
