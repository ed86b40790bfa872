#!/bin/bash
# Refuses an include that goes against the table in docs/architecture.md.
# One row a folder: the folders (or single headers) its files may include, itself implied.
cd "$(dirname "$0")/.." || exit 1
declare -A may=(
    [kernel/abi]=""
    [kernel/lib]="kernel/abi"
    [kernel]="kernel/abi kernel/lib"
    [boot]="kernel/abi kernel/lib"
    [control/rt]="kernel/abi kernel/lib"
    [control/rt/musl]=""
    [control/rt/host]="kernel/abi kernel/lib control/rt"
    [drivers]="kernel/abi kernel/lib control/rt"
    [net]="kernel/abi kernel/lib control/rt drivers/nic.h"
    [net/lwip]="net"
    [net/lwip/arch]=""
    [storage]="kernel/abi kernel/lib control/rt drivers/block.h net/tcp.h"
    [vmm]="kernel/abi kernel/lib control/rt drivers net storage"
    [control/ssh]=""
    [control]="kernel/abi kernel/lib control/rt drivers net storage vmm"
    [tests]="kernel/abi storage control/rt"
    [tests/guests]="tests/guests/lib kernel/abi"
    [tests/guests/lib]="kernel/abi"
    [tests/bare]="kernel/abi boot"
    [tests/bench]="net"
    [tests/control]="kernel/abi"
    [tests/linux]=""
)
bad=0 files=0
for file in $(git ls-files -co --exclude-standard '*.c' '*.h' '*.S' | grep -v '^tests/\(unit\|fuzz\)/'); do
    [ -e "$file" ] || continue
    files=$((files + 1))
    folder=$(dirname "$file")
    if [ -z "${may[$folder]+set}" ]; then
        case $folder in
        tools*) continue ;;
        esac
        echo "$file: folder $folder has no row in tests/check_layers.sh"
        bad=1
        continue
    fi
    while read -r included; do
        case $included in
        */*) ;;
        *)
            echo "$file: \"$included\" is not written from the root"
            bad=1
            continue
            ;;
        esac
        from=$(dirname "$included") fine=0
        [ "$from" = "$folder" ] && fine=1
        for row in ${may[$folder]}; do
            [ "$from" = "$row" ] || [ "$included" = "$row" ] && fine=1
        done
        # Generated headers live under build/ and carry the path of the folder they belong to.
        if [ $fine = 0 ]; then
            echo "$file: may not include \"$included\""
            bad=1
        fi
    done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file")
done
# Devices see chains, never a ring: those are virtio_dev.c's, which serves all of them.
if grep -nE 'virtio_ring_|->ring\[|\.ring\[|virtio_queue\b' vmm/virtio_dev_{blk,net,console,rng,balloon}.c; then
    echo "a model of a virtio device touches a ring"
    bad=1
fi
for file in vmm/virtio_dev_{blk,net,console,rng,balloon}.c; do
    [ "$(grep -c '^const struct virtio_model ' "$file")" = 1 ] && continue
    echo "$file: a virtio device is one const struct virtio_model"
    bad=1
done
[ $bad = 0 ] && echo "$files files"
exit $bad
