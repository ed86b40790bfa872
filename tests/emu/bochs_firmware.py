"""A guest that starts with Debian's OVMF: from a disk into Debian's kernel, on VT-x to that kernel's first
words, in qemu_svm.py, on AMD-V, to its shell."""
import pathlib

from tests.emu import bochs_demo, guests, vdisk
from tests.emu.emulator import BUILD
from tests.emu.suite import bochs

FILES = {"bulkhead/guests/ovmf.fd": pathlib.Path("/usr/share/ovmf/OVMF.fd"),
         "bulkhead/guests/short.fd": "no firmware\n"}
DATA = {"d": pathlib.Path(BUILD) / "uefi" / "disk.img"}  # tools/fetch-uefi.sh


def refused(c):
    with c.check("firmware that is missing, short or no firmware by its size is refused"):
        for name, error in (("none.fd", "E_NOENT"), ("short.fd", "E_IMAGE"),
                            ("demo/initrd.img", "E_IMAGE")):
            guests.must(c, f"vm create bad firmware=guests/{name} mem=32M")
            text = c.command("vm start bad")
            assert error in text, (name, text)
            guests.must(c, "vm delete bad --yes")


def to_kernel(c):
    with c.check("OVMF finds a virtio disk and starts its BOOTX64.EFI", vital=True):
        disk = vdisk.data_disk(c)
        guests.must(c, "net switch add vsw0")
        guests.must(c, f"vm create u firmware=guests/ovmf.fd cpu=2 mem=256M disk0.device={disk} "
                       "nic0.switch=vsw0")
        bochs_demo.start(c, "u")
        bochs_demo.open_console(c, "u")
        c.expect(r"starting Boot0\S+ .*PciRoot\(0x0\)/Pci\(0x8,0x0\)", 200)
    with c.check("that is Debian's kernel, which gets its initrd from OVMF's protocol", vital=True):
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


def to_shell(c):
    refused(c)
    to_kernel(c)
    in_linux(c)


@bochs("firmware", cpus=1, limit=900, files=FILES, data=DATA)
def firmware(c):
    refused(c)
    to_kernel(c)
