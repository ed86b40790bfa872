"""The image boots to the shell on every machine it must boot on.  (QEMU's firmware does not start
without ACPI; under Bochs' there is none, so the bochs tier is the test of that.)"""
import re

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


@qemu("no-hpet", machine="q35,hpet=off", disk="virtio", cpus=2)
def no_hpet(c):
    looks_right(c, 2)


@qemu("no-screen", machine="q35", disk="virtio", cpus=2, extra=["-vga", "none"])
def no_screen(c):
    looks_right(c, 2)


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
