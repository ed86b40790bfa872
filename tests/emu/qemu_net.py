"""The host's own network: DHCP at first boot, IPv4 and IPv6, teams, discovery on the wire.
One file: its cases share the peers that answer the host."""
import base64
import concurrent.futures
import gzip
import os
import re
import socket
import struct
import subprocess
import threading
import time

from tests.emu.bad_frames import broken
from tests.emu.netlab import FAR6, HERE, HERE6, NO_LAB, NetLab, Transfers, cut_by_card, dnsmasq, flood, reach
from tests.emu import decode, vdisk
from tests.emu.monitor import Monitor
from tests.emu.qemu_nics import Peer, wire
from tests.emu.emulator import BUILD, TOP
from tests.emu.session import PATIENCE
from tests.emu.suite import not_run, qemu
from tests.emu.vdisk import Cpio, read

USER = ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]


def lasts(c):
    """What was set by hand is there after a start, before the lease comes and with it."""
    for line in ("net switch delete vsw1", "net route add 10.44.0.0/16 via=10.0.2.2", "net dns set 10.0.2.99",
                 "net ntp set off", "net kif set k0 ip=2001:db8::5/64 gw=2001:db8::1",
                 "net route add 2001:db8:7::/48 via=2001:db8::7 --wait"):
        text = c.command(line)
        assert "E_" not in text, text
    before = c.command("host config show")
    c.send("host reboot --yes\r")
    c.expect("Type help for help", 120)
    banner = c.expect(r"Addresses: k0 [^\n]*(?=\n)", 60)[0]
    c.prompt(60)
    assert "asks DHCP" in banner, banner
    text = c.command("net route list")
    assert re.search(r"10\.44\.0\.0/16 +10\.0\.2\.2 +- +static +waits", text), text
    c.until("net route list", r"10\.44\.0\.0/16 +10\.0\.2\.2 +k0 +static +active", 30)
    assert re.search(r"2001:db8:7::/48 +2001:db8::7 +k0 +static +active", c.command("net route list"))
    text = c.command("net dns show")
    assert re.search(r"(?s)server +10\.0\.2\.99\s.*set by hand.*not used +10\.0\.2\.3, DHCP at k0", text), text
    assert re.search(r"from +off", c.command("net ntp show"))
    assert c.command("host config show") == before
    assert re.search(r"at start +read whole, \d+ lines, 0 failed", c.command("host config"))


@qemu("net-dhcp", machine="q35", disk="ahci", cpus=2, extra=USER)
def net_dhcp(c):
    with c.check("first boot: the first card with link gets an address by DHCP", vital=True):
        c.until("net kif list", r"k0 +vsw0 +10\.0\.2\.15/24 +10\.0\.2\.2 +dhcp", 30)
    with c.check("it is told, on the console in a line of its own"):
        c.command("echo by now")
        line = re.search(r"(?m)^.*Bulkhead is at .*$", c.text)[0]
        assert line.strip().endswith("Bulkhead is at 10.0.2.15 (k0, by DHCP); this shell over SSH: `help host ssh`"), \
            line
        assert c.text.count("Bulkhead is at") == 1
        assert "k0 has the address 10.0.2.15/24, by DHCP" in c.command("host log")
        assert re.search(r"management +10\.0\.2\.15/24", c.command("host info"))
    with c.check("net kif show has the lease and the server"):
        text = c.command("net kif show k0")
        assert re.search(r"dhcp +bound", text) and re.search(r"server +10\.0\.2\.2", text), text
    with c.check("twenty pings are answered"):
        text = c.command("net ping 10.0.2.2 count=20 interval=20ms", 60)
        assert "20 sent, 20 answered" in text, text
    with c.check("Ctrl-C ends a wait of an hour at once"):
        c.send("net ping 10.0.2.2 count=2 interval=3600s\r")
        c.expect("64 bytes from", 60)
        c.send("\x03")
        c.prompt(60)
        assert c.command("echo at once").strip() == "at once"
    with c.check("also with 1,400 bytes, and one that has to be fragmented"):
        assert "3 sent, 3 answered" in c.command("net ping 10.0.2.2 count=3 size=1400 interval=20ms")
    with c.check("IPv6: an address from the router's advertisement, and the router answers"):
        c.until("net kif show k0", r"(?im)^ipv6 +fec0::[0-9a-f:]+ router\s*$", 30)
        text = c.command("net ping fec0::2 count=3 interval=50ms", 30)
        assert "3 answered" in text, text
    with c.check("the name server came with the lease"):
        assert re.search(r"(?s)server +10\.0\.2\.3\s.*from +DHCP at k0", c.command("net dns show")), c.text
    with c.check("one that was set by hand outlives a lease, and goes when it is taken back"):
        c.command("net dns set 10.0.2.99")
        c.command("net kif dhcp k0")
        c.until("net kif show k0", r"dhcp +bound", 30)
        text = c.command("net dns show")
        assert re.search(r"(?s)server +10\.0\.2\.99\s.*from +set by hand.*not used +10\.0\.2\.3, DHCP at k0",
                         text), text
        assert "net dns set 10.0.2.99" in c.command("host config show")
        c.command("net dns set dhcp")
        text = c.command("net dns show")
        assert re.search(r"server +10\.0\.2\.3\s", text) and "10.0.2.99" not in text, text
    with c.check("a route waits without a lease, and is in force with one"):
        text = c.command("net kif dhcp k0; net route add 10.44.0.0/16 via=10.0.2.2; net route list")
        assert re.search(r"(?s)It waits.*10\.44\.0\.0/16 +10\.0\.2\.2 +- +static +waits", text), text
        c.until("net route list", r"10\.44\.0\.0/16 +10\.0\.2\.2 +k0 +static +active", 30)
        assert "E_GATEWAY" in c.command("net route add 10.45.0.0/16 via=10.3.3.3")
        c.command("net route remove 10.44.0.0/16")
    with c.check("syslog: the log goes to a server as RFC 5424 says"), \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))  # QEMU's 10.0.2.2
        server.settimeout(60)
        text = c.command(f"host syslog set 10.0.2.2 port={server.getsockname()[1]} level=info")
        assert "E_" not in text, text
        got = server.recv(2048).decode()
        assert re.match(r"<13[0-7]>1 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z bulkhead bulkhead - - "
                        r'\[meta sequenceId="\d+"\] \S', got), got
        seen = [got]
        while not any("k0 has the address 10.0.2.15" in s for s in seen):
            seen.append(server.recv(2048).decode())
        assert re.search(r"(?m)^state +sends", c.command("host syslog show"))
        assert "host syslog set 10.0.2.2" in c.command("host config show")
        assert "E_VALUE" in c.command("host syslog set 10.0.2.2 port=70000")
        c.command("host syslog off")
        assert re.search(r"(?m)^state +off", c.command("host syslog show"))
    with c.check("the switch learned the router behind the uplink"):
        text = c.command("net mac list vsw0")
        assert re.search(r"52:55:0a:00:02:02 +0 +nic0 +learned", text), text
        assert re.search(r"06:42:48:\S+ +0 +k0 +own", text), text
    with c.check("the uplink carries, and belongs to one switch only"):
        assert re.search(r"nic0 +vsw0 +up .*carries", c.command("net uplink list"))
        c.command("net switch add vsw1")
        assert "E_UPLINK_IN_USE: nic0 is an uplink of vsw0" in c.command("net uplink add vsw1 nic0")
        assert "E_UPLINK_IN_USE: nic0 was set up for" in c.command("net switch set vsw0 mtu=9000")
    with c.check("taken away and given back, DHCP starts again"):
        c.command("net uplink remove nic0")
        assert "0 answered" in c.command("net ping 10.0.2.2 count=1")
        assert "E_" not in c.command("net uplink add vsw0 nic0")
        c.command("net kif dhcp k0")
        c.until("net kif list", r"10\.0\.2\.15/24", 30)
        assert "3 answered" in c.command("net ping 10.0.2.2 count=3 interval=20ms")
    with c.check("after a start what was set by hand is there, before the lease comes and with it"):
        lasts(c)
    with c.check("nothing in the log is an error"):
        log = c.command("host log | grep ERROR")
        assert not log, log


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def arp_reply(request):
    """What 10.0.0.1 at 02:00:00:00:00:01 answers."""
    me = mac("020000000001")
    return (request[6:12] + me + request[12:20] + b"\0\2" + me + bytes([10, 0, 0, 1]) +
            request[22:32]).ljust(60, b"\0")


def echo_reply(f):
    def total(data):
        s = sum(struct.unpack(f">{len(data) // 2}H", data))
        s = (s & 0xffff) + (s >> 16)
        return ~((s & 0xffff) + (s >> 16)) & 0xffff
    length = int.from_bytes(f[16:18], "big")
    icmp = b"\0\0\0\0" + f[38:14 + length]
    icmp = icmp[:2] + total(icmp).to_bytes(2, "big") + icmp[4:]
    return f[6:12] + mac("020000000001") + f[12:26] + f[30:34] + f[26:30] + icmp


NTP_TIME = 4102444800  # 2100-01-01


def ntp_answer(asked, seconds=NTP_TIME):
    """What an NTP server answers a client: RFC 4330 section 5."""
    stamp = (seconds + 2208988800 & 0xffffffff).to_bytes(4, "big") + bytes(4)
    return bytes([0x24, 1, 4, 0xec]) + bytes(8) + b"LOCL" + stamp + asked[40:48] + stamp + stamp


def ntp_reply(f):
    """The frame with it, from 10.0.0.1."""
    ntp = ntp_answer(f[42:90])
    udp = f[36:38] + f[34:36] + (8 + len(ntp)).to_bytes(2, "big") + b"\0\0"
    return f[6:12] + mac("020000000001") + f[12:26] + f[30:34] + f[26:30] + udp + ntp


def serve(peer, seconds, want, ntp=False, over=None):
    """Answers ARP, echoes and NTP until `want` echoes (or questions for the time) were answered, or `over`
    is set; all frames that came."""
    seen, answered, end = [], 0, time.monotonic() + seconds
    peer.socket.settimeout(0.2)
    while time.monotonic() < end and answered < want and not (over and over.is_set()):
        try:
            f = peer.receive()
        except TimeoutError:
            continue
        seen.append(f)
        inner = f[:12] + f[16:] if f[12:14] == b"\x81\0" else f
        reply = None
        if inner[12:14] == b"\x08\x06" and inner[20:22] == b"\0\1" and inner[38:42] == b"\x0a\0\0\1":
            reply = arp_reply(inner)
        elif inner[12:14] == b"\x08\0" and inner[23] == 1 and inner[34] == 8:
            reply = echo_reply(inner)
            answered += 1
        elif inner[12:14] == b"\x08\0" and inner[23] == 17 and inner[36:38] == b"\0\x7b":
            reply = ntp_reply(inner)
            answered += ntp
        if reply:
            peer.send(reply[:12] + f[12:16] + reply[12:] if inner is not f else reply)
    return seen


def until_frame(peer, seconds, good):
    end = time.monotonic() + seconds
    peer.socket.settimeout(0.2)
    while time.monotonic() < end:
        try:
            f = peer.receive()
        except TimeoutError:
            continue
        if good(f):
            return f
    return None


def repeat(peer, frames, over):
    """Sends the frames again and again until `over` is set."""
    while not over.wait(0.05):
        for f in frames:
            peer.send(f)


def capture_to_file(c, peer):
    """Frames from outside, captured into a datastore; what tshark finds in that file."""
    sent = [mac("ffffffffffff") + mac("020000000001") + b"\x88\xb5" + bytes([i]) * (46 + 31 * i)
            for i in range(4)]
    over = threading.Event()
    sender = threading.Thread(target=repeat, args=(peer, sent, over))
    sender.start()
    try:
        text = c.command("net capture nic0 file=ds1:wire.pcapng count=20 dir=in seconds=100", 200)
    finally:
        over.set()
        sender.join()
    assert "20 frames in ds1:wire.pcapng, 0 lost" in text, text
    path = os.path.join(c.machine.folder, "wire.pcapng")
    subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "get", "wire.pcapng", path],
                   check=True, cwd=TOP)
    got = decode.fields(path, "frame.interface_name", "eth.type", "frame.len")
    assert len(got) == 20 and {row[0] for row in got} == {"nic0"}, got
    ours = [row[2] for row in got if row[1] == "0x88b5"]
    lengths = [str(len(f)) for f in sent]
    first = lengths.index(ours[0])
    assert ours == [lengths[(first + i) % 4] for i in range(len(ours))] and len(ours) > 12, ours


def on_wires(peers, run):
    """What comes out of both cards while `run` does something, and soon after."""
    over = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(len(peers)) as pool:
        wires = [pool.submit(serve, p, 300, 1 << 30, over=over) for p in peers]
        try:
            run()
        finally:
            over.set()
    return [w.result() for w in wires]


def one_each(wires, key):
    """Of frames that have a key each keeps to one wire, and both wires have some: {key: wire}."""
    where = {}
    for number, frames in enumerate(wires):
        for k in filter(None, map(key, frames)):
            assert where.setdefault(k, number) == number, f"{k.hex()} is on both wires"
    assert set(where.values()) == set(range(len(wires))), where
    return where


def spreads_over_links(c, peers):
    """Interfaces of the host, whose numbers at the switch and addresses are odd and even."""
    with c.check("by source port, and by source address, an interface keeps to one link; both are used"):
        for n in (1, 2):
            text = c.command(f"net kif add k{n} switch=vsw0 mac=06:42:48:00:01:{3 * n - 3:02x} ip=10.1.{n}.2/24")
            assert "E_" not in text, text
        for policy in ("srcport", "srcmac"):
            c.command(f"net team set vsw0 policy={policy}")

            def ask():
                for n in (1, 2, 1, 2):  # nobody answers
                    assert "0 answered" in c.command(f"net ping 10.1.{n}.1 count=1", 60)
            where = one_each(on_wires(peers, ask), lambda f: f[6:12] if f[12:14] == b"\x08\x06" and
                             f[6:11] == mac("0642480001") else None)
            assert len(where) == 2, where
        for n in (1, 2):
            c.command(f"net kif remove k{n}")
    with c.check("by both IP addresses, the frames of one interface spread over both links"):
        c.command("net team set vsw0 policy=iphash")
        c.command("net kif set k0 ip=10.0.0.2/24 gw=10.0.0.1")

        def ping():
            for n in range(8):
                text = c.command(f"net ping 1.2.3.{n + 1} count=2 interval=20ms", 60)
                assert "2 answered" in text, text
        where = one_each(on_wires(peers, ping),
                         lambda f: f[30:34] if f[12:14] == b"\x08\0" and f[30:33] == b"\1\2\3" else None)
        assert len(where) == 8, where


def log_time(c, text):
    """When the host's log got the latest line of this text, in seconds."""
    return float(re.findall(rf"(?m)^\[ *([\d.]+)\] .*{text}", c.command("host log"))[-1])


BOND = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover \
        net_failover virtio_net tls; do
    insmod /lib/modules/$m.ko
done
insmod /lib/modules/bonding.ko mode=802.3ad miimon=100 lacp_rate=fast
ip addr add 10.0.0.7/24 dev bond0
ip link set bond0 up
echo +eth0 >/sys/class/net/bond0/bonding/slaves
echo +eth1 >/sys/class/net/bond0/bonding/slaves
while :; do
    cat /proc/net/bonding/bond0
    echo end of bond
    sleep 1
done
"""


class Bond:
    """Debian's kernel in a QEMU of its own, at the other end of both wires, with its bonding driver."""

    def __init__(self, c):
        self.console, folder = c, c.machine.folder
        cpio = Cpio()
        cpio.add("init-bond", 0o100755, BOND.encode())
        initrd = os.path.join(folder, "bond.img")
        with open(initrd, "wb") as f:
            f.write(read(os.path.join(BUILD, "guests-bond", "initrd.img")))
            f.write(gzip.compress(cpio.finish(), mtime=0))
        self.path = os.path.join(folder, "bond.txt")
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none",
                   "-no-reboot", "-kernel", os.path.join(BUILD, "guests", "demo", "vmlinuz"),
                   "-initrd", initrd, "-append", "console=ttyS0 quiet rdinit=/init-bond",
                   "-serial", "file:" + self.path]
        for n in ("n0", "n1"):
            ends = {end: os.path.join(folder, f"{n}.{end}") for end in ("peer", "qemu")}
            os.unlink(ends["peer"])
            command += ["-netdev", f"dgram,id={n},local.type=unix,local.path={ends['peer']},"
                        f"remote.type=unix,remote.path={ends['qemu']}",
                        "-device", f"virtio-net-pci,netdev={n},romfile=,speed=1000,duplex=full"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def until(self, good, seconds):
        """The latest of its reports that is good."""
        end, report = time.monotonic() + seconds * PATIENCE, ""
        while time.monotonic() < end and self.process.poll() is None:
            if os.path.exists(self.path):
                with open(self.path, encoding="latin-1") as f:
                    report = f.read().split("end of bond")[-2:][0]
                if good(report):
                    return report
            self.console.pump(0.2)
        raise AssertionError("not in the bond's reports; the last:\n" + report[-3000:])

    def close(self):
        self.process.kill()
        self.process.wait()


def lacp_with_linux(c, peers, monitor):
    switch = re.search(r"(?m)^address +(\S+)", c.command("net switch show vsw0"))[1]
    for p in peers:
        p.socket.close()
    bond = Bond(c)
    try:
        with c.check("Linux's bonding driver and the switch agree on one group of both links"):
            bond.until(lambda r: f"Partner Mac Address: {switch}" in r and "Number of ports: 2" in r, 60)
            c.until("net team show vsw0", r"(?s)nic0 +link up, carries.*nic1 +link up, carries", 60)
        with c.check("it is reached, over the link that each side has chosen"):
            c.until("net ping 10.0.0.7 count=3 interval=20ms", "3 answered", 60)
        with c.check("passive, with slow timers, it is the same: Linux speaks first"):
            c.command("net team set vsw0 policy=lacp lacp=passive timers=slow")
            c.until("net team show vsw0", r"(?s)nic0 +link up, carries.*nic1 +link up, carries", 100)
            c.until("net ping 10.0.0.7 count=3 interval=20ms", "3 answered", 60)
        with c.check("one link is cut: the group goes on with the other"):
            monitor.do("set_link", name="d0", up=False)
            c.until("net team show vsw0", r"(?s)nic0 +link down.*nic1 +link up, carries", 30)
            bond.until(lambda r: "Number of ports: 1" in r, 60)
            c.until("net ping 10.0.0.7 count=3 interval=20ms", "3 answered", 60)
    finally:
        bond.close()


@qemu("net-team", machine="q35", cpus=2, limit=300, data={"d": 64},
      extra=wire("n0") + wire("n1") +
      ["-device", "virtio-net-pci,netdev=n0,id=d0,romfile=",
       "-device", "virtio-net-pci,netdev=n1,id=d1,romfile=",
       "-device", "virtio-blk-pci,drive=d,disable-legacy=on",
       "-qmp", "unix:{folder}/qmp,server=on,wait=off"])
def net_team(c):
    peers, monitor = [Peer(c, "n0"), Peer(c, "n1")], Monitor(c)
    with c.check("both cards become uplinks of one switch", vital=True):
        c.until("net uplink list", "nic0 +vsw0 +up", 30)
        assert "E_" not in c.command("net uplink add vsw0 nic1")
        assert "E_" not in c.command("net kif set k0 ip=10.0.0.2/24")
    with c.check("pings go by the first one"):
        c.send("net ping 10.0.0.1 count=5 interval=50ms\r")
        serve(peers[0], 20, 5)
        c.expect("5 sent, 5 answered", 20)
        c.prompt()
    with c.check("NTP sets the host's clock"):
        assert "E_" not in c.command("net ntp set 10.0.0.1")
        for _ in range(10):
            serve(peers[0], 10, 1, ntp=True)
            if "clock was set by NTP" in c.command("host log"):
                break
        assert re.search(r"(?m)^time +2100-01-01T00:\d\d:", c.command("host info"))
        assert re.search(r"(?m)^clock +by NTP", c.command("net ntp show"))
        c.command("net ntp set off")
    with c.check("VLAN 10: on the wire the frames have the tag"):
        c.command("net kif set k0 vlan=10")
        c.send("net ping 10.0.0.1 count=3 interval=50ms\r")
        seen = serve(peers[0], 20, 3)
        c.expect("3 sent, 3 answered", 20)
        c.prompt()
        assert any(f[12:16] == b"\x81\0\0\x0a" and f[6:9] == b"\x06BH" for f in seen)
        c.command("net kif set k0 vlan=0")
    with c.check("LLDP and CDP frames are on both wires"):
        c.command("net lldp vsw0 both")
        c.command("net cdp vsw0 both")
        lldp = [until_frame(p, 50, lambda f: f[12:14] == b"\x88\xcc") for p in peers]
        c.command("net cdp vsw0 both")
        cdp = [until_frame(p, 50, lambda f: f[:6] == mac("01000ccccccc")) for p in peers]
        assert all(lldp) and all(cdp)
    with c.check("tshark decodes them, and complains of nothing"):
        path = os.path.join(c.machine.folder, "discovery.pcap")
        decode.write(path, lldp + cdp)
        complaints = decode.fields(path, "_ws.expert.message", "_ws.malformed", "cdp.checksum.status")
        assert all(not row[0] and not row[1] and row[2] in ("", "1") for row in complaints), complaints
        rows = decode.fields(path, "lldp.tlv.system.name", "lldp.port.id", "lldp.time_to_live")
        assert [row[:2] for row in rows[:2]] == [["bulkhead", "nic0"], ["bulkhead", "nic1"]], rows
        assert all(int(row[2]) > 0 for row in rows[:2]), rows
        rows = decode.fields(path, "cdp.deviceid", "cdp.portid", "cdp.capabilities.switch")
        assert rows[2:] == [["bulkhead", "nic0", "1"], ["bulkhead", "nic1", "1"]], rows
    with c.check("a capture of the first wire lies on a datastore, and tshark reads it"):
        vdisk.make_store(c, vdisk.data_disk(c))
        capture_to_file(c, peers[0])
        assert "E_EXISTS" in c.command("net capture nic0 file=ds1:wire.pcapng")
        assert "E_NO_STORE" in c.command("net capture nic0 file=ds7:wire.pcapng")
    with c.check("a neighbour that speaks LLDP is shown"):
        peers[0].send(mac("0180c200000e") + mac("020000000009") + b"\x88\xcc" +
                      b"\x02\x07\x04" + mac("020000000009") + b"\x04\x05\x05Gi01" +
                      b"\x06\x02\0\x78" + b"\x0a\x04lab9" + b"\0\0" + bytes(30))
        c.until("net neighbors", r"nic0 +lldp +lab9 +Gi01", 20)
    with c.check("the first cable is cut: the second takes over and the address is announced"):
        monitor.do("set_link", name="d0", up=False)
        start = time.monotonic()
        f = until_frame(peers[1], 10, lambda f: f[12:14] == b"\x80\x35")
        print(f"    announced on the other wire after {(time.monotonic() - start) * 1000:.0f} ms")
        assert f and f[:6] == b"\xff" * 6 and f[6:9] == b"\x06BH", f
        assert until_frame(peers[1], 10, lambda f: f[12:14] == b"\x08\x06" and f[28:32] == f[38:42] ==
                           b"\x0a\0\0\2"), "no gratuitous ARP"
        c.until("net team show vsw0", r"nic1 +link up, carries", 10)
    with c.check("from the loss of the link to that it took less than 200 ms of the host's clock"):
        times = [log_time(c, text) for text in ("link of nic0 is down", "uplink nic1 carries frames")]
        print(f"    by the host's clock after {(times[1] - times[0]) * 1000:.0f} ms")
        assert 0 <= times[1] - times[0] < 0.2, times
    with c.check("pings go by the second one"):
        c.send("net ping 10.0.0.1 count=5 interval=50ms\r")
        serve(peers[1], 20, 5)
        c.expect("5 sent, 5 answered", 20)
        c.prompt()
    with c.check("the cable is back: the first is used again, since failback is on"):
        monitor.do("set_link", name="d0", up=True)
        assert until_frame(peers[0], 10, lambda f: f[12:14] == b"\x80\x35")
        c.until("net team show vsw0", r"nic0 +link up, carries", 10)
        c.until("net team show vsw0", r"nic1 +link up, does not carry", 10)
    with c.check("with failback off it is not, until the second one fails"):
        c.command("net team set vsw0 failback=no")
        for cut, other in (("d0", "nic1"), ("d1", "nic0")):
            monitor.do("set_link", name=cut, up=False)
            c.until("net team show vsw0", rf"{other} +link up, carries", 30)
            monitor.do("set_link", name=cut, up=True)
            c.until("net team show vsw0", rf"(?s)nic0 +link up.*nic1 +link up", 30)
            assert re.search(rf"{other} +link up, carries", c.command("net team show vsw0"))
        c.command("net team set vsw0 failback=yes")
    spreads_over_links(c, peers)
    with c.check("LACP speaks on both wires"):
        c.command("net team set vsw0 policy=lacp timers=fast")
        for p in peers:
            assert until_frame(p, 10, lambda f: f[12:14] == b"\x88\x09" and f[14] == 1)
    lacp_with_linux(c, peers, monitor)
    with c.check("nothing in the log is an error"):
        log = c.command("host log | grep ERROR")
        assert not log, log


BAD_FRAMES = 1_000_000
# Somebody's public key: the base point of its curve.
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20\x58" + 31 * b"\x66").decode()
SIZE = 16 << 20  # bytes of a TCP transfer


def link_local(c, lab):
    """Echoes and TCP both ways between addresses that hold on the wire alone."""
    shown = lab.inside(subprocess.run, ["ip", "-6", "address", "show", "t0"], capture_output=True, text=True,
                       check=False).stdout
    there = re.search(r"(fe80::[0-9a-f:]+)/64", shown)
    if not there:
        not_run("net-e1000: IPv6 on the wire", "no IPv6 in the network namespace")
        return
    with c.check("IPv6: neighbours are discovered, and echoes come from a link-local address"):
        assert "3 answered" in c.command(f"net ping {there[1]}%k0 count=3 interval=20ms", 60)
        assert "3 answered" in c.command(f"net ping {there[1]} count=3 interval=20ms", 60)
        assert "E_RESOLVE" in c.command(f"net ping {there[1]}%k9 count=1", 60)
    with c.check("TCP to a link-local address"), lab.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.bind(("::", 5007))
        listener.listen()
        listener.settimeout(120)
        c.send(f"net perf {there[1]}%k0 port=5007 size=1M\r")
        with listener.accept()[0] as connection:
            connection.settimeout(120)
            got = 0
            while piece := connection.recv(1 << 20):
                got += len(piece)
        c.expect("1048576 bytes in", 60)
        c.prompt(60)
        assert got == 1 << 20, got
    with c.check("the remote shell answers at the host's own link-local address"):
        ours = re.search(r"(?mi)^ipv6 +(fe80::\S+)", c.command("net kif show k0"))[1]
        c.command("host user add anna role=admin")
        c.command(f"host user key anna 'key={KEY}'")
        assert "E_" not in c.command("host ssh on")
        with lab.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.settimeout(120)
            s.connect((ours, 22, 0, lab.inside(socket.if_nametoindex, "t0")))
            assert s.recv(8).startswith(b"SSH-2.0")
        c.command("host ssh off")


def ipv6_by_hand(c, lab, leases):
    """An address in HERE6's network and servers there; FAR6 is the other side of a router."""
    with c.check("IPv6: an address by hand, its network and a gateway"):
        assert "E_" not in c.command(f"net kif set k0 ip=2001:db8:9::5/64 gw={HERE6}")
        c.until("net kif show k0", r"(?m)^ipv6 +2001:db8:9::5 static\s*$", 30)
        for there in (HERE6, FAR6):
            assert "3 answered" in c.command(f"net ping {there} count=3 interval=20ms", 60)
        assert f"net kif set k0 ip=2001:db8:9::5/64 gw={HERE6}" in c.command("host config show")
    if leases:
        with c.check("IPv6: a name server set by hand answers"):
            c.command(f"net dns set {HERE6}")
            assert "other.test has the address 10.9.0.77" in c.command("net dns lookup other.test")
            c.command("net dns set dhcp")
    with c.check("IPv6: without the gateway a route leads there"):
        c.command("net kif set k0 ip=2001:db8:9::5/64")
        c.until("net kif show k0", r"(?m)^ipv6 +2001:db8:9::5 static\s*$", 30)
        assert "0 answered" in c.command(f"net ping {FAR6} count=1", 60)
        assert "E_" not in c.command(f"net route add 2001:db8:aa::/48 via={HERE6}")
        assert "3 answered" in c.command(f"net ping {FAR6} count=3 interval=20ms", 60)
        c.command("net route remove 2001:db8:aa::/48")
    with c.check("IPv6: the log's server and the time's"):
        for port, line, good in ((5514, f"host syslog set {HERE6} port=5514 level=info", rb"^<13[0-7]>1 "),
                                 (123, f"net ntp set {HERE6}", rb"(?s)^.{48}$")):
            with lab.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
                server.bind((HERE6, port))
                server.settimeout(100)
                assert "E_" not in c.command(line)
                assert re.match(good, server.recv(2048))
        assert f"server             {HERE6}" in c.command("net ntp show")
        c.command("host syslog off")
        c.command("net ntp set dhcp")


def negotiates(c, lab):
    """What Linux at the other end has noted of a connection (linux/tcp.h, struct tcp_info)."""
    def noted(connection):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 16)
        assert info[5] & 2, "no SACK (TCPI_OPT_SACK)"
        assert info[5] & 4, "no window scaling (TCPI_OPT_WSCALE)"
        return info[6] & 15  # what the host's windows are shifted by

    with c.check("TCP: SACK and window scaling hold, whoever has opened the connection"):
        with lab.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((HERE, 5008))
            listener.listen()
            listener.settimeout(120)
            c.send(f"net perf {HERE} port=5008 size=64K\r")
            with listener.accept()[0] as connection:
                assert noted(connection) == 6
                connection.settimeout(120)
                while connection.recv(1 << 16):
                    pass
            c.expect("65536 bytes in", 60)
            c.prompt(60)
        c.command("host user add berta role=admin")
        c.command(f"host user key berta 'key={KEY}'")
        assert "E_" not in c.command("host ssh on")
        with lab.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.settimeout(120)
            s.connect(("10.9.0.100", 22))
            assert noted(s) == 6
            assert s.recv(8).startswith(b"SSH-2.0")
        c.command("host ssh off")


def leased(c, lab, clock):
    """What dnsmasq has named besides an address."""
    with c.check("DHCP by dnsmasq, and a name that it knows", vital=True):
        c.until("net kif list", r"k0 +vsw0 +10\.9\.0\.100/24 +10\.9\.0\.1 +dhcp", 60)
        assert "peer.test has the address 10.9.0.1" in c.command("net dns lookup peer.test")
    with c.check("the time server that it has named sets the clock; one that is set by hand goes before"):
        asked, client = clock.recvfrom(2048)
        clock.sendto(ntp_answer(asked), client)
        c.until("net ntp show", r"(?s)server +10\.9\.0\.1, answers.*from +DHCP at k0\s.*clock +by NTP", 30)
        c.command("net ntp set 10.9.0.7")
        text = c.command("net ntp show")
        assert re.search(r"(?s)server +10\.9\.0\.7\s.*from +set by hand.*not used +10\.9\.0\.1, DHCP at k0",
                         text), text
        c.command("net ntp set off")
        assert re.search(r"(?s)state +off.*from +off", c.command("net ntp show"))
        assert "net ntp set off" in c.command("host config show")
        c.command("net ntp set dhcp")
        assert re.search(r"(?s)state +on.*server +10\.9\.0\.1\s", c.command("net ntp show"))


def lab_checks(c, lab):
    """The host behind a network of its own: DHCP, names, echoes, TCP, frames that are broken."""
    clock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    clock.bind((HERE, 123))
    clock.settimeout(100)
    lab.add_ipv6()
    with clock:
        leases = dnsmasq(lab, c.machine.folder)
        if leases:
            leased(c, lab, clock)
    if not leases:
        c.command("net kif set k0 ip=10.9.0.100/24 gw=10.9.0.1")
    with c.check(f"{BAD_FRAMES} broken frames, and the shell answers throughout"):
        mac_of_k0 = mac(re.search(r"(?m)^mac +(\S+)", c.command("net kif show k0"))[1])
        for number, bad in enumerate(broken(mac_of_k0, BAD_FRAMES, 1)):
            lab.card.send(bad)
            if number % 10000 == 9999:
                assert c.command(f"echo after {number}").strip() == f"after {number}"
        taken = int(re.search(r"(?m)^nic0 .*? Mbit/s +\d+ +(\d+) ", c.command("host nic list"))[1])
        assert taken > BAD_FRAMES * 0.9, taken  # the card itself drops those that are too long
        c.command("net kif set k0 ip=10.9.0.100/24 gw=10.9.0.1")
        assert reach(lab, "10.9.0.100")
    with c.check("10,000 pings are all answered"):
        assert flood(lab, "10.9.0.100", 10000) == 10000
    link_local(c, lab)
    if lab.has_ipv6:
        ipv6_by_hand(c, lab, leases)
    negotiates(c, lab)
    transfers = Transfers(lab, SIZE)
    try:
        with c.check("TCP: 16 MiB to the peer, and as many from it"):
            text = c.command(f"net perf {HERE} port=5001 size=16M", 120)
            assert re.search(rf"(?m)^sent +{SIZE} bytes in ", text), text
            rates = [re.search(r"rate +(.*)", text)[1]]
            text = c.command(f"net perf {HERE} port=5002 mode=receive", 120)
            assert re.search(rf"(?m)^received +{SIZE} bytes in ", text), text
            assert transfers.got.get(timeout=100) == SIZE
            print(f"        sent with {rates[0]}, received with {re.search(r'rate +(.*)', text)[1]}")
        with c.check("a port where nobody listens is told of"):
            assert "E_CONNECTION" in c.command(f"net perf {HERE} port=5003", 60)
    finally:
        transfers.close()
    cut_by_card(c, lab, "nic0")


def lab_wire():
    return wire() if NetLab.possible() else ["-netdev", "user,id=n"]


@qemu("net-e1000", machine="pc", cpus=1, limit=300 + BAD_FRAMES // 500,
      extra=lab_wire() + ["-device", "e1000,netdev=n,romfile="])
def net_e1000(c):
    if NetLab.possible():
        with NetLab() as lab:
            lab.attach(c)
            lab_checks(c, lab)
    else:
        not_run("net-e1000: broken frames, TCP cut by the card", NO_LAB)
        with c.check("DHCP by an Intel card", vital=True):
            c.until("net kif list", r"k0 +vsw0 +10\.0\.2\.15/24 +10\.0\.2\.2 +dhcp", 30)
        with c.check("pings are answered, also long ones"):
            assert "20 answered" in c.command("net ping 10.0.2.2 count=20 interval=20ms", 60)
            assert "3 answered" in c.command("net ping 10.0.2.2 count=3 size=1472 interval=20ms", 60)
        with c.check("10,000 pings are answered, but for those that a stalled emulator let wait for a second"):
            text = c.command("net ping 10.0.2.2 count=10000 interval=1ms | grep sent", 400)
            sent = re.search(r"10000 sent, (\d+) answered", text)
            assert sent and int(sent[1]) > 9900, text
