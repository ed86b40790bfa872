/* Sums of passwords; called by control/users.c in a fiber. */
#include "control/password.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/pkcs5.h>

#include "control/rt/fiber.h"
#include "control/rt/random.h"

#define KIND "pbkdf2-sha512"

struct parts {
    u32 rounds;
    u8 salt[PASSWORD_SALT], sum[PASSWORD_SUM];
};

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *parse_hex(const char *at, u8 *to, u32 len)
{
    for (u32 i = 0; i < len; i++, at += 2) {
        int high = digit(at[0]), low = high < 0 ? -1 : digit(at[1]);

        if (low < 0)
            return NULL;
        to[i] = (u8)(high << 4 | low);
    }
    return at;
}

static bool parse(const char *text, struct parts *p)
{
    char *end;

    if (strncmp(text, KIND "$", sizeof(KIND)))
        return false;
    unsigned long rounds = strtoul(text + sizeof(KIND), &end, 10);
    if (!rounds || rounds > PASSWORD_ROUNDS_MAX || rounds % PASSWORD_SLICE || *end != '$')
        return false;
    p->rounds = (u32)rounds;
    const char *at = parse_hex(end + 1, p->salt, sizeof(p->salt));
    if (!at || *at != '$')
        return false;
    at = parse_hex(at + 1, p->sum, sizeof(p->sum));
    return at && !*at;
}

static bool compute(const char *password, u32 rounds, const u8 salt[PASSWORD_SALT],
                    u8 sum[PASSWORD_SUM])
{
    u8 chain[PASSWORD_SALT + PASSWORD_SUM];
    u32 length = PASSWORD_SALT;

    memcpy(chain, salt, PASSWORD_SALT);
    for (u32 done = 0; done < rounds; done += PASSWORD_SLICE) {
        if (mbedtls_pkcs5_pbkdf2_hmac_ext(MBEDTLS_MD_SHA512, (const u8 *)password, strlen(password),
                                          chain, length, PASSWORD_SLICE, PASSWORD_SUM, sum))
            return false;
        memcpy(chain + PASSWORD_SALT, sum, PASSWORD_SUM);
        length = sizeof(chain);
        if (fiber_self())
            fiber_yield();
    }
    return true;
}

static void put_hex(char *to, const u8 *from, u32 len)
{
    for (u32 i = 0; i < len; i++)
        snprintf(to + 2 * i, 3, "%02x", from[i]);
}

bool password_hash(const char *password, u32 rounds, char text[PASSWORD_TEXT])
{
    char salt_text[2 * PASSWORD_SALT + 1], sum_text[2 * PASSWORD_SUM + 1];
    u8 salt[PASSWORD_SALT], sum[PASSWORD_SUM];

    random_bytes(salt, sizeof(salt));
    if (!compute(password, rounds, salt, sum))
        return false;
    put_hex(salt_text, salt, sizeof(salt));
    put_hex(sum_text, sum, sizeof(sum));
    snprintf(text, PASSWORD_TEXT, KIND "$%u$%s$%s", rounds, salt_text, sum_text);
    return true;
}

bool password_matches(const char *password, const char *text)
{
    struct parts p;
    u8 sum[PASSWORD_SUM], differs = 0;

    if (!parse(text, &p) || !compute(password, p.rounds, p.salt, sum))
        return false;
    for (u32 i = 0; i < sizeof(sum); i++) /* as long for every wrong one */
        differs |= sum[i] ^ p.sum[i];
    return !differs;
}

bool password_is_hash(const char *text)
{
    struct parts p;

    return parse(text, &p);
}
