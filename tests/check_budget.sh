#!/bin/bash
# The kernel stays small: lines of code (blank lines and comments not counted) and at most 256 KiB
# of image (what is loaded: the file sizes of its segments).
#
# Counted is what runs in ring 0 as the kernel's own: kernel/*.c, *.h, *.S, and those files of
# kernel/lib that kernel.map finds in kernel.elf.  kernel/abi is the interface that kernel, loader
# and control partition share; it has no code of the kernel's and is not counted.
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
limit=9999
image=build/kernel.elf map=build/kernel.map
[ -e $image ] && [ -e $map ] || {
    echo "$image is not built. Try: make"
    exit 1
}
# "ADDRESS SIZE build/obj/kernel/kernel/lib/NAME.c.o", at an address of the kernel's half.
libs=$(sed -n 's@.*0xffffffff8[0-9a-f]* .*/\(kernel/lib/[a-z0-9_]*\)\.c\.o$@\1@p' $map | sort -u)
files=$(sources 'kernel/*.c' 'kernel/*.h' 'kernel/*.S' |
    grep -v '^kernel/\(abi/\|lib/\|asm_offsets.c\)')
for lib in $libs; do
    files+=" $lib.c $lib.h"
done
count() {
    for file in "$@"; do
        gcc -fpreprocessed -dD -E -P -x c "$file" 2>/dev/null
    done | grep -c '[^[:space:]]'
}
# shellcheck disable=SC2086
lines=$(count $files)
echo "kernel: $lines lines of code, at most $limit"
[ -n "$libs" ] && [ "$lines" -gt 0 ] && [ "$lines" -le $limit ] || exit 1
svm=$(count kernel/svm*.[chS] kernel/vmcb.h)
echo "AMD-V: $svm lines of these, at most 1500"
[ "$svm" -gt 0 ] && [ "$svm" -le 1500 ] || exit 1
bytes=0
for size in $(readelf -lW $image | awk '$1 == "LOAD" { print $5 }'); do
    bytes=$((bytes + size))
done
echo "kernel: $bytes bytes of image, at most 262144"
[ "$bytes" -gt 0 ] && [ "$bytes" -le 262144 ] || exit 1
echo "$lines lines of code, $bytes bytes"
