#!/bin/sh
# usage: tools/fetch-deb.sh NAME DEST PATH...
# Unpack the binary package NAME of tools/binaries.lock and keep in DEST (replaced) only what the
# patterns PATH, relative to the package's root, name.  A DEST that is complete is left alone.
# Where the archive has replaced the pinned version, the suite's newest serves, which apt has checked
# against Debian's signature; that is told.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
[ $# -ge 3 ] || die "usage: tools/fetch-deb.sh NAME DEST PATH..."
name=$1 dest=$2
shift 2
[ -f "$dest/complete" ] && exit 0
row=$(awk -v n="$name" '$1 == n' tools/binaries.lock)
[ -n "$row" ] || die "tools/binaries.lock has no row '$name'"
suite=$(echo "$row" | awk '{ print $2 }')
version=$(echo "$row" | awk '{ print $3 }')
sha256=$(echo "$row" | awk '{ print $4 }')

get() { (cd "$dest.new" && rm -f ./*.deb && apt-get -q -o Acquire::Retries=3 download "$1" >&2); }
pinned() { echo "$sha256  $(echo "$dest.new"/*.deb)" | sha256sum -c --status; }

fetch() {
    get "$name=$version" && pinned && return 0
    private_apt_update
    get "$name=$version" && pinned && return 0
    say "$name $version is not to be had; taking the newest of $suite"
    get "$name/$suite"
}

rm -rf "$dest" "$dest.new"
mkdir -p "$dest.new/all"
private_apt "$suite" deb
say "fetching $name of $suite into $dest"
fetch || die "$name of $suite cannot be fetched.
    Try: check the network and /etc/apt, then run the command again."
dpkg-deb -f "$dest.new"/*.deb Version > "$dest.new/version"
dpkg-deb -x "$dest.new"/*.deb "$dest.new/all"
for pattern; do
    # shellcheck disable=SC2086
    (cd "$dest.new/all" && cp -a --parents $pattern ..)
done
rm -rf "$dest.new/all" "$dest.new"/*.deb
: > "$dest.new/complete"
mv "$dest.new" "$dest"
