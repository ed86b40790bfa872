/* The list of users; called by logins and by the shell, on the event loop's thread. */
#include "control/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/password.h"
#include "control/refusal.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"

#define PASSWORD_MIN 8u

static struct user *first;
static u32 count;
static u64 last_id;

void (*users_on_lock)(void);

struct user *users_first(void)
{
    return first;
}

bool users_any(void)
{
    return first != NULL;
}

struct user *users_find(const char *name)
{
    struct user *u = first;

    while (u && strcmp(u->name, name))
        u = u->next;
    return u;
}

struct user *users_by_id(u64 id)
{
    struct user *u = first;

    while (u && u->id != id)
        u = u->next;
    return u;
}

static bool good_name(const char *name)
{
    for (u32 i = 0; name[i]; i++) {
        char c = name[i], lower = (char)(c | 0x20);
        bool letter = lower >= 'a' && lower <= 'z';

        if (i == USERS_NAME - 1 ||
            !(letter || (i && ((c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))))
            return false;
    }
    return name[0] && strcmp(name, "root") && strcmp(name, "config");
}

enum hv_status users_add(const char *name, enum schema_role role, struct user **out)
{
    struct user **at = &first;

    if (!good_name(name))
        return HV_EINVAL;
    if (users_find(name))
        return HV_EEXIST;
    if (count == USERS_MAX)
        return HV_E2BIG;
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return HV_ENOMEM;
    strcpy(u->name, name);
    u->id = ++last_id;
    u->role = role;
    while (*at)
        at = &(*at)->next;
    *at = u;
    count++;
    *out = u;
    return HV_OK;
}

/* One who is barred cannot help the others. */
static bool last_admin(const struct user *user)
{
    u32 admins = 0;

    for (const struct user *u = first; u; u = u->next)
        admins += u->role == ROLE_ADMIN && !u->barred;
    return user->role == ROLE_ADMIN && !user->barred && admins == 1;
}

enum hv_status users_remove(struct user *u)
{
    struct user **at = &first;

    if (last_admin(u) && count > 1)
        return HV_EPERM;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    count--;
    for (u32 i = 0; i < USERS_KEYS; i++)
        free(u->key[i]);
    free(u);
    return HV_OK;
}

enum hv_status users_set_role(struct user *u, enum schema_role role)
{
    if (role != ROLE_ADMIN && last_admin(u) && count > 1)
        return HV_EPERM;
    u->role = role;
    return HV_OK;
}

enum hv_status users_bar(struct user *u)
{
    if (last_admin(u))
        return HV_EPERM;
    u->barred = true;
    return HV_OK;
}

enum hv_status users_set_password(struct user *u, const char *password)
{
    char name[USERS_NAME], text[PASSWORD_TEXT];
    u64 len = strlen(password);

    if (len < PASSWORD_MIN || len >= USERS_PASSWORD)
        return HV_EINVAL;
    strcpy(name, u->name);
    if (!password_hash(password, PASSWORD_ROUNDS, text))
        return HV_ENOMEM;
    u = users_find(name); /* it took its time */
    if (!u)
        return HV_ENOENT;
    strcpy(u->hash, text);
    u->failures = 0;
    u->locked_until = 0;
    return HV_OK;
}

bool users_set_hash(struct user *u, const char *hash)
{
    if (!password_is_hash(hash))
        return false;
    snprintf(u->hash, sizeof(u->hash), "%s", hash);
    return true;
}

static bool good_key(const char *key)
{
    const char *blank = strchr(key, ' ');

    if (strncmp(key, "ssh-", 4) && strncmp(key, "ecdsa-", 6))
        return false;
    for (const char *p = blank ? blank + 1 : ""; *p; p++) {
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", *p))
            return false;
    }
    return blank && blank[1] && strlen(key) < USERS_KEY;
}

enum hv_status users_add_key(struct user *u, const char *key)
{
    if (!good_key(key))
        return HV_EINVAL;
    for (u32 i = 0; i < USERS_KEYS; i++) {
        if (u->key[i] && !strcmp(u->key[i], key))
            return HV_EEXIST; /* else taking it away would leave it */
        if (u->key[i])
            continue;
        u->key[i] = malloc(strlen(key) + 1);
        if (!u->key[i])
            return HV_ENOMEM;
        strcpy(u->key[i], key);
        return HV_OK;
    }
    return HV_E2BIG;
}

void users_remove_key(struct user *u, u32 i)
{
    free(u->key[i]);
    for (; i + 1 < USERS_KEYS; i++)
        u->key[i] = u->key[i + 1];
    u->key[USERS_KEYS - 1] = NULL;
}

/* ---- locks ------------------------------------------------------------------------------------
 */
void users_unlock(struct user *u)
{
    u->failures = 0;
    u->locked_until = 0;
    u->barred = false;
}

static bool locked_out(const struct user *u)
{
    return u->locked_until && clock_tsc() < u->locked_until;
}

bool users_locked(const struct user *u)
{
    return u->barred || locked_out(u);
}

u64 users_locked_until(const struct user *u)
{
    if (!locked_out(u))
        return 0;
    return (clock_firmware_ns() + clock_ticks_to_ns(u->locked_until - clock_tsc())) / CLOCK_SECOND;
}

void users_lock_until(struct user *u, u64 until)
{
    u64 now = clock_firmware_ns() / CLOCK_SECOND;

    if (until > now)
        u->locked_until = clock_after(MIN(until - now, USERS_LOCK_SECONDS) * CLOCK_SECOND);
}

/* Waits where it has to be kept: the user may be gone then. */
static void note_failure(struct user *u, const char *from)
{
    if (++u->failures < USERS_FAILURES)
        return;
    u->failures = 0;
    u->locked_until = clock_after(USERS_LOCK_SECONDS * CLOCK_SECOND);
    log_warn("user %s is locked for %u s after %u failed logins, the last from %s", u->name,
             USERS_LOCK_SECONDS, USERS_FAILURES, from);
    if (users_on_lock)
        users_on_lock();
}

static void note_login(struct user *u, const char *how, const char *from)
{
    u->failures = 0;
    u->logins++;
    log_notice("user %s (%s) logged in by %s, role %s", u->name, from, how,
               schema_role_name(u->role));
}

/* ---- logging in -------------------------------------------------------------------------------
 */
u64 users_check(const char *name, const char *password, const char *from)
{
    /* Of no password: who asks for a name that is not there waits as long. */
    static const char nobody[] = "pbkdf2-sha512$20000$00000000000000000000000000000000$"
                                 "0000000000000000000000000000000000000000000000000000000000000000";
    struct user *u = users_find(name);
    char hash[USERS_HASH];
    bool locked = u && users_locked(u), has = u && u->hash[0];

    snprintf(hash, sizeof(hash), "%s", has && !locked ? u->hash : nobody);
    bool right = strlen(password) < USERS_PASSWORD && password_matches(password, hash) && has;
    u = users_find(name); /* it took its time */
    locked |= u && users_locked(u);
    if (right && u && !locked && !strcmp(u->hash, hash)) {
        note_login(u, "password", from);
        return u->id;
    }
    refusal_login(name, from, !u ? "no such user" : locked ? "locked" : "wrong password");
    if (u && !locked)
        note_failure(u, from);
    return 0;
}

u64 users_check_key(const char *name, const char *key, const char *from, bool proved)
{
    struct user *u = users_find(name);
    bool known = false;

    for (u32 i = 0; u && i < USERS_KEYS; i++)
        known |= u->key[i] && !strcmp(u->key[i], key);
    if (!known || users_locked(u))
        return 0;
    if (proved)
        note_login(u, "key", from);
    return u->id;
}

void users_refuse_keys(const char *name, const char *from, u32 keys, const char *last, bool failed)
{
    struct user *u = users_find(name);
    bool locked = u && users_locked(u);
    char why[120];

    snprintf(why, sizeof(why), "%s%u %s not accepted, the last %s",
             !u       ? "no such user; "
             : locked ? "locked; "
                      : "",
             keys, keys == 1 ? "key" : "keys", last);
    refusal_login(name, from, why);
    if (u && !locked && failed)
        note_failure(u, from);
}
