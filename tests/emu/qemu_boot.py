"""The image boots to the shell on every machine it must boot on.  (QEMU's firmware does not start
without ACPI; under Bochs' there is none, so the bochs tier is the test of that.)"""
import re
import select
import socket
import time

from tests.emu.session import CONTROL, PATIENCE
from tests.emu.suite import qemu


def looks_right(c, cpus, memory_mib=None):
    with c.check(f"host info counts {cpus} CPUs"):
        info = c.command("host info")
        assert re.search(rf"(?i)\bcpus?\b.*\b{cpus}\b", info), info
    if memory_mib:
        with c.check(f"host info counts the memory, {memory_mib} MiB"):
            found = re.search(r"(?im)^memory +(\d+) MiB", info)
            # Firmware keeps some for itself, never more than a tenth.
            assert found and memory_mib * 9 // 10 <= int(found[1]) <= memory_mib, info
    with c.check("nothing in the log is Bulkhead's fault"):
        log = c.command("host log | grep ERROR")
        assert not log, log


@qemu("q35-usb", machine="q35", disk="usb", cpus=4, memory_mib=2048)
def q35_usb(c):
    looks_right(c, 4, 2048)


@qemu("q35-usb-1cpu", machine="q35", disk="usb", cpus=1)
def q35_usb_1cpu(c):
    looks_right(c, 1)


@qemu("q35-ahci", machine="q35", disk="ahci", cpus=1)
def q35_ahci(c):
    looks_right(c, 1)


@qemu("q35-virtio", machine="q35", disk="virtio", cpus=8)
def q35_virtio(c):
    looks_right(c, 8)


@qemu("pc-usb", machine="pc", disk="usb", cpus=4)
def pc_usb(c):
    looks_right(c, 4)


@qemu("pc-ahci", machine="pc", disk="ahci", cpus=1)
def pc_ahci(c):
    looks_right(c, 1)


@qemu("pc-virtio", machine="pc", disk="virtio", cpus=1)
def pc_virtio(c):
    looks_right(c, 1)


@qemu("pc-ide", machine="pc", disk="ide", cpus=2)
def pc_ide(c):
    looks_right(c, 2)


@qemu("memory-256", machine="q35", disk="usb", cpus=1, memory_mib=256)
def memory_256(c):
    looks_right(c, 1, 256)


# RAM on both sides of the hole below 4 GiB.
@qemu("memory-5g", machine="q35", disk="virtio", cpus=2, memory_mib=5120)
def memory_5g(c):
    looks_right(c, 2, 5120)


@qemu("memory-hole-1g", machine="pc,max-ram-below-4g=1G", disk="virtio", cpus=2, memory_mib=3072)
def memory_hole_1g(c):
    looks_right(c, 2, 3072)


# Two nodes and a hot-plug area: more entries and gaps in the firmware's memory map.
@qemu("memory-numa", machine="q35", disk="virtio", cpus=2, memory_mib="1024,slots=2,maxmem=8G",
      extra=["-object", "memory-backend-ram,id=m0,size=512M",
             "-object", "memory-backend-ram,id=m1,size=512M",
             "-numa", "node,memdev=m0,cpus=0", "-numa", "node,memdev=m1,cpus=1"])
def memory_numa(c):
    looks_right(c, 2)


class SecondLine:
    """A shell at the machine's serial port behind PCI, a socket in the log folder."""

    def __init__(self, c):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(c.machine.folder + "/second")
        self.c, self.text = c, ""

    def expect(self, pattern, seconds):
        end = time.monotonic() + seconds * PATIENCE
        while not re.search(pattern, CONTROL.sub("", self.text)):
            left = end - time.monotonic()
            assert left > 0, f"{pattern} did not come:\n{self.text[-2000:]}"
            if select.select([self.socket], [], [], min(left, 0.2))[0]:
                self.text += self.socket.recv(65536).decode(errors="replace")
            self.c.pump(0)

    def send(self, text):
        self.text = ""
        self.socket.sendall(text.encode())


@qemu("no-hpet", machine="q35,hpet=off", disk="virtio", cpus=2,
      files={"bulkhead/bulkhead.conf": "serial: shell\n"},
      extra=["-chardev", "socket,id=second,path={folder}/second,server=on,wait=off",
             "-device", "pci-serial,chardev=second"])
def no_hpet(c):
    looks_right(c, 2)
    with c.check("a shell at the serial port behind PCI, too, each with its own line"):
        assert re.search(r"(?m)^second console +serial0, behind PCI$", c.command("host info"))
        line = SecondLine(c)
        line.send("\recho first-word\r")
        line.expect(r"(?s)\nfirst-word\n.*bulkhead> $", 60)
        line.send("echo half")
        line.expect(r"echo half$", 60)
        assert c.command("echo fine").strip() == "fine"
        line.send("-way\rhelp\r")
        line.expect(r"(?s)\nhalf-way\n.*\nhost  .*\ntask  .*bulkhead> $", 60)
    with c.check("its Ctrl-C ends its command, not the other's"):
        line.send("host top seconds=600\r")
        line.expect(r"host top seconds=600\n", 60)
        assert c.command("echo still fine").strip() == "still fine"
        line.send("\x03")
        line.expect(r"(?s)\^C.*bulkhead> $", 60)


# The console is behind PCI: no 16550 at a PC's port.
@qemu("no-screen", machine="q35", disk="virtio", cpus=2, serial="pci", extra=["-vga", "none"])
def no_screen(c):
    with c.check("the banner is there, though the port was found after it was said"):
        assert re.search(r"(?s)Bulkhead \S*\d.*Type help for help", c.text), c.text[-2000:]
    looks_right(c, 2)
    with c.check("the console is behind PCI, by interrupt"):
        assert re.search(r"(?m)^console +serial0, behind PCI$", c.command("host info"))
        assert re.search(r"serial0 +line ", c.command("host pci list"))


# Neither x2APIC nor SMEP, SMAP, 1 GiB pages, XSAVE or an invariant TSC.
@qemu("old-cpu", machine="q35", disk="virtio", cpus=2, cpu="qemu64")
def old_cpu(c):
    looks_right(c, 2)


# A network card that masters the bus: the loader must have stopped it.
@qemu("bus-master", machine="q35", disk="virtio", cpus=1,
      extra=["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=",
             "-device", "e1000e,netdev=n2,romfile=", "-netdev", "user,id=n2"])
def bus_master(c):
    looks_right(c, 1)
