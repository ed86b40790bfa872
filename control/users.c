/* The list of users; called by logins and by the shell, on the event loop's thread. */
#include "control/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/password.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"

#define PASSWORD_MIN 8u

static struct user *first;
static u32 count;

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
    u->role = role;
    while (*at)
        at = &(*at)->next;
    *at = u;
    count++;
    *out = u;
    return HV_OK;
}

static bool last_admin(const struct user *user)
{
    u32 admins = 0;

    for (const struct user *u = first; u; u = u->next)
        admins += u->role == ROLE_ADMIN;
    return user->role == ROLE_ADMIN && admins == 1 && count > 1;
}

enum hv_status users_remove(struct user *u)
{
    struct user **at = &first;

    if (last_admin(u))
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
    if (role != ROLE_ADMIN && last_admin(u))
        return HV_EPERM;
    u->role = role;
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
    users_unlock(u);
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

void users_unlock(struct user *u)
{
    u->failures = 0;
    u->locked_until = 0;
}

bool users_locked(const struct user *u)
{
    return u->locked_until && clock_tsc() < u->locked_until;
}

static void note_failure(struct user *u, const char *from)
{
    if (++u->failures < USERS_FAILURES)
        return;
    u->failures = 0;
    u->locked_until = clock_after(USERS_LOCK_SECONDS * CLOCK_SECOND);
    log_warn("user %s is locked for %u s after %u failed logins, the last from %s", u->name,
             USERS_LOCK_SECONDS, USERS_FAILURES, from);
}

static void note_login(struct user *u, const char *how, const char *from)
{
    u->failures = 0;
    u->locked_until = 0;
    u->logins++;
    log_notice("user %s (%s) logged in by %s, role %s", u->name, from, how,
               schema_role_name(u->role));
}

/* A name as it came: short and printable. */
static void printable(const char *name, char out[USERS_NAME])
{
    u32 n = 0;

    for (; name[n] && n + 1 < USERS_NAME; n++)
        out[n] = name[n] >= 0x20 && name[n] < 0x7f ? name[n] : '?';
    out[n] = 0;
}

bool users_check(const char *name, const char *password, const char *from, enum schema_role *role)
{
    /* Of no password: who asks for a name that is not there waits as long. */
    static const char nobody[] = "pbkdf2-sha512$20000$00000000000000000000000000000000$"
                                 "0000000000000000000000000000000000000000000000000000000000000000";
    struct user *u = users_find(name);
    char hash[USERS_HASH], shown[USERS_NAME];
    bool locked = u && users_locked(u), has = u && u->hash[0];

    snprintf(hash, sizeof(hash), "%s", has && !locked ? u->hash : nobody);
    bool right = strlen(password) < USERS_PASSWORD && password_matches(password, hash) && has;
    u = users_find(name); /* it took its time */
    locked |= u && users_locked(u);
    if (right && u && !locked && !strcmp(u->hash, hash)) {
        note_login(u, "password", from);
        *role = u->role;
        return true;
    }
    printable(name, shown);
    log_notice("login of %s from %s refused: %s", shown, from,
               !u       ? "no such user"
               : locked ? "locked"
                        : "wrong password");
    if (u && !locked)
        note_failure(u, from);
    return false;
}

bool users_check_key(const char *name, const char *key, const char *from, bool proved,
                     enum schema_role *role)
{
    struct user *u = users_find(name);
    bool known = false;

    for (u32 i = 0; u && i < USERS_KEYS; i++)
        known |= u->key[i] && !strcmp(u->key[i], key);
    if (!known || users_locked(u))
        return false;
    if (proved) {
        note_login(u, "key", from);
        *role = u->role;
    }
    return true;
}
