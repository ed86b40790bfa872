#!/bin/sh
# usage: tools/build-ssh.sh
# Build mbedTLS and libssh, as pinned in tools/sources.lock and unpatched, with the settings in
# control/ssh/, twice: build/ssh/control/libssh.a on musl for the image, build/ssh/host/libssh.a with
# ASan for the host tests.  Their headers go to build/ssh/include.  Kept under .cache/, as the other
# libraries.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

out=$PWD/build/ssh
musl=$PWD/build/musl/include
options=$PWD/control/ssh
key=$({ grep -E '^(mbedtls|libssh) ' tools/sources.lock; gcc -dumpfullversion
    cat tools/build-ssh.sh $options/*.h; } | sha256sum | cut -c1-16)
kept=$cache/ssh-$key

common="-std=gnu11 -O2 -g -w -fno-omit-frame-pointer -ffunction-sections -fdata-sections
 -fno-strict-aliasing -DLIBSSH_STATIC -D_GNU_SOURCE"
control="-fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
 -fno-asynchronous-unwind-tables -nostdinc -isystem $musl
 -isystem $(gcc -print-file-name=include)"
# A server's: the client's files, GSSAPI, PKCS#11, files on disk and threads are left out.
libssh_files='agent auth base64 bignum bind bind_config buffer callbacks channels client config
 config_parser connect connector crypto_common curve25519 dh dh_key ecdh ecdh_mbedcrypto error
 getpass getrandom_mbedcrypto gzip init kdf kex known_hosts knownhosts legacy libmbedcrypto log
 match mbedcrypto_missing md_mbedcrypto messages misc options packet packet_cb packet_crypt pcap
 pki pki_container_openssh pki_ed25519 pki_ed25519_common pki_mbedcrypto poll scp server session
 socket string threads threads/noop threads/mbedtls token ttyopts wrapper external/bcrypt_pbkdf
 external/blowfish external/curve25519_ref external/ed25519 external/fe25519 external/ge25519
 external/sc25519'

# variant NAME FLAGS
variant() {
    to=$work/out/$1
    mkdir -p "$to/obj"
    headers="-I$options -I$work/out/include -I$work/libssh/include -I$work/libssh/src
     -I$work/mbedtls/library"
    {
        for f in "$work"/mbedtls/library/*.c; do
            case ${f##*/} in
            ssl_* | x509* | net_sockets.c | psa_* | timing.c | debug.c) continue ;;
            esac
            echo "$f $to/obj/mbedtls_$(basename "$f" .c).o"
        done
        for f in $libssh_files; do
            echo "$work/libssh/src/$f.c $to/obj/libssh_$(echo "$f" | tr / _).o"
        done
    } > "$to/list"
    # shellcheck disable=SC2086,SC2116
    flags=$(echo $common $2 $headers -ffile-prefix-map="$work"=.)
    xargs -P 2 -L 1 sh -c "gcc $flags -c \"\$0\" -o \"\$1\"" < "$to/list" || return 1
    ar rcs "$to/libssh.a" "$to"/obj/*.o
    rm -r "$to/obj" "$to/list"
}

# What libssh's configure step would write.
version_header() {
    sed -e 's/@libssh_VERSION_MAJOR@/0/; s/@libssh_VERSION_MINOR@/11/' \
        -e 's/@libssh_VERSION_PATCH@/5/' "$work/libssh/include/libssh/libssh_version.h.cmake" \
        > "$work/out/include/libssh/libssh_version.h"
}

build() {
    work=$PWD/build/ssh-work
    log=$work/build.log
    rm -rf "$work"
    mkdir -p "$work/out/include/libssh"
    tools/fetch-src.sh mbedtls "$work/mbedtls"
    tools/fetch-src.sh libssh "$work/libssh"
    say "building mbedTLS and libssh (once)"
    cp -R "$work"/mbedtls/include/* "$work/out/include/"
    cp "$options/mbedtls_config.h" "$work/out/include/mbedtls/mbedtls_config.h"
    cp "$work"/libssh/include/libssh/callbacks.h "$work"/libssh/include/libssh/legacy.h \
        "$work"/libssh/include/libssh/libssh.h "$work"/libssh/include/libssh/server.h \
        "$work/out/include/libssh/"
    version_header
    { variant control "$control" && variant host '-fsanitize=address'; } >"$log" 2>&1 ||
        { tail -20 "$log" >&2; die "mbedTLS or libssh did not build; see $log."; }
    rm -rf "$kept"
    mv "$work/out" "$kept"
    rm -rf "$work"
}

[ -f "$kept/host/libssh.a" ] || build
rm -rf "$out"
cp -R "$kept" "$out"
touch "$out/control/libssh.a" "$out/host/libssh.a"
