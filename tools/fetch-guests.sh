#!/bin/sh
# usage: tools/fetch-guests.sh
# Make build/guests/demo/{vmlinuz,initrd.img}: the kernel of Debian's linux-image-cloud-amd64,
# unchanged, and an initramfs of Debian's busybox-static with tools/demo-init as /init and the
# modules of the power button and of virtio devices.
# The kernel's package is fetched and unpacked under .cache/guests, not installed.  So is qemu-guest-agent,
# for a test: build/guests-agent has it with this machine's libraries.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/guests/demo
kept=$cache/guests
modules="drivers/acpi/button drivers/input/evdev drivers/virtio/virtio drivers/virtio/virtio_ring
    drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci_modern_dev
    drivers/virtio/virtio_pci drivers/char/virtio_console drivers/char/hw_random/virtio-rng
    drivers/block/virtio_blk drivers/virtio/virtio_balloon drivers/net/net_failover
    drivers/net/virtio_net net/core/failover net/llc/llc net/802/stp net/802/garp net/802/mrp
    net/8021q/8021q"
# For the machine at the other end of a bond, which the tests start; not in the demo guest.
bond_modules="net/tls/tls drivers/net/bonding/bonding"

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
    mkdir -p "$kept/modules" "$kept/bond"
    for module in $modules; do
        cp "$kept"/new/lib/modules/*/kernel/"$module.ko" "$kept/modules"
    done
    for module in $bond_modules; do
        cp "$kept"/new/lib/modules/*/kernel/"$module.ko" "$kept/bond"
    done
    cp "$kept"/new/boot/vmlinuz-* "$kept/vmlinuz"
    rm -rf "$kept/new" "$kept"/*.deb
}

fetch_agent() {
    private_apt bookworm deb
    apt-get -q update >/dev/null 2>&1 || say "the package index is not fresh (no network?)"
    rm -rf "$kept/agent"
    mkdir -p "$kept/agent"
    (cd "$kept/agent" && apt-get -q download qemu-guest-agent >&2) || return 0
    dpkg-deb -x "$kept"/agent/*.deb "$kept/agent"
    cp "$kept/agent/usr/sbin/qemu-ga" "$kept/qemu-ga"
    rm -rf "$kept/agent"
}

# Without it or a library of it the test has a stand-in alone, and says so.
make_agent() {
    rm -rf build/guests-agent
    [ -f "$kept/qemu-ga" ] || fetch_agent
    [ -f "$kept/qemu-ga" ] && ! ldd "$kept/qemu-ga" | grep -q 'not found' ||
        { say "qemu-guest-agent cannot be had"; return 0; }
    mkdir -p build/guests-agent
    cp "$kept/qemu-ga" $(ldd "$kept/qemu-ga" | sed -n 's,^[^/]*\(/[^ ]*\) .*,\1,p') build/guests-agent
    say "guest agent: $(du -sk build/guests-agent | cut -f1) KiB with libraries"
}

[ -f "$kept/vmlinuz" ] && [ -f "$kept/bond/bonding.ko" ] || fetch_kernel
mkdir -p "$out"
cp "$kept/vmlinuz" "$out/vmlinuz"
/usr/bin/python3 tools/mkinitrd.py "$out/initrd.img" tools/demo-init /bin/busybox \
    "$kept"/modules/*.ko
mkdir -p build/guests-bond
/usr/bin/python3 tools/mkinitrd.py build/guests-bond/initrd.img tools/demo-init /bin/busybox \
    "$kept"/modules/*.ko "$kept"/bond/*.ko
say "demo guest: $(cat "$kept/version")and busybox $(dpkg-query -W -f '${Version}' busybox-static)"
make_agent
