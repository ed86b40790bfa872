/* Decompression of one unit of an image, by zlib and zstd.  The input is hostile. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

enum unpack_kind {
    UNPACK_DEFLATE, /* RFC 1951 */
    UNPACK_ZLIB,    /* RFC 1950 */
    UNPACK_ZSTD,    /* RFC 8878 */
};

/* Fills dst with exactly `size` bytes; what follows in src is ignored.  HV_ECORRUPT: it does not
 * unpack to that many; HV_ENOMEM. */
MUST_CHECK enum hv_status unpack(enum unpack_kind kind, const void *src, u64 len, void *dst,
                                 u64 size);
/* zlib format.  *out_len: room at dst, then bytes written.  HV_E2BIG: does not fit. */
MUST_CHECK enum hv_status unpack_deflate(const void *src, u64 len, void *dst, u64 *out_len);
