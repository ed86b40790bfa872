#!/bin/sh
# usage: tools/fetch-uefi.sh
# Make build/uefi/disk.img, the disk of a guest that starts with UEFI firmware: GPT and a FAT32 EFI system
# partition whose \EFI\BOOT\BOOTX64.EFI is the demo guest's kernel and initrd with systemd's stub before them.
# The stub's package is fetched and unpacked under .cache/uefi, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/uefi
kept=$cache/uefi
package=systemd-boot-efi

fetch() {
    private_apt bookworm deb
    say "fetching $package"
    rm -rf "$kept"
    mkdir -p "$kept/new"
    (cd "$kept" && { apt-get -q download "$package" >&2 ||
        { private_apt_update && apt-get -q download "$package" >&2; }; }) ||
        die "$package cannot be fetched. Try: check the network, then run the command again."
    dpkg-deb -x "$kept"/*.deb "$kept/new"
    cp "$kept/new/usr/lib/systemd/boot/efi/linuxx64.efi.stub" "$kept/stub"
    rm -rf "$kept/new" "$kept"/*.deb
}

[ -s "$kept/stub" ] || fetch
mkdir -p "$out"
# Not `quiet`, which the kernel's EFI stub would heed, too.
printf 'console=ttyS0 loglevel=3 no_timer_check cryptomgr.notests' > "$out/cmdline"
# Sections and their places: systemd-stub(7) and the example of version 252's ukify.
objcopy --add-section .osrel=/etc/os-release --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$out/cmdline" --change-section-vma .cmdline=0x30000 \
    --add-section .linux=build/guests/demo/vmlinuz --change-section-vma .linux=0x2000000 \
    --add-section .initrd=build/guests/demo/initrd.img --change-section-vma .initrd=0x3000000 \
    "$kept/stub" "$out/linux.efi"
rm -f "$out/esp"
export MTOOLS_SKIP_CHECK=1 TZ=UTC
mkfs.vfat --invariant -C -F 32 -n GUEST "$out/esp" $((60 * 1024)) >/dev/null
mmd -i "$out/esp" ::/EFI ::/EFI/BOOT
mcopy -i "$out/esp" "$out/linux.efi" ::/EFI/BOOT/BOOTX64.EFI
rm -f "$out/disk.new"
truncate -s 64M "$out/disk.new"
sgdisk --clear --new=1:2048:$((2048 * 61 - 1)) --typecode=1:ef00 "$out/disk.new" >/dev/null
dd if="$out/esp" of="$out/disk.new" bs=1M seek=1 conv=notrunc,sparse status=none
rm -f "$out/esp" "$out/linux.efi" "$out/cmdline"
mv "$out/disk.new" "$out/disk.img"
say "a guest's UEFI disk: the demo guest behind systemd's stub"
