#!/bin/sh
# usage: tools/fetch-qemu.sh
# Make .cache/qemu/usr/bin/qemu-system-x86_64: the QEMU of Debian 12's backports (10 MB), for devices
# that Debian 12's own lacks.  It needs the same libraries and firmware files as that one, which
# tools/packages.list names; it is run from there, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tools/fetch-deb.sh qemu-system-x86 "$cache/qemu" usr/bin/qemu-system-x86_64
"$cache/qemu/usr/bin/qemu-system-x86_64" --version >/dev/null || {
    rm -rf "$cache/qemu"
    die "QEMU of Debian's backports does not run here. Try: this is for Debian 12."
}
