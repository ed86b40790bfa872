"""Guests that start with Debian's OVMF: into Debian's kernel and into iPXE, on VT-x to their first words; in
qemu_svm.py, on AMD-V, from a disk into iPXE, from there into that kernel, to its shell."""
import os
import pathlib
import re

from tests.emu import bochs_demo, guests, vdisk
from tests.emu.emulator import BUILD, TOP, Bochs
from tests.emu.suite import bochs, declare

CACHE = pathlib.Path(os.environ.get("BULKHEAD_CACHE", os.path.join(TOP, ".cache")))
FILES = {"bulkhead/guests/ovmf.fd": pathlib.Path("/usr/share/ovmf/OVMF.fd"),
         "bulkhead/guests/short.fd": "no firmware\n",
         "bulkhead/guests/ipxe.efi": CACHE / "uefi" / "ipxe.efi"}
OVMF_4M = pathlib.Path("/usr/share/OVMF")
FILES_4M = FILES | {
    "bulkhead/guests/code4m.fd": OVMF_4M / "OVMF_CODE_4M.fd",
    "bulkhead/guests/ovmf4m.fd":
        lambda: b"".join((OVMF_4M / f"OVMF_{part}_4M.fd").read_bytes() for part in ("VARS", "CODE"))}
UEFI = pathlib.Path(BUILD) / "uefi"  # of tools/fetch-uefi.sh
# The emulator's own network: addresses by DHCP, a script by TFTP.
SERVED = ["-netdev", f"user,id=n,tftp={UEFI}/tftp,bootfile=boot.ipxe",
          "-device", "e1000,netdev=n,romfile="]


def refused(c):
    with c.check("firmware that is missing, short or no firmware by its size is refused"):
        for name, error in (("none.fd", "E_NOENT"), ("short.fd", "E_IMAGE"),
                            ("demo/initrd.img", "E_IMAGE")):
            guests.must(c, f"vm create bad firmware=guests/{name} mem=32M")
            text = c.command("vm start bad")
            assert error in text, (name, text)
            guests.must(c, "vm delete bad --yes")


def from_disk(c):
    with c.check("OVMF finds a virtio disk and starts its BOOTX64.EFI", vital=True):
        disk = vdisk.data_disk(c)
        guests.must(c, f"vm create u firmware=guests/ovmf.fd cpu=2 mem=256M disk0.device={disk} "
                       "nic0.switch=vsw0")
        bochs_demo.start(c, "u")
        bochs_demo.open_console(c, "u")
        c.expect(r"starting Boot0\S+ .*PciRoot\(0x0\)/Pci\(0x8,0x0\)", 200)


def ipxe_driver(c):
    """iPXE starts: the name of its driver of the card."""
    c.expect("iPXE initialising devices", 100)
    c.expect("Press Ctrl-B", 200)
    c.send(" ")  # any other key, and it waits no longer
    return c.expect(r"net0: \S+ using (\S+) on", 200)[1]


def fetches(c):
    ip = c.expect(r"fetched by (10\.0\.2\.\d+) with", 200)
    assert re.fullmatch(r"10\.0\.2\.(1[5-9]|2\d|3[01])", ip[1]), ip[0]


def ipxe_alone(c):
    """Named as kernel, iPXE starts before the firmware has given the card to a driver."""
    guests.must(c, "vm create k firmware=guests/ovmf.fd kernel=guests/none.efi mem=256M nic0.switch=vsw0")
    assert "E_NOENT" in c.command("vm start k")
    guests.must(c, "vm set k kernel=guests/ipxe.efi")
    bochs_demo.start(c, "k")
    bochs_demo.open_console(c, "k")
    assert ipxe_driver(c) == "virtio-net"


def by_its_own_driver(c):
    with c.check("the firmware starts a kernel that is named: iPXE, whose own virtio driver gets a script",
                 vital=True):
        ipxe_alone(c)
        fetches(c)
        stop(c, "k")


def asks_and_is_answered(c):
    with c.check("the firmware starts a kernel that is named: iPXE, whose own virtio driver asks for an address "
                 "and hears an answer", vital=True):
        ipxe_alone(c)
        bochs_demo.leave(c)
        # Nobody else broadcasts now.
        c.until("net port show k:0", r"(?s)\nin +\d+ frames, \d+ bytes, [1-9].*\nout +\d+ frames, \d+ bytes, [1-9]", 100)
        guests.must(c, "vm stop k", 120)
        c.until("vm list", r"k +stopped", 60)


def by_ipxe(c):
    with c.check("that is iPXE, which gets an address by DHCP and a script by TFTP over virtio-net", vital=True):
        assert ipxe_driver(c) == "SNP"  # OVMF's
        fetches(c)


def to_kernel(c):
    with c.check("Debian's kernel gets its initrd from OVMF's protocol", vital=True):
        c.expect("EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID", 100)


def in_linux(c):
    with c.check("that Linux reaches its shell on two vCPUs", vital=True):
        match = c.expect(r"demo: Debian kernel (\S+), (\d+) CPUs", 200,
                         fail=r"PANIC on cpu|Kernel panic.*|has stopped.*")
        assert match[2] == "2", match[0]
        c.expect(bochs_demo.GUEST, 120)
    with c.check("it has EFI, ACPI, its disk and its card"):
        text = bochs_demo.guest_command(
            c, "ls /sys/firmware/efi/runtime /sys/firmware/acpi/tables /dev/vda1 /sys/class/net", 120)
        for expected in ("FACP", "DSDT", "APIC", "MCFG", "/dev/vda1", "eth0"):
            assert expected in text, text
        text = bochs_demo.guest_command(c, "dmesg | grep -ciE 'bug:|call trace'", 120)
        assert text.strip() == "0", text
    with c.check("poweroff of that guest stops the VM"):
        c.send("poweroff -f\r")
        c.prompt(120)
        assert bochs_demo.state(c, "u") == "stopped"
        assert "FAILED" not in c.command("vm log u")


def stop(c, vm):
    bochs_demo.leave(c)
    guests.must(c, f"vm stop {vm}", 120)
    c.until("vm list", rf"{vm} +stopped", 60)


def by_net(c):
    with c.check("with firmware.boot=net the card is tried before the disk, by the firmware's own PXE"):
        guests.must(c, "vm set u firmware=guests/ovmf4m.fd firmware.boot=net")
        bochs_demo.start(c, "u")
        bochs_demo.open_console(c, "u")
        c.expect(r"NBP file downloaded successfully", 200, fail=r"Pci\(0x8,0x0\)")
        stop(c, "u")
        guests.must(c, "vm set u firmware=guests/code4m.fd")
        assert "E_IMAGE: guests/code4m.fd is not whole" in c.command("vm start u")


def uefi_shell(c, line):
    """A line at the prompt of OVMF's shell, which it ends in without disk and card; what it prints."""
    bochs_demo.start(c, "v")
    bochs_demo.open_console(c, "v")
    c.expect("Press .*ESC", 200)
    c.send("\x1b")
    c.expect("Shell> ", 60)
    c.send(line + "\r")
    return c.expect(r"(?s)(.*)Shell> ", 60)[1]


def variables(c):
    with c.check("a UEFI variable is there after stop and start, in the VM's directory"):
        guests.must(c, "disk ram r0 size=32M")
        vdisk.make_store(c, "r0", "fw")
        guests.must(c, "vm create v firmware=guests/ovmf4m.fd mem=128M home=fw:v", 60)
        assert "this" in uefi_shell(c, "set keep this"), c.text[-500:]
        stop(c, "v")
        assert "v.nvram" in c.command("store ls fw:v", 60)
        text = uefi_shell(c, "set keep")
        assert re.search("keep = this", text), text
        stop(c, "v")


def to_shell(c):
    refused(c)
    from_disk(c)  # vsw0 has the machine's card
    by_ipxe(c)
    to_kernel(c)
    in_linux(c)
    by_its_own_driver(c)
    by_net(c)
    variables(c)


class WithWire(Bochs):
    """Its card's other end is Bochs' own network: addresses by DHCP, files by TFTP."""

    def prepare(self, folder):
        with open(os.path.join(folder, "slirp.conf"), "w") as f:
            f.write("# slirp config\nbootfile = boot.ipxe\n")
        self.lines += ["pci: enabled=1, chipset=i440fx, slot2=e1000",
                       "e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=slirp, "
                       f"ethdev={UEFI}/tftp, script=slirp.conf"]
        return super().prepare(folder)


@declare("bochs", WithWire)("firmware", cpus=1, limit=900, files=FILES, data={"d": UEFI / "disk.img"})
def firmware(c):
    refused(c)
    with c.check("the host gets an address by DHCP over its Intel card", vital=True):
        c.until("net kif list", r"k0 +vsw0 +10\.0\.2\.\d+/24", 60)
    asks_and_is_answered(c)
    from_disk(c)
    to_kernel(c)


@declare("bochs-ipxe", WithWire)("ipxe", cpus=1, limit=900, files=FILES)
def ipxe(c):
    """Not in the tier: OVMF's timers are ten times slower here, and iPXE waits by them (docs/firmware.md)."""
    with c.check("the host gets an address by DHCP over its Intel card", vital=True):
        c.until("net kif list", r"k0 +vsw0 +10\.0\.2\.\d+/24", 60)
    by_its_own_driver(c)
