#!/bin/sh
# usage: tools/fetch-guests.sh
# Make build/guests/demo/{vmlinuz,initrd.img}: the kernel of Debian's linux-image-cloud-amd64,
# unchanged, and an initramfs of Debian's busybox-static with tools/demo-init as /init and the
# modules of the power button and of virtio devices.
# The kernel's package is fetched and unpacked under .cache/guests, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/guests/demo
kept=$cache/guests
modules="acpi/button input/evdev virtio/virtio virtio/virtio_ring virtio/virtio_pci_legacy_dev
    virtio/virtio_pci_modern_dev virtio/virtio_pci char/virtio_console char/hw_random/virtio-rng
    block/virtio_blk virtio/virtio_balloon net/net_failover net/virtio_net"

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
    mkdir -p "$kept/modules"
    for module in $modules; do
        cp "$kept"/new/lib/modules/*/kernel/drivers/"$module.ko" "$kept/modules"
    done
    cp "$kept"/new/lib/modules/*/kernel/net/core/failover.ko "$kept/modules"
    cp "$kept"/new/boot/vmlinuz-* "$kept/vmlinuz"
    rm -rf "$kept/new" "$kept"/*.deb
}

[ -f "$kept/vmlinuz" ] && [ -f "$kept/modules/virtio_net.ko" ] || fetch_kernel
mkdir -p "$out"
cp "$kept/vmlinuz" "$out/vmlinuz"
/usr/bin/python3 tools/mkinitrd.py "$out/initrd.img" tools/demo-init /bin/busybox \
    "$kept"/modules/*.ko
say "demo guest: $(cat "$kept/version")and busybox $(dpkg-query -W -f '${Version}' busybox-static)"
