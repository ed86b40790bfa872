#!/bin/sh
# usage: tools/build-libs.sh
# Build the libraries that storage/ uses (zlib, the zstd decoder, SQLite), as pinned in
# tools/sources.lock and unpatched, twice: build/lib/control/libstorage.a on musl for the image,
# build/lib/host/libstorage.a for the host tests.  Their headers go to build/lib/include.  The result
# is kept under .cache/, so `make clean` does not cost a rebuild.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

out=$PWD/build/lib
musl=$PWD/build/musl/include
key=$({ grep -E '^(zlib|libzstd|sqlite3) ' tools/sources.lock; gcc -dumpfullversion
    cat tools/build-libs.sh; } | sha256sum | cut -c1-16)
kept=$cache/lib-$key

common='-std=gnu11 -O2 -w -fno-omit-frame-pointer -ffunction-sections -fdata-sections'
control="-fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
 -fno-asynchronous-unwind-tables -nostdinc -isystem $musl
 -isystem $(gcc -print-file-name=include)"
zlib_files='adler32 crc32 deflate inflate inffast inftrees trees zutil'
zstd_flags='-DZSTD_DISABLE_ASM=1 -DZSTD_LEGACY_SUPPORT=0 -DZSTD_NO_TRACE'
# No operating system below: the VFS is ours.  One thread.  Little stack, since it runs in a fiber.
sqlite_flags='-DSQLITE_OS_OTHER=1 -DSQLITE_THREADSAFE=0 -DSQLITE_SMALL_STACK -DSQLITE_TEMP_STORE=3
 -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_SHARED_CACHE -DSQLITE_OMIT_DEPRECATED
 -DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_DQS=0 -DSQLITE_DEFAULT_MEMSTATUS=0
 -DSQLITE_MAX_EXPR_DEPTH=0 -DSQLITE_LIKE_DOESNT_MATCH_BLOBS -DSQLITE_DEFAULT_FOREIGN_KEYS=1
 -DSQLITE_MAX_MMAP_SIZE=0'

# variant NAME FLAGS
variant() {
    to=$work/out/$1
    mkdir -p "$to/obj"
    for f in $zlib_files; do
        # shellcheck disable=SC2086
        gcc $common $2 -c "$work/zlib/$f.c" -o "$to/obj/zlib_$f.o"
    done
    for f in "$work"/libzstd/lib/common/*.c "$work"/libzstd/lib/decompress/*.c; do
        # shellcheck disable=SC2086
        gcc $common $2 $zstd_flags -c "$f" -o "$to/obj/zstd_$(basename "$f" .c).o"
    done
    # shellcheck disable=SC2086
    gcc $common $2 $sqlite_flags -c "$work/sqlite3-build/sqlite3.c" -o "$to/obj/sqlite3.o"
    ar rcs "$to/libstorage.a" "$to"/obj/*.o
    rm -r "$to/obj"
}

build() {
    work=$PWD/build/lib-work
    log=$work/build.log
    rm -rf "$work"
    mkdir -p "$work/sqlite3-build"
    for name in zlib libzstd sqlite3; do
        tools/fetch-src.sh $name "$work/$name"
    done
    say "building zlib, zstd and SQLite (once)"
    {
        (cd "$work/sqlite3-build" && ../sqlite3/configure --disable-readline && make sqlite3.c) &&
            variant control "$control" && variant host ''
    } >"$log" 2>&1 || { tail -20 "$log" >&2; die "a library did not build; see $log."; }
    mkdir -p "$work/out/include"
    cp "$work/zlib/zlib.h" "$work/zlib/zconf.h" "$work"/libzstd/lib/zstd*.h \
        "$work/sqlite3-build/sqlite3.h" "$work/out/include/"
    rm -rf "$kept"
    mv "$work/out" "$kept"
    rm -rf "$work"
}

[ -f "$kept/host/libstorage.a" ] || build
rm -rf "$out"
mkdir -p "$out"
cp -R "$kept/include" "$kept/control" "$kept/host" "$out/"
touch "$out/control/libstorage.a" "$out/host/libstorage.a"
