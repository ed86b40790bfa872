# Shell functions shared by the scripts in tools/; read with `.` from the repository's root.
# shellcheck shell=sh

cache=${BULKHEAD_CACHE:-$PWD/.cache}

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: run it as root, through sudo where we are not root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "this needs root: $*. Try: run the command as root, or install sudo."
    fi
}

# debian_sources SUITE TYPE FILE: write one-line apt sources (TYPE deb or deb-src) for SUITE, derived
# from the Debian sources of this machine, in either of apt's two formats.  Other vendors' sources
# are left out: only the machine's own code name, its -updates and -security (of which backports have
# none), component main.
debian_sources() {
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-bookworm}")
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$f" ] && sed -e 's/#.*//' -e 's/\[\([^]]*\)\]//' "$f" |
            awk '$1 == "deb" { for (i = 4; i <= NF; i++) if ($i == "main") print $2, $3, "-" }'
    done > "$3.raw"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] && awk '
            function flush(   i, j, nu, ns, u, s) {
                if (types ~ /(^| )deb( |$)/ && comps ~ /(^| )main( |$)/ && enabled != "no") {
                    nu = split(uris, u, " "); ns = split(suites, s, " ")
                    for (i = 1; i <= nu; i++) for (j = 1; j <= ns; j++)
                        print u[i], s[j], (key ~ /^\// ? key : "-")
                }
                types = uris = suites = comps = key = enabled = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            { name = tolower($1); $1 = ""; sub(/^ /, "") }
            name == "types:" { types = $0 } name == "uris:" { uris = $0 }
            name == "suites:" { suites = $0 } name == "components:" { comps = $0 }
            name == "signed-by:" { key = $1 } name == "enabled:" { enabled = $1 }
            END { flush() }' "$f"
    done >> "$3.raw"
    while read -r uri suite key; do
        case $suite in
            "$codename" | "$codename-updates" | "$codename-security" | "$codename/updates") ;;
            stable | stable-updates | stable-security) suite=$codename${suite#stable} ;;
            *) continue ;;
        esac
        case $1 in *-backports) [ "$suite" = "$codename" ] || continue ;; esac
        [ "$key" = - ] && key=/usr/share/keyrings/debian-archive-keyring.gpg
        printf '%s [signed-by=%s] %s %s main\n' "$2" "$key" "$uri" "$1${suite#"$codename"}"
    done < "$3.raw" | sort -u > "$3"
    rm -f "$3.raw"
    [ -s "$3" ] || die "no Debian source found in /etc/apt. Try: add a line such as
    deb MIRROR $codename main  to /etc/apt/sources.list."
}

# private_apt SUITE TYPE: set APT_CONFIG to an apt world of our own (lists, cache, no packages
# installed) for that suite, so that the machine's own apt is neither used nor changed.  The index
# is fetched once; private_apt_update fetches it again.
private_apt() {
    apt_top=$cache/apt/$1-$2
    APT_CONFIG=$apt_top/apt.conf
    export APT_CONFIG
    [ -f "$apt_top/updated" ] && return 0
    mkdir -p "$apt_top/parts" "$apt_top/lists/partial" "$apt_top/cache/archives/partial"
    : > "$apt_top/status"
    debian_sources "$1" "$2" "$apt_top/parts/debian.list"
    cat > "$APT_CONFIG" <<X
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt_top/parts";
Dir::State::lists "$apt_top/lists";
Dir::State::status "$apt_top/status";
Dir::Cache "$apt_top/cache";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
X
    private_apt_update
}

private_apt_update() {
    say "fetching Debian's index for ${apt_top##*/}"
    apt-get -q update >&2 || die "Debian's index for ${apt_top##*/} cannot be fetched.
    Try: check the network and /etc/apt, then run the command again."
    : > "$apt_top/updated"
}
