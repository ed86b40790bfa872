#!/bin/sh
# usage: tools/fetch-guests.sh
# Make build/guests/demo/{vmlinuz,initrd.img}: the kernel of Debian's linux-image-cloud-amd64,
# unchanged, and an initramfs of Debian's busybox-static with tools/demo-init as /init and the two
# modules by which the kernel tells of the power button.
# The kernel's package is fetched and unpacked under .cache/guests, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/guests/demo
kept=$cache/guests

fetch_kernel() {
    private_apt bookworm deb
    apt-get -q update >/dev/null 2>&1 || say "the package index is not fresh (no network?)"
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
    [ -n "$package" ] || die "Debian's index names no linux-image-cloud-amd64"
    say "fetching $package"
    rm -rf "$kept"
    mkdir -p "$kept/new"
    (cd "$kept" && apt-get -q download "$package" >&2) ||
        die "$package cannot be fetched. Try: check the network, then run the command again."
    dpkg-deb -f "$kept"/*.deb Package Version | sed 's/^[^ ]* //' | tr '\n' ' ' > "$kept/version"
    dpkg-deb -x "$kept"/*.deb "$kept/new"
    cp "$kept"/new/lib/modules/*/kernel/drivers/acpi/button.ko \
        "$kept"/new/lib/modules/*/kernel/drivers/input/evdev.ko "$kept"
    cp "$kept"/new/boot/vmlinuz-* "$kept/vmlinuz"
    rm -rf "$kept/new" "$kept"/*.deb
}

[ -f "$kept/vmlinuz" ] && [ -f "$kept/button.ko" ] || fetch_kernel
mkdir -p "$out"
cp "$kept/vmlinuz" "$out/vmlinuz"
/usr/bin/python3 tools/mkinitrd.py "$out/initrd.img" tools/demo-init /bin/busybox \
    "$kept/button.ko" "$kept/evdev.ko"
say "demo guest: $(cat "$kept/version")and busybox $(dpkg-query -W -f '${Version}' busybox-static)"
