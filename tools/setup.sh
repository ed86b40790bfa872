#!/bin/sh
# usage: tools/setup.sh
# Install what is missing of tools/packages.list.  Every make target that needs the packages runs
# this first; when all are there it ends within a few hundredths of a second and needs no root.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

# The packages of the list that are not installed; $1 the list.
missing_of() {
    wanted=$(sed -e '/^#/d' -e 's/[ \t].*//' "$1")
    # shellcheck disable=SC2086
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
        sed -n 's/ installed$//p') || true
    for p in $wanted; do
        case "
$have
" in *"
$p
"*) ;; *) printf '%s ' "$p" ;; esac
    done
}

command -v dpkg-query >/dev/null 2>&1 ||
    die "this is not a Debian system. Try: Debian 12, or install by hand: tools/packages.list"
missing=$(missing_of tools/packages.list)
[ -n "$missing" ] || exit 0

say "installing Debian packages: $missing"
install_missing() {
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install $missing
}
say "fetching Debian's package index"
as_root apt-get -q update || say "the index is not fresh (no network?); trying with the one here"
install_missing || die "apt-get install failed, see above.
    Try: check the network and /etc/apt; or install by hand: $missing"
missing=$(missing_of tools/packages.list)
[ -z "$missing" ] || die "still missing after apt-get install: $missing"
say "set-up done"
