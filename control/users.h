/* Who may log in, and as what: names, roles, passwords, keys, locks.
 *
 * There are two locks.  Failed logins lock a user out for a while; strangers can bring that about,
 * so sessions that are open go on.  `host user lock` bars a user until it is undone, and his
 * sessions end.
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
    u64 id; /* nobody else's since the start, whatever names come and go */
    enum schema_role role;
    char hash[USERS_HASH]; /* "": no password gets in */
    char *key[USERS_KEYS]; /* "ssh-ed25519 AAAA...", or NULL */
    u32 failures;
    u64 locked_until; /* TSC; 0: not locked */
    bool barred;
    u64 logins;
    struct user *next;
};

struct user *users_first(void);
struct user *users_find(const char *name);
struct user *users_by_id(u64 id); /* NULL: removed */
/* HV_EINVAL (name: a letter, then letters, digits, - _ .), HV_EEXIST, HV_E2BIG, HV_ENOMEM. */
MUST_CHECK enum hv_status users_add(const char *name, enum schema_role role, struct user **out);
/* HV_EPERM, of the next three: it is the last administrator who may log in (and others remain). */
MUST_CHECK enum hv_status users_remove(struct user *u);
MUST_CHECK enum hv_status users_set_role(struct user *u, enum schema_role role);
MUST_CHECK enum hv_status users_bar(struct user *u);
/* Waits.  HV_EINVAL: shorter than 8 or longer than USERS_PASSWORD - 1 bytes. */
MUST_CHECK enum hv_status users_set_password(struct user *u, const char *password);
/* A sum as `host config show` prints it; false: it is none. */
MUST_CHECK bool users_set_hash(struct user *u, const char *hash);
/* "ssh-ed25519 BASE64"; HV_EINVAL, HV_EEXIST, HV_E2BIG, HV_ENOMEM. */
MUST_CHECK enum hv_status users_add_key(struct user *u, const char *key);
/* The i-th, from 0; those behind it move up. */
void users_remove_key(struct user *u, u32 i);
void users_unlock(struct user *u); /* ends both locks */
bool users_locked(const struct user *u);
/* The lock-out as it is kept: until when, in seconds by the firmware's clock; 0: there is none.
 * users_lock_until() takes no more than USERS_LOCK_SECONDS from now, and nothing that is past. */
u64 users_locked_until(const struct user *u);
void users_lock_until(struct user *u, u64 until);
/* Called in a fiber when somebody was locked out, to keep that; may wait. */
extern void (*users_on_lock)(void);

/* Waits.  The user's id, or 0: it is not his password, or nobody has the name (that takes as long).
 * What comes of it is logged; `from` names the place. */
MUST_CHECK u64 users_check(const char *name, const char *password, const char *from);
/* Whether a key lets in; `proved`: it is in the client's hand, so this is a login.  One that does
 * not is no event yet: clients offer all they have. */
MUST_CHECK u64 users_check_key(const char *name, const char *key, const char *from, bool proved);
/* A connection is over in which `count` keys were not taken, the last with this fingerprint: one
 * event.  `failed`: nothing else was tried, so that it counts as one failure.  Waits. */
void users_refuse_keys(const char *name, const char *from, u32 count, const char *last,
                       bool failed);
/* Whoever logs in may do nothing until there is a user. */
bool users_any(void);
