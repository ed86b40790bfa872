"""Network cards behind each driver: frames go in from outside and come back."""
import os
import random
import re
import socket

from tests.emu.bad_frames import IP, ME, MY_IP, broken
from tests.emu.emulator import NEWER_QEMU, Qemu
from tests.emu.monitor import MONITOR, QTEST, Bus, Monitor
from tests.emu.netlab import HERE, NO_LAB, NetLab, Transfers, cut_by_card, dnsmasq, flood
from tests.emu.suite import declare, not_run, qemu

HOST, OTHER = bytes.fromhex("52540000aa01"), bytes.fromhex("52540000aa02")


def wire(name="n"):
    """A card's other end: datagrams on two sockets in the log folder."""
    return ["-netdev", f"dgram,id={name},local.type=unix,local.path={{folder}}/{name}.qemu,"
            f"remote.type=unix,remote.path={{folder}}/{name}.peer"]


def card(device):
    """One, named d0, on such a wire, and QEMU's monitor."""
    return wire() + ["-device", device + ",netdev=n,id=d0,romfile="] + MONITOR + QTEST


class Peer:
    def __init__(self, c, name="n"):
        self.there = os.path.join(c.machine.folder, name + ".qemu")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(c.machine.folder, name + ".peer"))
        self.socket.settimeout(5)

    def send(self, frame):
        self.socket.sendto(frame, self.there)

    def receive(self):
        return self.socket.recv(65536)


def frame(number, size, target=OTHER):
    rest = random.Random(number).randbytes(size - 18)
    return target + HOST + b"\x88\xb5" + number.to_bytes(4, "big") + rest


def back(sent):
    return sent[6:12] + sent[:6] + sent[12:]


PROBE = 0xffffffff


def is_mine(got, probe=False):
    """Cards and the machine's firmware talk by themselves, too."""
    return got[12:14] == b"\x88\xb5" and (got[14:18] == PROBE.to_bytes(4, "big")) == probe


def wait_for_echo(peer):
    peer.socket.settimeout(0.3)
    for _ in range(60):
        try:
            peer.send(frame(PROBE, 60))
            while not is_mine(peer.receive(), probe=True):
                pass
            break
        except TimeoutError:
            pass
    peer.socket.settimeout(8)


def echoes(c, peer, card, sizes, window=6):
    """Frames of these sizes come back in order, all of them, turned round."""
    c.send(f"host nic echo {card} seconds=100\r")
    try:
        wait_for_echo(peer)
        sent = [frame(i, size) for i, size in enumerate(sizes)]
        for at in range(0, len(sent), window):
            for f in sent[at:at + window]:
                peer.send(f)
            for f in sent[at:at + window]:
                got = peer.receive()
                while not is_mine(got):
                    got = peer.receive()
                assert got[:len(f)] == back(f), f"{got[:32].hex()} for {back(f)[:32].hex()}"
    finally:
        c.send("\x03")
        c.prompt(60)


def resets(c, card):
    return int(re.search(r"(?m)^resets +(\d+)", c.command(f"host nic show {card}"))[1])


def wait_until_reset(c, peer):
    """The driver only sees that nothing is sent when there is something to send."""
    peer.socket.settimeout(0.3)
    for _ in range(1000):
        if "it is reset" in c.text[c.position:]:
            return
        c.pump(0)
        try:
            peer.send(frame(PROBE, 60))
            peer.receive()
        except TimeoutError:
            pass
    raise AssertionError("it is not reset")


def stops(c, peer, monitor, kind):
    """The card stops while frames go through it: its driver finds out and resets it."""
    before = resets(c, "nic0")
    c.send("host nic echo nic0 seconds=1000\r")
    try:
        wait_for_echo(peer)
        bus = Bus(c)
        for number in range(6):  # the wire takes some ten
            peer.send(frame(number, 1514))
        if kind == "virtio":
            bus.write8(monitor.registers(4, device="d0") + 0x14, 0)  # device_status
        else:
            bus.write32(monitor.registers(0, device="d0") + 0x400, 0)  # TCTL
        wait_until_reset(c, peer)
        peer.socket.settimeout(0.3)
        for _ in range(1000):
            try:
                peer.send(frame(PROBE, 61))
                got = peer.receive()
                while not is_mine(got, probe=True) or len(got) != 61:
                    got = peer.receive()
                break
            except TimeoutError:
                c.pump(0)
        else:
            raise AssertionError("no frame comes back any more")
    finally:
        c.send("\x03")
        c.prompt(60)
    assert resets(c, "nic0") == before + 1


def works(c, kind, irq, driver, mbps=None):
    peer, monitor = Peer(c), Monitor(c)
    with c.check("host nic list shows it, with link"):
        pattern = rf"(?m)^nic0 +{kind} +52:54:00:12:34:\w\w +{mbps or 'up'} "
        c.until("host nic list", pattern, 20)
    c.until("net uplink list", "nic0 +vsw0", 20)  # the first boot's network has it: give it back
    c.command("net kif remove k0")
    c.command("net uplink remove nic0")
    with c.check(f"interrupts by {irq}"):
        output = c.command("host pci list")
        assert re.search(rf"(?m) {driver}0 +{irq} ", output), output
    with c.check("1,500 frames of every size come back in order"):
        echoes(c, peer, "nic0", range(60, 1500))
    with c.check("and once more: buffers were given back"):
        echoes(c, peer, "nic0", [1514] * 1000)
    with c.check("frames that are too short or too long do no harm"):
        for size in (1, 13, 14, 59, 1515, 2047, 2048, 4000, 9000, 16000):
            peer.send(bytes(size))
        echoes(c, peer, "nic0", [60, 1514])
    with c.check("the cable is pulled, and put back: frames come again"):
        monitor.do("set_link", name="d0", up=False)
        c.until("host nic list", rf"(?m)^nic0 +{kind} +\S+ +down ", 60)
        monitor.do("set_link", name="d0", up=True)
        c.until("host nic list", rf"(?m)^nic0 +{kind} +\S+ +{mbps or 'up'} ", 60)
        echoes(c, peer, "nic0", [60, 1514])
    with c.check("it stops in the midst of a transfer, is reset, and frames come again"):
        stops(c, peer, monitor, kind)
        echoes(c, peer, "nic0", [60, 1514] * 500)
    with c.check("it is reset as the shell wants it, and frames come again"):
        before = resets(c, "nic0")
        for _ in range(3):
            assert "E_" not in c.command("host nic reset nic0", 60)
            echoes(c, peer, "nic0", [60, 1514] * 50)
        assert resets(c, "nic0") >= before + 3
    with c.check("nothing in the log is an error"):
        log = c.command("host log | grep ERROR")
        assert not log, log


def in_lab(c, lab, size=4 << 20):
    """Addresses, echoes and TCP both ways on the wire that works() had."""
    os.unlink(os.path.join(c.machine.folder, "n.peer"))  # the lab takes the wire's other end
    lab.attach(c)
    leases = dnsmasq(lab, c.machine.folder)
    c.command("net uplink add vsw0 nic0")
    with c.check("DHCP", vital=True):
        assert "E_" not in c.command("net kif add k0 switch=vsw0" + ("" if leases else " ip=10.9.0.100/24"))
        if leases:
            c.command("net kif dhcp k0")
        c.until("net kif list", r"k0 +vsw0 +10\.9\.0\.100/24", 60)
    with c.check("1,000 pings are all answered"):
        c.until(f"net ping {HERE} count=1", "1 answered", 60)  # until then the host asks for its address
        assert flood(lab, "10.9.0.100", 1000) == 1000
    transfers = Transfers(lab, size)
    try:
        with c.check("TCP to the peer, and from it"):
            text = c.command(f"net perf {HERE} port=5001 size={size}", 120)
            assert re.search(rf"(?m)^sent +{size} bytes in ", text), text
            text = c.command(f"net perf {HERE} port=5002 mode=receive", 120)
            assert re.search(rf"(?m)^received +{size} bytes in ", text), text
            assert transfers.got.get(timeout=100) == size
    finally:
        transfers.close()
    cut_by_card(c, lab, "nic0", size)


BAD_FRAMES = 200000


def drained(peer):
    """What the host sent meanwhile: it must not wait for a reader."""
    peer.socket.setblocking(False)
    try:
        while True:
            peer.receive()
    except BlockingIOError:
        pass
    peer.socket.settimeout(100)


def answers_arp(peer):
    question = bytes(6 * [255]) + ME + b"\x08\x06\0\1\x08\0\6\4\0\1" + ME + MY_IP + bytes(6) + IP
    for _ in range(100):
        drained(peer)
        peer.send(question.ljust(60, b"\0"))
        peer.socket.settimeout(1)
        try:
            for _ in range(100):
                got = peer.receive()
                if got[12:14] == b"\x08\x06" and got[21] == 2 and got[28:32] == IP and got[:6] == ME:
                    return True
        except TimeoutError:
            pass
    return False


def takes_broken_frames(c):
    """The host has an address behind the card that works() had."""
    os.unlink(os.path.join(c.machine.folder, "n.peer"))
    peer = Peer(c)
    c.command("net uplink add vsw0 nic0")
    with c.check(f"{BAD_FRAMES} broken frames, and the shell answers throughout"):
        assert "E_" not in c.command("net kif add k0 switch=vsw0 ip=10.9.0.100/24")
        own = re.search(r"(?m)^mac +(\S+)", c.command("net kif show k0"))[1]
        for number, bad in enumerate(broken(bytes.fromhex(own.replace(":", "")), BAD_FRAMES, 2)):
            if number % 50 == 0:
                drained(peer)
            peer.send(bad)
            if number % 10000 == 9999:
                assert c.command(f"echo after {number}").strip() == f"after {number}"
        taken = int(re.search(r"(?m)^nic0 .*? up +\d+ +(\d+) ", c.command("host nic list"))[1])
        assert taken > BAD_FRAMES * 0.9, taken
        c.command("net kif set k0 ip=10.9.0.100/24")
        assert answers_arp(peer)
        print(f"        {taken} frames taken")


@qemu("nic-virtio", machine="q35", cpus=2, limit=300 + BAD_FRAMES // 500,
      extra=card("virtio-net-pci,disable-legacy=on"))
def nic_virtio(c):
    works(c, "virtio", "MSI-X x2", "virtio_net")
    takes_broken_frames(c)


@qemu("nic-virtio-plain", machine="pc", cpus=1,
      extra=card("virtio-net-pci,vectors=0,mrg_rxbuf=off,indirect_desc=off,"
                 "event_idx=off,ctrl_vq=off"))
def nic_virtio_plain(c):
    works(c, "virtio", "line", "virtio_net")


class WithQueues(Qemu):
    """Its second card has four pairs of queues, and a TAP of as many in a lab of its own; `lab` is None,
    and the card has one pair, where no lab is possible."""

    lab = None

    def start(self):
        network = wire("m")
        if NetLab.possible():
            self.lab = NetLab(queues=4).__enter__()
            self.pass_fds = tuple(self.lab.taps)
            network = ["-netdev", "tap,id=m,fds=" + ":".join(map(str, self.lab.taps))]
        self.extra += network + ["-device", "virtio-net-pci,netdev=m,disable-legacy=on,iommu_platform=on,"
                                 "romfile=,mq=on,vectors=10"]
        super().start()

    def stop(self):
        super().stop()
        if self.lab:
            self.lab.__exit__()
            self.lab = None


def pairs(c, card):
    """[(received, sent, interrupts)] of its pairs of queues."""
    text = c.command(f"host nic show {card}")
    return [tuple(map(int, row)) for row in
            re.findall(r"(?m)^pair \d+ +(\d+) received, (\d+) sent, (\d+) interrupts", text)]


def spreads(c, lab, card):
    with c.check("four pairs of queues, each with an interrupt of its own"):
        assert re.search(r"(?m) virtio_net1 +MSI-X x5 ", c.command("host pci list"))
        assert len(pairs(c, card)) == 4, c.command(f"host nic show {card}")
    c.command("net switch add vsw1")
    c.command(f"net uplink add vsw1 {card}")
    assert "E_" not in c.command("net kif add k1 switch=vsw1 ip=10.9.0.100/24")
    with c.check("echo requests are answered"):
        assert flood(lab, "10.9.0.100", 500) == 500
    transfers = Transfers(lab, 1 << 20)
    try:
        with c.check("connections spread over all pairs, both ways, and nothing is lost"):
            for number in range(100):
                before = pairs(c, card)
                if number > 3 and all(rx and tx and calls for rx, tx, calls in before):
                    break
                text = c.command(f"net perf {HERE} port=5001 size=1M", 120)
                assert re.search(r"(?m)^sent +1048576 bytes in ", text), text
                assert transfers.got.get(timeout=100) == 1 << 20
                text = c.command(f"net perf {HERE} port=5002 mode=receive", 120)
                assert re.search(r"(?m)^received +1048576 bytes in ", text), text
            after = pairs(c, card)
            assert all(rx and tx and calls for rx, tx, calls in after), after
            print(f"        {number} connections each way: {after}")
    finally:
        transfers.close()
    cut_by_card(c, lab, card)


@declare("qemu", WithQueues)("nic-virtio-vtd", machine="q35", cpus=2,
                             extra=["-device", "intel-iommu,intremap=on"] +
                             card("virtio-net-pci,disable-legacy=on,iommu_platform=on"))
def nic_virtio_vtd(c):
    works(c, "virtio", "MSI-X x2", "virtio_net")
    if c.machine.lab:
        spreads(c, c.machine.lab, "nic1")
    else:
        not_run("nic-virtio-vtd: four pairs of queues, TCP cut by the card", NO_LAB)
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("nic-e1000", machine="pc", cpus=1,
      extra=card("e1000"))
def nic_e1000(c):
    works(c, "Intel 82540EM", "line", "e1000", "1000 Mbit/s")


@qemu("nic-82545", machine="q35", cpus=2,
      extra=["-device", "intel-iommu,intremap=on"] + card("e1000-82545em") + wire("m") +
      ["-device", "e1000,netdev=m,romfile="])
def nic_82545(c):
    works(c, "Intel 82545EM", "line", "e1000", "1000 Mbit/s")
    with c.check("an 82540 beside it, also behind the IOMMU"):
        c.until("host nic list", r"(?m)^nic1 +Intel 82540EM .* 1000 Mbit/s ", 20)
        echoes(c, Peer(c, "m"), "nic1", [60, 1514] * 500)
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("nic-e1000e", machine="q35", cpus=2,
      extra=["-device", "intel-iommu,intremap=on"] + card("e1000e"))
def nic_e1000e(c):
    works(c, "Intel 82574L", "MSI-X x1", "e1000", "1000 Mbit/s")
    if NetLab.possible():
        with NetLab() as lab:
            os.unlink(os.path.join(c.machine.folder, "n.peer"))  # the lab takes the wire's other end
            lab.attach(c)
            c.command("net uplink add vsw0 nic0")
            assert "E_" not in c.command("net kif add k0 switch=vsw0 ip=10.9.0.100/24")
            cut_by_card(c, lab, "nic0")
    else:
        not_run("nic-e1000e: TCP cut by the card", NO_LAB)
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


if os.path.exists(NEWER_QEMU):
    @qemu("nic-igb", machine="q35", cpus=2, newer=True,
          extra=["-device", "intel-iommu,intremap=on"] + card("igb,mac=52:54:00:12:34:56"))
    def nic_igb(c):
        works(c, "Intel 82576", "MSI-X x1", "e1000", "1000 Mbit/s")
        if NetLab.possible():
            with NetLab() as lab:
                in_lab(c, lab)
        else:
            not_run("nic-igb: DHCP, TCP cut by the card", NO_LAB)
        with c.check("no DMA was blocked"):
            log = c.command("host log | grep IOMMU")
            assert not log, log
else:
    not_run("nic-igb", "no QEMU with an igb was fetched")
