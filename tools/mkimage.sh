#!/bin/bash
# Makes the disk image: GPT, one FAT32 EFI system partition, our files.  No root, no loop mounts.
# Usage: mkimage.sh OUT.img GUEST_FOLDER FILE...
# BOOTX64.EFI goes to \EFI\BOOT, every other FILE to \bulkhead, the folder's files and subfolders
# to \bulkhead\guests.
set -euo pipefail

out=$1 guests=$2
shift 2
tmp=$(mktemp -d "${out%/*}/mkimage.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1577836800} # dates of new folders: 2020-01-01
export MTOOLS_SKIP_CHECK=1 TZ=UTC

# FAT32 needs some 33 MiB at least; add a quarter of slack, so that a config can be edited.
bytes=$(du -cb "$@" $([ -d "$guests" ] && echo "$guests") | tail -n1 | cut -f1)
mib=$((bytes / 1048576 * 5 / 4 + 8))
((mib >= 64)) || mib=64

mkfs.vfat --invariant -C -F 32 -n BULKHEAD -i 42554c4b "$tmp/esp" $((mib * 1024)) >/dev/null
mmd -i "$tmp/esp" ::/EFI ::/EFI/BOOT ::/bulkhead ::/bulkhead/guests
for file in "$@"; do
    case $file in
    *BOOTX64.EFI) mcopy -i "$tmp/esp" "$file" ::/EFI/BOOT/BOOTX64.EFI ;;
    *) mcopy -i "$tmp/esp" "$file" "::/bulkhead/${file##*/}" ;;
    esac
done
if [ -d "$guests" ]; then
    for entry in "$guests"/*; do
        [ -e "$entry" ] && mcopy -s -i "$tmp/esp" "$entry" ::/bulkhead/guests/
    done
fi

# Where the host keeps its configuration: written in place, so they have their size from the start.
head -c 262144 /dev/zero >"$tmp/config"
mcopy -i "$tmp/esp" "$tmp/config" ::/bulkhead/config.a
mcopy -i "$tmp/esp" "$tmp/config" ::/bulkhead/config.b

truncate -s $(((mib + 2) * 1048576)) "$tmp/disk"
sgdisk --clear --disk-guid=42554c4b-4845-4144-8000-000000000001 \
    --new=1:2048:$((2048 * (mib + 1) - 1)) --typecode=1:ef00 --change-name=1:BULKHEAD \
    --partition-guid=1:42554c4b-4845-4144-8000-000000000002 "$tmp/disk" >/dev/null
dd if="$tmp/esp" of="$tmp/disk" bs=1M seek=1 conv=notrunc,sparse status=none
mv "$tmp/disk" "$out"
echo "$out: $((mib + 2)) MiB"
