"""Debian's own virtio drivers on the devices of vmm/virtio_dev_*.c, on VT-x; qemu_svm.py runs the same
on AMD-V."""
from tests.emu.bochs_demo import back_in_shell, check_typing, config, guest_command, leave, \
    section, start, state, to_shell
from tests.emu.suite import bochs

FILES = config(section("vio", 1) + "rng: yes\nconsole: virtio\n")


def bytes_of_entropy(c):
    """Two reads of the entropy device, as hex."""
    return [guest_command(c, "head -c 16 /dev/hwrng | hexdump -e '16/1 \"%02x\"'; echo").strip()
            for _ in range(2)]


@bochs("virtio", cpus=1, limit=600, files=FILES)
def virtio(c):
    with c.check("a virtio console leads to the guest's shell", vital=True):
        start(c, "vio")
        to_shell(c, "vio", 1)
        assert "hvc0" in guest_command(c, "tty")
    check_typing(c)
    with c.check("the guest's PCI bus shows the devices, and nothing complains"):
        text = guest_command(c, "cat /sys/bus/pci/devices/*/device")
        assert text.split() == ["0x0008", "0x1043", "0x1044"], text
        text = guest_command(c, "dmesg | grep -E 'pci|virtio' | grep -E 'fail|conflict'")
        assert not text.strip(), text
    with c.check("interrupts come by MSI-X"):
        assert "PCI-MSI" in guest_command(c, "grep virtio /proc/interrupts")
    with c.check("the entropy device gives bytes, other ones each time"):
        first, second = bytes_of_entropy(c)
        assert len(first) == len(second) == 32 and first != second, (first, second)
    with c.check("after a crash of the control partition the devices go on"):
        leave(c)
        c.send("debug crash null\r")
        c.expect(r"started again", 60)
        c.prompt(60)
        assert state(c, "vio") == "running"
        back_in_shell(c, "vio")
        assert guest_command(c, "echo alive").strip() == "alive"
        first, second = bytes_of_entropy(c)
        assert len(first) == 32 and first != second, (first, second)
    with c.check("a reset of the guest resets them"):
        c.send("reboot -f\r")
        assert c.expect(r"demo: Debian kernel \S+, 1 CPUs.*virtio console", 200)
        c.expect(r"demo:\S* ?# $", 60)
        assert "hvc0" in guest_command(c, "tty")
        leave(c)
    with c.check("it stops"):
        c.command("vm stop vio")
        c.until("vm list", r"vio +stopped", 30)
