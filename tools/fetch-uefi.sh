#!/bin/sh
# usage: tools/fetch-uefi.sh
# Make the disks of guests that start with UEFI firmware, each a GPT and a FAT32 EFI system partition:
#   build/uefi/disk.img  whose \EFI\BOOT\BOOTX64.EFI is the demo guest's kernel and initrd behind systemd's stub
#   build/uefi/ipxe.img  whose \EFI\BOOT\BOOTX64.EFI is Debian's iPXE, unchanged, and \linux.efi that kernel
# and build/uefi/tftp/boot.ipxe, the script that iPXE gets from a server.
# The packages are fetched and unpacked under .cache/uefi, not installed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
out=build/uefi
kept=$cache/uefi
packages="systemd-boot-efi ipxe"
words='console=ttyS0 loglevel=3 no_timer_check cryptomgr.notests' # `quiet` the EFI stub would heed, too

fetch() {
    private_apt bookworm deb
    say "fetching $packages"
    rm -rf "$kept"
    mkdir -p "$kept/new"
    # shellcheck disable=SC2086
    (cd "$kept" && { apt-get -q download $packages >&2 ||
        { private_apt_update && apt-get -q download $packages >&2; }; }) ||
        die "$packages cannot be fetched. Try: check the network, then run the command again."
    for package in "$kept"/*.deb; do
        dpkg-deb -x "$package" "$kept/new"
    done
    cp "$kept/new/usr/lib/systemd/boot/efi/linuxx64.efi.stub" "$kept/stub"
    cp "$kept/new/boot/ipxe.efi" "$kept/ipxe.efi"
    rm -rf "$kept/new" "$kept"/*.deb
}

# disk IMAGE FILE PLACE...: files of the system partition and where they go
disk() {
    image=$1
    shift
    rm -f "$out/esp"
    mkfs.vfat --invariant -C -F 32 -n GUEST "$out/esp" $((60 * 1024)) >/dev/null
    mmd -i "$out/esp" ::/EFI ::/EFI/BOOT
    while [ $# -gt 0 ]; do
        mcopy -i "$out/esp" "$1" "::$2"
        shift 2
    done
    rm -f "$image.new"
    truncate -s 64M "$image.new"
    sgdisk --clear --new=1:2048:$((2048 * 61 - 1)) --typecode=1:ef00 "$image.new" >/dev/null
    dd if="$out/esp" of="$image.new" bs=1M seek=1 conv=notrunc,sparse status=none
    rm -f "$out/esp"
    mv "$image.new" "$image"
}

[ -s "$kept/stub" ] && [ -s "$kept/ipxe.efi" ] || fetch
mkdir -p "$out/tftp"
printf '%s' "$words" > "$out/cmdline"
# Sections and their places: systemd-stub(7) and the example of version 252's ukify.
objcopy --add-section .osrel=/etc/os-release --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$out/cmdline" --change-section-vma .cmdline=0x30000 \
    --add-section .linux=build/guests/demo/vmlinuz --change-section-vma .linux=0x2000000 \
    --add-section .initrd=build/guests/demo/initrd.img --change-section-vma .initrd=0x3000000 \
    "$kept/stub" "$out/linux.efi"
export MTOOLS_SKIP_CHECK=1 TZ=UTC
first=/EFI/BOOT/BOOTX64.EFI
disk "$out/disk.img" "$out/linux.efi" $first
disk "$out/ipxe.img" "$kept/ipxe.efi" $first "$out/linux.efi" /linux.efi
rm -f "$out/linux.efi" "$out/cmdline"
cat > "$out/tftp/boot.ipxe" <<X
#!ipxe
echo fetched by \${net0/ip} with \${net0/chip}
chain file:/linux.efi $words
X
say "UEFI disks of guests: the demo guest behind systemd's stub, and behind iPXE"
