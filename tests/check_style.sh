#!/bin/bash
# Rules that grep can hold: no conditional compilation in .c files, a head comment in each file,
# a header beside each .c (X_Y.c may share X.h, the inner header of a backend), nothing left for later, every device in README.md, no file far beyond the size we aim at.
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
bad=0
complain() {
    echo "$1"
    bad=1
}
for file in $(sources '*.c'); do
    found=$(grep -nE '^[[:space:]]*#[[:space:]]*(if|ifdef|ifndef|elif|else)\b' "$file") &&
        complain "$file: conditional compilation: $found"
    case $file in
    tests/* | tools/* | */asm_offsets.c) ;; # nobody includes these
    *) [ -e "${file%.c}.h" ] || [ -e "${file%_*}.h" ] || complain "$file: has no header of the same name" ;;
    esac
done
for file in $(sources '*.c' '*.h' '*.S'); do
    head -c 2 "$file" | grep -q '^/[*/]' || complain "$file: has no head comment"
    found=$(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' "$file") && complain "$file: left for later: $found"
    lines=$(wc -l <"$file")
    [ "$lines" -le 800 ] || complain "$file: $lines lines; we aim under 500, refuse above 800"
done
# README.md's table of devices has every row of every driver's table.
rows=0
while read -r vendor device class mask; do
    rows=$((rows + 1))
    if [ "$mask" = 0 ]; then
        what="${vendor#0x}:([0-9a-f]{4}, )*${device#0x}[ ,]"
    elif [ "$mask" = 0xffff00 ]; then
        what="class ${class:2:4}xx "
    else
        what="class ${class#0x} "
    fi
    grep -qE "^\\|.*\\| $what" README.md || complain "README.md: has no device $what"
done < <(sed -nE 's/^ +\{(\w+), (\w+), (\w+), (\w+), ".*/\1 \2 \3 \4/p' drivers/*.c | sed 's/VIRTIO_VENDOR/0x1af4/')
[ $rows -ge 18 ] || complain "only $rows rows of devices were found in drivers/"
[ $bad = 0 ] && echo "$(sources '*.c' '*.h' '*.S' | wc -l) files"
exit $bad
