#!/bin/sh
# usage: tools/fetch-images.sh
# Make build/third-party/{xen,vmlinux,demo/initrd.img}: kernels of others that the tests boot as
# guests, unchanged, and the initramfs of the second.
#   xen      Debian's Xen hypervisor, a multiboot and multiboot 2 kernel
#   vmlinux  the ELF file inside the demo guest's bzImage, which has a PVH entry
# The package is fetched and unpacked under .cache/images, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/third-party
kept=$cache/images
package=xen-hypervisor-4.17-amd64

fetch_xen() {
    private_apt bookworm deb
    say "fetching $package"
    rm -rf "$kept"
    mkdir -p "$kept/new"
    (cd "$kept" && { apt-get -q download "$package" >&2 ||
        { private_apt_update && apt-get -q download "$package" >&2; }; }) ||
        die "$package cannot be fetched. Try: check the network, then run the command again."
    dpkg-deb -f "$kept"/*.deb Version > "$kept/version"
    dpkg-deb -x "$kept"/*.deb "$kept/new"
    gzip -dc "$kept"/new/boot/xen-*-amd64.gz > "$kept/xen"
    rm -rf "$kept/new" "$kept"/*.deb
}

# The payload's place is in the setup header (Linux's boot.rst: payload_offset, payload_length, from
# the end of the setup sectors); Debian's cloud kernel has it in LZ4's legacy format, with four bytes
# of length behind it.
extract_vmlinux() {
    field() { od -An -v -tu"$2" -j "$1" -N "$2" "$kernel" | tr -d ' '; }
    kernel=build/guests/demo/vmlinuz
    start=$((($(field 497 1) + 1) * 512 + $(field 584 4)))
    tail -c +$((start + 1)) "$kernel" | head -c $(($(field 588 4) - 4)) | lz4 -dcq > "$1"
}

[ -s "$kept/xen" ] || fetch_xen
mkdir -p "$out/demo"
cp "$kept/xen" "$out/xen"
cp build/guests/demo/vmlinuz build/guests/demo/initrd.img "$out/demo"
extract_vmlinux "$out/vmlinux.new"
mv "$out/vmlinux.new" "$out/vmlinux"
say "test images: Xen $(cat "$kept/version") and the demo guest's vmlinux"
