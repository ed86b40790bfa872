#!/bin/bash
# The kernel stays small: under 10,000 lines of code (blank lines and comments not counted) and at
# most 256 KiB of image (what is loaded: the file sizes of its segments).
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
lines=$(for file in $(sources 'kernel/*.c' 'kernel/*.h' 'kernel/*.S'); do
    gcc -fpreprocessed -dD -E -P -x c "$file" 2>/dev/null
done | grep -c '[^[:space:]]')
echo "kernel: $lines lines of code, at most 9999"
[ "$lines" -lt 10000 ] || exit 1
image=build/kernel.elf
[ -e $image ] || {
    echo "$image is not built. Try: make"
    exit 1
}
bytes=0
for size in $(readelf -lW $image | awk '$1 == "LOAD" { print $5 }'); do
    bytes=$((bytes + size))
done
echo "kernel: $bytes bytes of image, at most 262144"
[ "$bytes" -gt 0 ] && [ "$bytes" -le 262144 ] || exit 1
echo "$lines lines of code, $bytes bytes"
