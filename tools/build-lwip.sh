#!/bin/sh
# usage: tools/build-lwip.sh
# Build lwIP, as pinned in tools/sources.lock and unpatched, with net/lwip/lwipopts.h, twice:
# build/lwip/control/liblwip.a on musl for the image, build/lwip/host/liblwip.a with ASan for the
# host tests.  Its headers go to build/lwip/include.  Kept under .cache/, as the other libraries.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

out=$PWD/build/lwip
musl=$PWD/build/musl/include
options=net/lwip
key=$({ grep -E '^lwip ' tools/sources.lock; gcc -dumpfullversion
    cat tools/build-lwip.sh $options/lwipopts.h $options/arch/cc.h; } | sha256sum | cut -c1-16)
kept=$cache/lwip-$key

common='-std=gnu11 -O2 -g -w -fno-omit-frame-pointer -ffunction-sections -fdata-sections
 -fno-strict-aliasing'
control="-fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
 -fno-asynchronous-unwind-tables -nostdinc -isystem $musl
 -isystem $(gcc -print-file-name=include)"

# variant NAME FLAGS
variant() {
    to=$work/out/$1
    mkdir -p "$to/obj"
    for f in "$work"/src/src/core/*.c "$work"/src/src/core/ipv4/*.c "$work"/src/src/core/ipv6/*.c \
        "$work"/src/src/netif/ethernet.c "$work"/src/src/apps/sntp/sntp.c; do
        # shellcheck disable=SC2086
        gcc $common $2 -I$options -I"$work/src/src/include" -ffile-prefix-map="$work/src/src"=lwip \
            -c "$f" -o "$to/obj/$(basename "$f" .c).o" || return 1
    done
    ar rcs "$to/liblwip.a" "$to"/obj/*.o
    rm -r "$to/obj"
}

build() {
    work=$PWD/build/lwip-work
    log=$work/build.log
    rm -rf "$work"
    mkdir -p "$work/out"
    tools/fetch-src.sh lwip "$work/src"
    say "building lwIP (once)"
    { variant control "$control" && variant host '-fsanitize=address'; } >"$log" 2>&1 ||
        { tail -20 "$log" >&2; die "lwIP did not build; see $log."; }
    cp -R "$work/src/src/include" "$work/out/include"
    rm -rf "$kept"
    mv "$work/out" "$kept"
    rm -rf "$work"
}

[ -f "$kept/host/liblwip.a" ] || build
rm -rf "$out"
cp -R "$kept" "$out"
touch "$out/control/liblwip.a" "$out/host/liblwip.a"
