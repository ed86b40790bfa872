#!/bin/sh
# usage: tools/fetch-bochs.sh [--debugger]
# Make sure that the emulator with VT-x is there, for tools/bochs-run to start:
#   $BOCHS where set; else Debian 13's Bochs 3.0 in .cache/bochs, fetched once as binary packages
#   with their libraries and run from there; else (no network) Debian 12's installed Bochs 2.7.
# --debugger: fetch Debian 13's even where $BOCHS is set, because its debugger is compiled in.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
dest=$cache/bochs

if [ -n "${BOCHS:-}" ] && [ "${1:-}" != --debugger ]; then
    [ -x "$BOCHS" ] || die "BOCHS=$BOCHS is not a program. Try: unset BOCHS."
    exit 0
fi
[ -f "$dest/complete" ] && exit 0

fetch() {
    say "fetching Bochs 3.0 (Debian 13's packages, about 55 MB, once) into $dest"
    (private_apt trixie deb &&
        apt-get -q -y --download-only install bochs bochs-term seabios >/dev/null) || return 1
    rm -rf "$dest" "$dest.new"
    mkdir -p "$dest.new"
    for deb in "$cache"/apt/trixie-deb/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$dest.new" || return 1
    done
    # Only the program, its libraries and its data: no set-uid program of another release stays here.
    mkdir -p "$dest/usr/bin" "$dest/usr/lib" "$dest/usr/share"
    mv "$dest.new/usr/bin/bochs-bin" "$dest/usr/bin/"
    mv "$dest.new/usr/lib/x86_64-linux-gnu" "$dest/usr/lib/"
    mv "$dest.new/usr/lib64" "$dest/usr/"
    mv "$dest.new/usr/share/bochs" "$dest/usr/share/"
    rm -rf "$dest.new"
    : > "$dest/complete"
    rm -f "$cache"/apt/trixie-deb/cache/archives/*.deb
}

if ! fetch; then
    say "Debian 13's Bochs is not to be had; using Debian 12's Bochs 2.7, four times slower"
    command -v bochs-bin >/dev/null || die "no Bochs at all. Try: tools/setup.sh"
fi
