/* zlib and zstd behind one call; used by the formats that have compressed units. */
#include "storage/unpack.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

static enum hv_status unpack_zlib(int window_bits, const void *src, u64 len, void *dst, u64 size)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)src,
                  .avail_in = (uInt)len,
                  .next_out = dst,
                  .avail_out = (uInt)size};
    int ret;

    if (len > ~0u || size > ~0u)
        return HV_E2BIG;
    if (inflateInit2(&z, window_bits) != Z_OK)
        return HV_ENOMEM;
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* Z_BUF_ERROR: the output is full, and only the end of the stream was not looked at. */
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !z.avail_out ? HV_OK : HV_ECORRUPT;
}

static enum hv_status unpack_zstd(const void *src, u64 len, void *dst, u64 size)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_outBuffer out = {dst, size, 0};
    ZSTD_inBuffer in = {src, len, 0};

    if (!ctx)
        return HV_ENOMEM;
    /* The length of the frame is known only to a sector: streaming stops at its end. */
    while (out.pos < size) {
        size_t before = out.pos + in.pos, ret = ZSTD_decompressStream(ctx, &out, &in);

        if (ZSTD_isError(ret) || !ret || out.pos + in.pos == before)
            break;
    }
    ZSTD_freeDCtx(ctx);
    return out.pos == size ? HV_OK : HV_ECORRUPT;
}

enum hv_status unpack(enum unpack_kind kind, const void *src, u64 len, void *dst, u64 size)
{
    if (kind == UNPACK_ZSTD)
        return unpack_zstd(src, len, dst, size);
    return unpack_zlib(kind == UNPACK_ZLIB ? MAX_WBITS : -MAX_WBITS, src, len, dst, size);
}

enum hv_status unpack_deflate(const void *src, u64 len, void *dst, u64 *out_len)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)src,
                  .avail_in = (uInt)len,
                  .next_out = dst,
                  .avail_out = (uInt)*out_len};
    int ret;

    if (len > ~0u || *out_len > ~0u)
        return HV_E2BIG;
    if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
        return HV_ENOMEM;
    ret = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    *out_len = z.total_out;
    return ret == Z_STREAM_END ? HV_OK : HV_E2BIG;
}
