#!/bin/bash
# cppcheck's warnings and portability notes; what is suppressed, and why, is in tests/cppcheck.txt.
cd "$(dirname "$0")/.." || exit 1
. tests/flags.sh
mkdir -p build/cppcheck
sources '*.c' | grep -v "^tests/" >build/cppcheck/files
sed 's/[[:space:]]*#.*//; /^$/d' tests/cppcheck.txt >build/cppcheck/suppressions
[ -s build/cppcheck/files ] || { echo "0 files"; exit 0; }
cppcheck --quiet -j2 --std=c11 --platform=unix64 --enable=warning,portability --inline-suppr \
    --cppcheck-build-dir=build/cppcheck --suppressions-list=build/cppcheck/suppressions \
    --error-exitcode=1 -I. --file-list=build/cppcheck/files || exit 1
echo "$(wc -l <build/cppcheck/files) files"
