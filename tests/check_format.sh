#!/bin/bash
# clang-format has nothing to change.
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
tool=$(command -v clang-format-14 || command -v clang-format)
sources '*.c' '*.h' | xargs -P2 -n16 "$tool" --dry-run -Werror || {
    echo "Try: make format"
    exit 1
}
echo "$(sources '*.c' '*.h' | wc -l) files"
