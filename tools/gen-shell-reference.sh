#!/bin/sh
# usage: tools/gen-shell-reference.sh [--check]
# Put the shell reference of README.md between its markers: `help reference` of the shell itself,
# which runs here as a Linux program (build/host/bulkhead).  With --check only say whether it is
# up to date.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

table=$(printf 'help reference\r' | build/host/bulkhead | tr -d '\r' | grep '^|') ||
    die "build/host/bulkhead gave no reference. Try: make build/host/bulkhead"
new=$(mktemp)
trap 'rm -f "$new"' EXIT
REFERENCE=$table awk '
    /<!-- shell reference: begin -->/ { print; print ENVIRON["REFERENCE"]; skip = 1 }
    /<!-- shell reference: end -->/ { skip = 0 }
    !skip { print }' README.md > "$new"
if [ "${1-}" = --check ]; then
    cmp -s "$new" README.md || die "README.md is behind the shell's commands. Try: make docs"
    exit 0
fi
cmp -s "$new" README.md || cp "$new" README.md
