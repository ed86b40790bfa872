#!/bin/bash
# Every header compiles alone, with the flags of its folder.
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
bad=0 files=0
for header in $(sources '*.h'); do
    files=$((files + 1))
    # shellcheck disable=SC2046
    if ! echo "#include \"$header\"" | gcc $(flags_of "$header") -fsyntax-only -x c -; then
        echo "$header: does not compile alone"
        bad=1
    fi
done
[ $bad = 0 ] && echo "$files headers"
exit $bad
