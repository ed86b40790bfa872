/* The heap by subsystem: how much of malloc's memory who has.
 *
 * The image is linked so that every malloc(), calloc(), realloc() and free() in it, the libraries'
 * too, comes here first.  A block belongs to the part of the image whose code asked for it. */
#pragma once

#include "kernel/abi/types.h"

enum heap_owner {
    HEAP_CONTROL, /* control/ and its runtime: shell, configuration, users */
    HEAP_VMM,
    HEAP_DRIVERS,
    HEAP_NET,     /* net/ and lwIP */
    HEAP_STORAGE, /* storage/, SQLite, zlib, zstd */
    HEAP_SSH,     /* libssh and mbedTLS */
    HEAP_OTHER,   /* the C library */
    HEAP_OWNERS
};

struct heap_use {
    u64 bytes, blocks; /* now */
    u64 most;          /* bytes, at any time */
};

struct heap_use heap_use(enum heap_owner owner); /* zeros in programs that are linked otherwise */
