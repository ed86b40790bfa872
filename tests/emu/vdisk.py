"""Disks of Linux guests: the guest, its initrd with tests/linux/blkload, what both tiers check."""
import gzip
import os
import re
import sys

from tests.emu import bochs_demo
from tests.emu.emulator import BUILD, TOP
from tests.emu.guests import must, wait
from tests.emu.suite import guest_files

sys.path.insert(0, os.path.join(TOP, "tools"))
# pylint: disable=wrong-import-position
from mkinitrd import Cpio, read  # noqa: E402

FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi")


AGENT = os.path.join(BUILD, "guests-agent")  # of tools/fetch-guests.sh


def initrd(agent=False):
    """The demo guest's, and behind it a second archive with tests/linux; with qemu-guest-agent, if there is one."""
    cpio = Cpio()
    if agent and os.path.isdir(AGENT):
        cpio.add("agent", 0o040755)
        for name in sorted(os.listdir(AGENT)):
            cpio.add(f"agent/{name}", 0o100755, read(os.path.join(AGENT, name)))
    for name in ("blkload", "agent", "cmos"):
        cpio.add(f"bin/{name}", 0o100755, read(os.path.join(BUILD, "linux", name)))
    return read(os.path.join(BUILD, "guests", "demo", "initrd.img")) + \
        gzip.compress(cpio.finish(), mtime=0)


def section(name, cpus, *lines):
    return bochs_demo.section(name, cpus).replace("demo/initrd.img", "blkload.img") + \
        "".join(line + "\n" for line in lines)


def files(*sections):
    return bochs_demo.config(*sections) | {"bulkhead/guests/blkload.img": initrd}


def with_agent(boot_files):
    """The same, and qemu-guest-agent in /agent of the guest."""
    return boot_files | {"bulkhead/guests/blkload.img": lambda: initrd(agent=True)}


def test_guest(name):
    path = f"bulkhead/guests/tests/{name}.elf"
    return {path: guest_files()[path]} if path in guest_files() else {}


def data_disk(c):
    """The disk beside the boot disk, of 64 MiB, once it is found."""
    return wait(c, "the second disk", lambda: re.search(r"(?m)^(\w+) +64M ", c.command("disk list")),
                120)[1]


def loaded(c, path, operations):
    """Waits for the end of a run in the guest's background, whose output goes to `path`."""
    text = wait(c, "blkload", lambda: re.search(
        r"blkload: .*", bochs_demo.guest_command(c, f"cat {path}")), 300)[0]
    assert f"blkload: ok, {operations} operations" in text, text


def load(c, what, device, seed, operations, workers=4, timeout=300):
    """One run of blkload in the guest whose console is open."""
    text = bochs_demo.guest_command(
        c, f"blkload {what} /dev/{device} {seed} {operations} {workers}", timeout)
    assert re.search(rf"blkload: ok, {operations * workers} operations", text), text


def make_store(c, disk, name="ds1"):
    c.until("disk list", disk, 120)
    assert f"store {name} on {disk}" in c.command(f"store create {name} {disk}", 120)


def make_disk(c, path, form, size="32M", more=""):
    must(c, f"disk create {path} size={size} format={form} {more}", 120)


def leave(c):
    bochs_demo.leave(c)


def enter(c, vm):
    """Back to a guest's shell that was left at its prompt."""
    bochs_demo.back_in_shell(c, vm)
