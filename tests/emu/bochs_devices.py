"""The devices that Bochs has: IDE disks on both channels, behind the bus master; an Intel card, whose
other end is a socket of ours."""
import random
import re
import socket

from tests.emu.disks import MIB, listed, outside, pattern, run_test, works
from tests.emu.emulator import Bochs
from tests.emu.qemu_nics import back, frame, is_mine
from tests.emu.session import PATIENCE
from tests.emu.suite import declare, not_run


CARD = bytes.fromhex("525400123456")


def localhost():
    """Whether the name has an address, of which Bochs' card makes sure by crashing."""
    try:
        return bool(socket.gethostbyname("localhost"))
    except OSError:
        return False


class WithCard(Bochs):
    """Frames of its card are datagrams: Bochs takes them at a port and sends to the one above it."""

    peer = None

    def start(self):
        while localhost() and not self.peer:
            self.port_of_card = random.randrange(20000, 32000, 2)
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("127.0.0.1", self.port_of_card))
                peer.bind(("127.0.0.1", self.port_of_card + 1))
                self.peer = peer
            except OSError:
                peer.close()
        if self.peer:
            self.lines += ["pci: enabled=1, chipset=i440fx, slot2=e1000",
                           f"e1000: enabled=1, mac={CARD.hex(':')}, ethmod=socket, ethdev={self.port_of_card}"]
        super().start()

    def stop(self):
        super().stop()
        if self.peer:
            self.peer.close()
            self.peer = None

    def send(self, data):
        self.peer.sendto(data, ("127.0.0.1", self.port_of_card))


def came_back(machine, sent, seconds):
    """A datagram may be lost on the way, or one of before may still be under way."""
    machine.peer.settimeout(seconds)
    try:
        got = machine.peer.recv(65536)
        while not is_mine(got) or got[14:18] != sent[14:18]:
            got = machine.peer.recv(65536)
    except TimeoutError:
        return False
    assert got[:len(sent)] == back(sent), f"{got[:32].hex()} for {back(sent)[:32].hex()}"
    return True


def card(c):
    with c.check("an Intel card that does not take its address from its EEPROM gets it from there"):
        c.until("host nic list", r"(?m)^nic0 +Intel 82540EM +52:54:00:12:34:56 +1000 Mbit/s ", 60)
    c.until("net uplink list", "nic0 +vsw0", 60)  # the first boot's network has it: give it back
    c.command("net kif remove k0")
    c.command("net uplink remove nic0")
    c.send("host nic echo nic0 seconds=3000\r")
    with c.check("500 frames of many sizes come back from it, whole"):
        for number in range(500):
            sent, tries = frame(number, 60 + number * 97 % 1455, CARD), 0
            c.machine.send(sent)
            while not came_back(c.machine, sent, 0.5 * PATIENCE):
                tries += 1
                assert tries < 40, f"frame {number}, of {len(sent)} bytes, did not come back"
                c.pump(0.1)
                c.machine.send(sent)
    c.send("\x03")
    c.prompt(60)
    with c.check("it has counted them, and none was broken or lost"):
        text = c.command("host nic list")
        row = re.search(r"(?m)^nic0 .* Mbit/s +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", text)
        assert row and int(row[1]) >= 500, text


@declare("bochs", WithCard)("disk-ide", cpus=1, data={"d": 64, "e": 8, "f": 8})
def disk_ide(c):
    if c.machine.peer:
        card(c)
    else:
        not_run(f"{c.boot}: an Intel card", "localhost has no address (/etc/hosts)")
    listed(c, "hd1", "IDE", "line", "ide")
    works(c, "hd1", "d")
    with c.check("both disks of the other channel"):
        for disk, image in (("hd2", "e"), ("hd3", "f")):
            run_test(c, disk, "mode=write size=1M block=64K seed=11 --yes")
            assert outside(c, image, 0, MIB) == pattern(11, 0, MIB)
    with c.check("no interrupt was lost"):
        for word in ("answered", "reset"):
            log = c.command(f"host log | grep {word}")
            assert not log, log
