"""A guest that starts with Debian's OVMF: on VT-x from a disk into Debian's kernel, to its first words; in
qemu_svm.py, on AMD-V, from a disk into iPXE, from there into that kernel, to its shell."""
import pathlib
import re

from tests.emu import bochs_demo, guests, vdisk
from tests.emu.emulator import BUILD
from tests.emu.suite import bochs

FILES = {"bulkhead/guests/ovmf.fd": pathlib.Path("/usr/share/ovmf/OVMF.fd"),
         "bulkhead/guests/short.fd": "no firmware\n"}
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


def by_ipxe(c):
    with c.check("that is iPXE, which gets an address by DHCP and a script by TFTP over virtio-net", vital=True):
        c.expect("iPXE initialising devices", 100)
        ip = c.expect(r"fetched by (10\.0\.2\.\d+) with (\S+)", 200)
        assert re.fullmatch(r"10\.0\.2\.(1[5-9]|2\d|3[01])", ip[1]), ip[0]


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


def to_shell(c):
    refused(c)
    from_disk(c)  # vsw0 has the machine's card
    by_ipxe(c)
    to_kernel(c)
    in_linux(c)


@bochs("firmware", cpus=1, limit=900, files=FILES, data={"d": UEFI / "disk.img"})
def firmware(c):
    refused(c)
    guests.must(c, "net switch add vsw0")
    from_disk(c)
    to_kernel(c)
