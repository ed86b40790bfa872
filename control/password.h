/* Sums of passwords: "pbkdf2-sha512$rounds$salt$sum", salt and sum in hexadecimal.
 *
 * The sum is a chain of PBKDF2-HMAC-SHA512 (mbedTLS) over slices of 500 rounds, each salted with
 * the salt and the sum before it, so that others get the CPU between slices.  In a fiber. */
#pragma once

#include "kernel/abi/types.h"

#define PASSWORD_SLICE 500u
#define PASSWORD_ROUNDS 20000u
#define PASSWORD_ROUNDS_MAX 1000000u
#define PASSWORD_SALT 16u
#define PASSWORD_SUM 32u
#define PASSWORD_TEXT 160u

/* A new sum with a new salt.  False: no memory. */
MUST_CHECK bool password_hash(const char *password, u32 rounds, char text[PASSWORD_TEXT]);
bool password_matches(const char *password, const char *text);
bool password_is_hash(const char *text);
