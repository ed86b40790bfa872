#!/usr/bin/python3
"""Writes an initramfs: cpio "newc" archive, gzip.  Needs no root, and the same input gives the
same bytes.  Called by tools/fetch-guests.sh.

usage: mkinitrd.py OUT INIT BUSYBOX [MODULE.ko...]
"""
import gzip
import os
import stat
import subprocess
import sys

FOLDERS = ["bin", "dev", "proc", "sys", "tmp", "etc", "root", "lib", "lib/modules", "etc/acpi",
           "etc/acpi/PWRF"]
# What busybox acpid runs when the power button is pressed.
POWER_BUTTON = ("etc/acpi/PWRF/00000080", b"#!/bin/sh\nexec poweroff -f\n")
CONSOLE = (5, 1)  # device numbers of /dev/console, which the kernel opens before /init runs


class Cpio:
    """Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux."""

    def __init__(self):
        self.out = bytearray()
        self.inode = 1

    def add(self, name, mode, data=b"", device=(0, 0)):
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        self.inode += 1
        self.out += b"070701" + b"".join(b"%08x" % f for f in fields)
        self.out += name.encode() + b"\0"
        self.pad()
        self.out += data
        self.pad()

    def pad(self):
        self.out += bytes(-len(self.out) % 4)

    def finish(self):
        self.inode = 0
        self.add("TRAILER!!!", 0)
        return bytes(self.out)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    out, init, busybox, *modules = sys.argv[1:]
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    cpio = Cpio()
    for folder in FOLDERS:
        cpio.add(folder, stat.S_IFDIR | 0o755)
    cpio.add("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)
    cpio.add("init", stat.S_IFREG | 0o755, read(init))
    cpio.add(POWER_BUTTON[0], stat.S_IFREG | 0o755, POWER_BUTTON[1])
    for module in modules:
        cpio.add("lib/modules/" + os.path.basename(module), stat.S_IFREG | 0o644, read(module))
    cpio.add("bin/busybox", stat.S_IFREG | 0o755, read(busybox))
    for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
        cpio.add("bin/" + applet, stat.S_IFLNK | 0o777, b"busybox")
    with open(out + ".new", "wb") as f:
        f.write(gzip.compress(cpio.finish(), compresslevel=6, mtime=0))
    os.rename(out + ".new", out)


if __name__ == "__main__":
    main()
