#!/bin/bash
# Rules that grep can hold: no conditional compilation in .c files, a head comment in each file,
# a header beside each .c (X_Y.c may share X.h, the inner header of a backend), nothing left for later, no file far beyond the size we aim at.
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
[ $bad = 0 ] && echo "$(sources '*.c' '*.h' '*.S' | wc -l) files"
exit $bad
