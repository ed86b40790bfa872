#!/bin/sh
# usage: tools/fetch-src.sh NAME DEST
# Unpack the source NAME of tools/sources.lock into DEST (replaced).  The tarball is kept under
# .cache/, so a second build needs no network; its SHA-256 is checked every time.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
[ $# = 2 ] || die "usage: tools/fetch-src.sh NAME DEST"
dest=$2

row=$(awk -v n="$1" '$1 == n' tools/sources.lock)
[ -n "$row" ] || die "tools/sources.lock has no row '$1'"
# shellcheck disable=SC2086
set -- $row
name=$1 suite=$2 version=$3 sha256=$4 file=$5

verify() { echo "$sha256  $cache/src/$file" | sha256sum -c --status 2>/dev/null; }

# Debian deletes a revision when a point release replaces it, but the upstream tarball stays the
# same file: so the suite's newest revision is as good, and the hash says whether that is true.
download() {
    apt-get -q source --download-only --tar-only --only-source "$name=$version" >&2 ||
        apt-get -q source --download-only --tar-only --only-source "$name" >&2
}

mkdir -p "$cache/src"
if ! verify; then
    private_apt "$suite" deb-src
    (cd "$cache/src" && rm -f "$file" && download) ||
        { private_apt_update && (cd "$cache/src" && download); } ||
        die "source $name $version of $suite cannot be fetched (the archive may answer 404).
    Try: put $file with SHA-256 $sha256 into $cache/src/ by hand."
    verify || die "$cache/src/$file does not have the SHA-256 of tools/sources.lock.
    Expected $sha256. Try: delete it and run again; if it stays, do not build from it."
fi
rm -rf "$dest.new" "$dest"
mkdir -p "$dest.new"
tar -xf "$cache/src/$file" -C "$dest.new" --strip-components=1
mv "$dest.new" "$dest"
