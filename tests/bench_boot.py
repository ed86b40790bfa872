"""`make bench`: Debian's kernel from its entry to /init, in a guest and on the bare machine, both on
Bochs with one CPU, so in instructions.

The same vmlinuz, initramfs, command line, memory and entry point (64-bit boot protocol).  On the bare
machine tests/bare/linux.c notes the TSC before it enters the kernel; in the guest the host knows it.
/init is tests/linux/bootmark.c in both.  What Linux idles is counted and not part of a figure.
"""
import gzip
import os
import pathlib
import re
import sys

from tests.emu import guests
from tests.emu.emulator import BUILD, TOP, Bochs
from tests.emu.suite import IMAGE, LOGS, Console, Report, Verdicts, put_files

sys.path.insert(0, os.path.join(TOP, "tools"))
# pylint: disable=wrong-import-position
from mkinitrd import Cpio, read  # noqa: E402

MIB = 256
DEMO = os.path.join(BUILD, "guests", "demo")
TICKS_PER_US = 100  # Bochs' `ips`
# Whatever a console costs is left out: a real UART is slow, ours is not.
LINE = "console=ttyS0 quiet nokaslr no_timer_check cryptomgr.notests"
MARK = re.compile(r"BENCH boot (\d+) (\d+) (\d+)")


def initrd():
    """The demo guest's, and behind it a second archive with another /init."""
    cpio = Cpio()
    cpio.add("init", 0o100755, read(os.path.join(BUILD, "linux", "bootmark")))
    return read(os.path.join(DEMO, "initrd.img")) + gzip.compress(cpio.finish(), mtime=0)


def boot(name, memory, files, body):
    machine = Bochs(name, IMAGE, cpus=1, memory_mib=memory)
    machine.copy_image(os.path.join(LOGS, name))
    put_files(machine.disk, files)
    try:
        machine.start()
        return body(Console(machine, Verdicts(Report()), 900))
    finally:
        machine.stop()


def wait_mark(c):
    found = c.expect(MARK.pattern + r"\s|bare: .*", 120)
    assert found.group(1), found.group()
    now, entry, idle = map(int, found.groups())
    return now, entry, idle * 10000 * TICKS_PER_US


def bare(line):
    """Ticks from the kernel's entry to /init, without those idled; and the idled ones."""
    def body(c):
        now, entry, idle = wait_mark(c)
        return now - entry - idle, idle
    return boot("bench-bare", MIB, {
        "bulkhead/guests/demo/vmlinuz": None, "bulkhead/guests/demo/initrd.img": None,
        "EFI/BOOT/BOOTX64.EFI": pathlib.Path(BUILD, "bench", "linux.efi"),
        "bulkhead/vmlinuz": pathlib.Path(DEMO, "vmlinuz"), "bulkhead/initrd.img": initrd(),
        "bulkhead/cmdline.txt": line}, body)


def guest(line):
    """The same for a guest; and its exits by class."""
    def body(c):
        c.prompt(c.machine.boot_seconds)
        c.send("vm start linux; vm console linux\r")
        now, _, idle = wait_mark(c)
        c.send("\x1d.")
        c.prompt()
        exits = guests.exits(c, "linux")
        stats = c.command("vm stats linux")
        first = int(re.search(r"first guest after +(\d+)", c.command("host info")).group(1))
        s, us = re.search(r"\[ *(\d+)\.(\d+)\] .*VM linux: created", c.command("host log")).groups()
        base = (int(s) * 1000000 + int(us)) * TICKS_PER_US  # where the guest's TSC is 0
        return now - (first - base) - idle, idle, exits, stats
    return boot("bench-linux", 1024, {
        "bulkhead/guests/bench.img": initrd(),
        "bulkhead/bulkhead.conf": f"[vm linux]\nmem: {MIB}M\nkernel: guests/demo/vmlinuz\n"
                                  f"initrd: guests/bench.img\ncmdline: {line}\n"}, body)


def rows(verbose=False):
    """[(name, value, unit, target or None)]"""
    alone, alone_idle = bare(LINE)
    inside, inside_idle, exits, stats = guest(LINE)
    if verbose:
        print(alone, alone_idle, inside, inside_idle, exits, stats, sep="\n")
    return [
        ("boot.linux.bare.ticks", alone, "ticks", None),
        ("boot.linux.ticks", inside, "ticks", None),
        ("boot.linux.ratio", round(inside / alone, 3), "guest/bare", 1.1),
        ("boot.linux.exits", sum(exits.values()), "exits", None),
    ]


if __name__ == "__main__":
    for row in rows(verbose=True):
        print(*row, sep="\t")
