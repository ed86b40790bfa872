"""Kernels of others, unchanged, by the boot protocols that test suites come in."""
import pathlib

from tests.emu import bochs_demo, guests
from tests.emu.emulator import BUILD
from tests.emu.suite import bochs

BUILD_FOLDER = pathlib.Path(BUILD)
XEN = {"bulkhead/guests/xen": BUILD_FOLDER / "third-party" / "xen",  # tools/fetch-images.sh
       "bulkhead/bulkhead.conf": guests.QUIET_CONFIG}
XEN_LINE = '"console=com1 com1=115200,8n1 noreboot loglvl=all dom0_mem=128M"'


def start_xen(c, protocol, more=""):
    """A console of 8 KiB keeps all of what Xen says."""
    guests.must(c, f"vm create {protocol} kernel=guests/xen protocol={protocol} mem=256M{more} "
                   f"cmdline={XEN_LINE}")
    guests.must(c, f"vm start {protocol}")


def xen_says(c, protocol, text, seconds):
    """Its console up to that text."""
    def said():
        output = guests.console(c, protocol)
        return output if text in output else ""
    return guests.wait(c, f"Xen says {text!r}", said, seconds)


@bochs("images", limit=600, cpus=1, files=XEN)
def images(c):
    with c.check("Debian's Xen by multiboot: its banner, command line and memory, and that it misses a module"):
        start_xen(c, "multiboot")
        text = xen_says(c, "multiboot", "dom0 kernel not specified", 120)
        for expected in ("Xen version 4.17", "Bootloader: Bulkhead", "dom0_mem=128M"):
            assert expected in text, text
        guests.remove(c, "multiboot")
    with c.check("Debian's Xen by multiboot 2: it builds a domain of the module"):
        start_xen(c, "multiboot2", " initrd=guests/demo/vmlinuz")
        text = xen_says(c, "multiboot2", "*** Building a PV Dom0 ***", 240)
        for expected in ("ACPI: RSDP 000E0000", "(usable)", "ENABLING IO-APIC IRQs"):
            assert expected in text, text
        guests.remove(c, "multiboot2")


VMLINUX = ("[vm vmlinux]\nmem: 256M\nkernel: guests/vmlinux\nprotocol: pvh\n"
           "initrd: guests/demo/initrd.img\ncmdline: console=ttyS0 quiet cryptomgr.notests\n")
IMAGE = str(BUILD_FOLDER / "third-party.img")  # has all of them; Bochs would take long to read it
FILES = {"bulkhead/bulkhead.conf": VMLINUX}


def pvh(c):
    with c.check("Debian's Linux by its PVH entry reaches the shell"):
        bochs_demo.start(c, "vmlinux")
        bochs_demo.to_shell(c, "vmlinux", 1)
        assert "Xen" not in bochs_demo.guest_command(c, "cat /sys/hypervisor/type")
        bochs_demo.leave(c)
        guests.remove(c, "vmlinux")
