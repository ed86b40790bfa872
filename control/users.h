/* Who may log in, and as what: names, roles, passwords, keys, lock-out.
 *
 * Passwords are kept as PBKDF2 sums only (mbedTLS).  Checking one takes some tenths of a second of
 * CPU, in slices: the calls that say so wait, and need a fiber. */
#pragma once

#include "control/schema.h"

#define USERS_MAX 64u
#define USERS_NAME 32u
#define USERS_PASSWORD 128u /* bytes with NUL */
#define USERS_HASH 160u
#define USERS_KEY 800u    /* RSA of 4096 bits has 724; of a public key's base64 text, with NUL */
#define USERS_KEYS 4u     /* a user */
#define USERS_FAILURES 5u /* then nobody gets in under that name for a while */
#define USERS_LOCK_SECONDS 600u

struct user {
    char name[USERS_NAME];
    enum schema_role role;
    char hash[USERS_HASH]; /* "": no password gets in */
    char *key[USERS_KEYS]; /* "ssh-ed25519 AAAA...", or NULL */
    u32 failures;
    u64 locked_until; /* TSC; 0: not locked */
    u64 logins;
    struct user *next;
};

struct user *users_first(void);
struct user *users_find(const char *name);
/* HV_EINVAL (name: a letter, then letters, digits, - _ .), HV_EEXIST, HV_E2BIG, HV_ENOMEM. */
MUST_CHECK enum hv_status users_add(const char *name, enum schema_role role, struct user **out);
/* HV_EPERM: it is the last administrator, and others remain. */
MUST_CHECK enum hv_status users_remove(struct user *u);
MUST_CHECK enum hv_status users_set_role(struct user *u, enum schema_role role);
/* Waits.  HV_EINVAL: shorter than 8 or longer than USERS_PASSWORD - 1 bytes. */
MUST_CHECK enum hv_status users_set_password(struct user *u, const char *password);
/* A sum as `host config show` prints it; false: it is none. */
MUST_CHECK bool users_set_hash(struct user *u, const char *hash);
/* "ssh-ed25519 BASE64"; HV_EINVAL, HV_E2BIG, HV_ENOMEM. */
MUST_CHECK enum hv_status users_add_key(struct user *u, const char *key);
void users_unlock(struct user *u);
bool users_locked(const struct user *u);

/* Waits.  True: it is the user's password; the name may be of nobody (that takes as long).  What
 * comes of it is logged; `from` names the place. */
MUST_CHECK bool users_check(const char *name, const char *password, const char *from,
                            enum schema_role *role);
/* The same for a key that has proved to be in the client's hand. */
MUST_CHECK bool users_check_key(const char *name, const char *key, const char *from, bool proved,
                                enum schema_role *role);
/* Whoever logs in may do nothing until there is a user. */
bool users_any(void);
