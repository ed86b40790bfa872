/* Hashes by mbedTLS, and manifests (DSP0243 2.1, section 7.1); called by import and export. */
#include "storage/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>

#include "control/rt/fiber.h"

#define PIECE (256 * KIB)

static const struct {
    const char *name;
    u32 bytes;
} kinds[DIGEST_KINDS] = {{"SHA1", 20}, {"SHA256", 32}, {"SHA512", 64}};

const char *digest_name(enum digest_kind kind)
{
    return kinds[kind].name;
}

struct hash {
    enum digest_kind kind;
    union {
        mbedtls_sha1_context sha1;
        mbedtls_sha256_context sha256;
        mbedtls_sha512_context sha512;
    } of;
};

static int begin(struct hash *h)
{
    if (h->kind == DIGEST_SHA1) {
        mbedtls_sha1_init(&h->of.sha1);
        return mbedtls_sha1_starts(&h->of.sha1);
    }
    if (h->kind == DIGEST_SHA256) {
        mbedtls_sha256_init(&h->of.sha256);
        return mbedtls_sha256_starts(&h->of.sha256, 0);
    }
    mbedtls_sha512_init(&h->of.sha512);
    return mbedtls_sha512_starts(&h->of.sha512, 0);
}

static int update(struct hash *h, const u8 *bytes, u64 len)
{
    if (h->kind == DIGEST_SHA1)
        return mbedtls_sha1_update(&h->of.sha1, bytes, len);
    if (h->kind == DIGEST_SHA256)
        return mbedtls_sha256_update(&h->of.sha256, bytes, len);
    return mbedtls_sha512_update(&h->of.sha512, bytes, len);
}

static int end(struct hash *h, u8 out[64])
{
    int bad;

    if (h->kind == DIGEST_SHA1) {
        bad = mbedtls_sha1_finish(&h->of.sha1, out);
        mbedtls_sha1_free(&h->of.sha1);
    } else if (h->kind == DIGEST_SHA256) {
        bad = mbedtls_sha256_finish(&h->of.sha256, out);
        mbedtls_sha256_free(&h->of.sha256);
    } else {
        bad = mbedtls_sha512_finish(&h->of.sha512, out);
        mbedtls_sha512_free(&h->of.sha512);
    }
    return bad;
}

enum hv_status digest_of(struct disk *file, u64 length, enum digest_kind kind, char hex[DIGEST_HEX],
                         bool (*progress)(void *arg, u64 done), void *arg)
{
    u64 block = file->block_size;
    struct hash *h = calloc(1, sizeof(*h));
    u8 *buf = malloc(PIECE), out[64] = {0};
    enum hv_status status = h && buf ? HV_OK : HV_ENOMEM;

    if (h)
        h->kind = kind;
    if (status == HV_OK && begin(h))
        status = HV_ENOMEM;
    for (u64 at = 0, n; at < length && status == HV_OK; at += n) {
        n = MIN(length - at, PIECE);
        status = disk_read(file, at, buf, MIN(ROUND_UP(n, block), file->size - at));
        if (status == HV_OK && update(h, buf, n))
            status = HV_EIO;
        if (status == HV_OK && progress && !progress(arg, at + n))
            status = HV_ETIMEDOUT;
        if (fiber_self())
            fiber_yield();
    }
    if (h && end(h, out) && status == HV_OK)
        status = HV_EIO;
    for (u32 i = 0; i < kinds[kind].bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", out[i]);
    free(h);
    free(buf);
    return status;
}

/* ---- manifests ---------------------------------------------------------------------------------
 */

static const char *pass_spaces(const char *at, const char *end_of_line)
{
    while (at < end_of_line && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

static bool take_hex(const char *at, const char *eol, enum digest_kind kind, char hex[DIGEST_HEX])
{
    u32 n = 2 * kinds[kind].bytes;

    while (eol > at && (eol[-1] == ' ' || eol[-1] == '\r' || eol[-1] == '\t'))
        eol--;
    if ((u64)(eol - at) != n)
        return false;
    for (u32 i = 0; i < n; i++) {
        char c = at[i] >= 'A' && at[i] <= 'F' ? (char)(at[i] + 32) : at[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        hex[i] = c;
    }
    hex[n] = 0;
    return true;
}

enum hv_status digest_read_line(const char **at, const char *end_of_text, struct digest_line *out)
{
    while (*at < end_of_text && strchr(" \t\r\n", **at) && **at)
        ++*at;
    if (*at == end_of_text)
        return HV_ENOENT;
    const char *line = *at, *eol = memchr(line, '\n', (size_t)(end_of_text - line));
    const char *open, *close;
    u32 kind = 0;

    eol = eol ? eol : end_of_text;
    *at = eol;
    open = memchr(line, '(', (size_t)(eol - line));
    close = open ? memchr(open, ')', (size_t)(eol - open)) : NULL;
    if (!close || close - open - 1 >= (long)sizeof(out->name) || close == open + 1)
        return HV_EINVAL;
    u64 n = strcspn(line, " (");
    while (kind < DIGEST_KINDS &&
           (strlen(kinds[kind].name) != n || memcmp(kinds[kind].name, line, n)))
        kind++;
    if (kind == DIGEST_KINDS)
        return HV_ENOSYS;
    out->kind = (enum digest_kind)kind;
    snprintf(out->name, sizeof(out->name), "%.*s", (int)(close - open - 1), open + 1);
    const char *value = pass_spaces(close + 1, eol);
    if (value == eol || *value != '=')
        return HV_EINVAL;
    return take_hex(pass_spaces(value + 1, eol), eol, out->kind, out->hex) ? HV_OK : HV_EINVAL;
}
