#!/bin/bash
# Makes the disks of a Debian Linux that runs an image of ours in QEMU with KVM; Bochs boots it.
# Usage: mknested.sh FOLDER     FOLDER/disk.img is the image; boot.img and root.img are made
# boot.img: kernel and initramfs, started by the firmware's own shell.  root.img: QEMU of this
# machine with its libraries and firmware, and the image.
set -euo pipefail

folder=$1
kept=${BULKHEAD_CACHE:-$PWD/.cache}/guests
tmp=$(mktemp -d "$folder/mknested.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
qemu=$(command -v qemu-system-x86_64)

/usr/bin/python3 tools/mkinitrd.py "$tmp/initrd" tools/nested-init /bin/busybox \
    "$kept"/kvm/*.ko
cat >"$tmp/startup.nsh" <<'END'
FS0:
vmlinuz.efi initrd=\initrd console=ttyS0 loglevel=1 tsc=reliable no_timer_check mitigations=off
END
mkfs.vfat -C -F 32 "$tmp/esp" 65536 >/dev/null
mcopy -i "$tmp/esp" "$kept/vmlinuz" ::/vmlinuz.efi
mcopy -i "$tmp/esp" "$tmp/initrd" "$tmp/startup.nsh" ::
truncate -s 66M "$folder/boot.img"
sgdisk --clear --new=1:2048:133119 --typecode=1:ef00 "$folder/boot.img" >/dev/null
dd if="$tmp/esp" of="$folder/boot.img" bs=1M seek=1 conv=notrunc,sparse status=none

root=$tmp/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,new}
cp /bin/busybox "$root/bin/"
install -m 755 tools/nested-init "$root/init"
cp --sparse=always "$folder/disk.img" "$root/disk.img"
copy() { # with its folder; what a link leads to, under the link's name
    mkdir -p "$root${1%/*}"
    cp -L "$1" "$root$1"
}
copy "$qemu"
ldd "$qemu" | grep -o '/[^ ]*' | while read -r library; do
    copy "$library"
done
for firmware in /usr/share/OVMF/OVMF_{CODE,VARS}.fd /usr/share/seabios/{kvmvapic,vgabios-stdvga}.bin \
    /usr/share/qemu/{kvmvapic,vgabios-stdvga}.bin; do
    [ ! -f "$firmware" ] || copy "$firmware"
done
truncate -s 1G "$folder/root.img"
mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$folder/root.img"
