#!/bin/sh
# usage: tools/build-musl.sh
# Build the control partition's C library into build/musl: musl as pinned in tools/sources.lock,
# unpatched but for control/rt/musl/syscall_arch.h, which turns its system calls into calls of
# control/rt/seam.c.  The result is kept under .cache/, so `make clean` does not cost a rebuild.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

prefix=$PWD/build/musl
overlay=control/rt/musl/syscall_arch.h
flags='-O2 -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -fno-omit-frame-pointer
 -ffunction-sections -fdata-sections'
row=$(awk '$1 == "musl" { print $3, $4 }' tools/sources.lock)
key=$({ echo "$row"; gcc -dumpfullversion; cat "$overlay" tools/build-musl.sh; } |
    sha256sum | cut -c1-16)
kept=$cache/musl-$key

build() {
    work=$PWD/build/musl-work
    log=$work/build.log
    rm -rf "$work"
    mkdir -p "$work/obj"
    tools/fetch-src.sh musl "$work/src"
    cp "$overlay" "$work/src/arch/x86_64/syscall_arch.h"
    # The assembler versions of these hold a system call instruction; musl's generic C replaces them.
    for f in thread/x86_64/__set_thread_area thread/x86_64/__unmapself thread/x86_64/clone \
        thread/x86_64/syscall_cp signal/x86_64/restore process/x86_64/vfork; do
        rm "$work/src/src/$f.s"
    done
    say "building musl ${row%% *} (once)"
    # shellcheck disable=SC2086
    (cd "$work/obj" && CFLAGS=$(echo $flags) ../src/configure --disable-shared --prefix="$work/out" \
        && make -j2 && make install) > "$log" 2>&1 ||
        { tail -20 "$log" >&2; die "musl did not build; the whole log is $log."; }
    if objdump -d "$work/out/lib/libc.a" | grep -q '	syscall'; then
        die "musl was built with a system call instruction left in it."
    fi
    rm -rf "$kept"
    mv "$work/out" "$kept"
    rm -rf "$work"
}

[ -f "$kept/lib/libc.a" ] || build
rm -rf "$prefix"
mkdir -p "$prefix"
cp -R "$kept/include" "$kept/lib" "$prefix/"
touch "$prefix/lib/libc.a"
