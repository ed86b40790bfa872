"""Network cards behind each driver: frames go in from outside and come back."""
import os
import random
import re
import socket

from tests.emu.netlab import NetLab, cut_by_card
from tests.emu.suite import qemu

HOST, OTHER = bytes.fromhex("52540000aa01"), bytes.fromhex("52540000aa02")


def wire(name="n"):
    """A card's other end: datagrams on two sockets in the log folder."""
    return ["-netdev", f"dgram,id={name},local.type=unix,local.path={{folder}}/{name}.qemu,"
            f"remote.type=unix,remote.path={{folder}}/{name}.peer"]


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


def works(c, kind, irq, driver, mbps=None):
    peer = Peer(c)
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
    with c.check("nothing in the log is an error"):
        log = c.command("host log | grep ERROR")
        assert not log, log


@qemu("nic-virtio", machine="q35", cpus=2,
      extra=wire() + ["-device", "virtio-net-pci,netdev=n,disable-legacy=on,romfile="])
def nic_virtio(c):
    works(c, "virtio", "MSI-X x2", "virtio_net")


@qemu("nic-virtio-plain", machine="pc", cpus=1,
      extra=wire() + ["-device", "virtio-net-pci,netdev=n,romfile=,vectors=0,mrg_rxbuf=off,"
                      "indirect_desc=off,event_idx=off,ctrl_vq=off"])
def nic_virtio_plain(c):
    works(c, "virtio", "line", "virtio_net")


@qemu("nic-virtio-vtd", machine="q35", cpus=2,
      extra=["-device", "intel-iommu,intremap=on"] + wire() +
      ["-device", "virtio-net-pci,netdev=n,disable-legacy=on,iommu_platform=on,romfile="])
def nic_virtio_vtd(c):
    works(c, "virtio", "MSI-X x2", "virtio_net")
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("nic-e1000", machine="pc", cpus=1,
      extra=wire() + ["-device", "e1000,netdev=n,romfile="])
def nic_e1000(c):
    works(c, "Intel 82540EM", "line", "e1000", "1000 Mbit/s")


@qemu("nic-82545", machine="q35", cpus=2,
      extra=["-device", "intel-iommu,intremap=on"] + wire() +
      ["-device", "e1000-82545em,netdev=n,romfile="])
def nic_82545(c):
    works(c, "Intel 82545EM", "line", "e1000", "1000 Mbit/s")
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("nic-e1000e", machine="q35", cpus=2,
      extra=["-device", "intel-iommu,intremap=on"] + wire() + ["-device", "e1000e,netdev=n,romfile="])
def nic_e1000e(c):
    works(c, "Intel 82574L", "MSI", "e1000", "1000 Mbit/s")
    if NetLab.possible():
        with NetLab() as lab:
            os.unlink(os.path.join(c.machine.folder, "n.peer"))  # the lab takes the wire's other end
            lab.attach(c)
            c.command("net uplink add vsw0 nic0")
            assert "E_" not in c.command("net kif add k0 switch=vsw0 ip=10.9.0.100/24")
            cut_by_card(c, lab, "nic0")
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log
