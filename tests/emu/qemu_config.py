"""Mistakes in bulkhead.conf: named by file, line and key, and the shell is usable."""
import re

from tests.emu.suite import qemu

CONF = "bulkhead/bulkhead.conf"

# (what, text of the file, line of the mistake, key, a VM that must be there all the same)
MISTAKES = """\
[vm good]
kernel: guests/demo/vmlinuz
[vm number]
cpu: many
[vm unknown]
colour: red
[vm sub]
cpu: 1,speed=3
[vm range]
mem: 1K
[vm path]
kernel: ../../secret
[vm 9name]
mem: 64M
[vm good]
mem: 64M
[disk d0]
mem: 64M
[vm late
cpu: 1
not a line at all
[vm last]
kernel: guests/demo/vmlinuz
mem: 64M
"""
EXPECTED = [(4, "cpu"), (6, "colour"), (8, "cpu.speed"), (10, "mem"), (12, "kernel"), (13, "name"),
            (15, "name"), (17, ""), (19, ""), (21, "")]


@qemu("config-mistakes", disk="virtio", files={CONF: MISTAKES})
def config_mistakes(c):
    said = c.text + c.command("host log")
    for line, key in EXPECTED:
        with c.check(f"line {line} is named" + (f", key {key}" if key else "")):
            pattern = rf"E_CONFIG: bulkhead\.conf:{line}: {re.escape(key)}.*Try: "
            assert re.search(pattern, said), said[-3000:]
    with c.check("sections without a mistake hold, those with one do not"):
        names = re.findall(r"(?m)^\d+ +(\S+)", c.command("vm list"))
        assert names == ["good", "last"], names


@qemu("config-binary", disk="virtio", files={CONF: bytes(range(256)) * 300})
def config_binary(c):
    with c.check("a binary file is called malformed"):
        assert re.search(r"E_CONFIG: bulkhead\.conf:\d+: ", c.text + c.command("host log"))
    with c.check("the shell is usable"):
        assert c.command("echo fine").strip() == "fine"


@qemu("config-empty", disk="virtio", files={CONF: b""})
def config_empty(c):
    with c.check("no VM, no complaint"):
        assert "E_CONFIG" not in c.text + c.command("host log")
        assert "demo" not in c.command("vm list")


@qemu("config-no-kernel", disk="virtio",
      files={CONF: "[vm lost]\nkernel: guests/nowhere/vmlinuz\nmem: 64M\n"})
def config_no_kernel(c):
    with c.check("a kernel file that is not there is named when the VM starts"):
        text = c.command("vm start lost")
        assert re.search(r"E_[A-Z_]+: .*Try: ", text), text
