/* Commands about users; run in a shell's fiber. */
#include "control/cmd_user.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/shell.h"
#include "control/ssh_keys.h"
#include "control/users.h"

typedef unsigned long long ull;

#define FINGERPRINT 80u

/* What a user did; not what the kept configuration does at each start. */
#define NOTE(...)                                                                                  \
    do {                                                                                           \
        if (shell_terminal())                                                                      \
            log_notice(__VA_ARGS__);                                                               \
    } while (0)

static struct user *the_user(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    struct user *u = name ? users_find(name) : NULL;

    if (!name)
        out_error(out, HV_EINVAL, "E_SYNTAX", "host user list", "the name of a user is missing");
    else if (!u)
        out_error(out, HV_ENOENT, "E_NO_USER", "host user list", "no user is named '%s'", name);
    return u;
}

static const char *state_of(const struct user *u, char *buf, u32 len)
{
    if (u->barred)
        snprintf(buf, len, "locked by an administrator");
    else if (users_locked(u))
        snprintf(buf, len, "locked for %llu s",
                 (ull)(clock_ticks_to_ns(u->locked_until - clock_tsc()) / CLOCK_SECOND));
    else
        snprintf(buf, len, u->failures ? "%u failed logins" : "ok", u->failures);
    return buf;
}

static enum hv_status run_list(struct out *out)
{
    static const char *const columns[] = {"USER", "ROLE", "PASSWORD", "KEYS", "LOGINS", "STATE"};
    static const u8 widths[] = {16, 8, 8, 4, 6, 0};
    char state[40];

    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct user *u = users_first(); u; u = u->next) {
        u32 keys = 0;

        for (u32 i = 0; i < USERS_KEYS; i++)
            keys += u->key[i] != NULL;
        out_cell(out, "%s", u->name);
        out_cell(out, "%s", schema_role_name(u->role));
        out_cell(out, "%s", u->hash[0] ? "yes" : "none");
        out_cell(out, "%u", keys);
        out_cell(out, "%llu", (ull)u->logins);
        out_cell(out, "%s", state_of(u, state, sizeof(state)));
    }
    return HV_OK;
}

static enum hv_status run_show(const struct schema_args *args, struct out *out, struct user *u)
{
    char state[40], label[16], text[FINGERPRINT];

    (void)args;
    out_field(out, "user", "%s", u->name);
    out_field(out, "role", "%s", schema_role_name(u->role));
    out_field(out, "password", "%s", u->hash[0] ? "yes" : "none");
    out_field(out, "logins", "%llu", (ull)u->logins);
    out_field(out, "sessions", "%u", shell_sessions(u->id));
    out_field(out, "state", "%s", state_of(u, state, sizeof(state)));
    for (u32 i = 0; i < USERS_KEYS && u->key[i]; i++) {
        if (!ssh_keys_user_fingerprint(u->key[i], text, sizeof(text)))
            strcpy(text, "cannot be read");
        snprintf(label, sizeof(label), "key %u", i + 1);
        out_field(out, label, "%s %.*s", text, (int)strcspn(u->key[i], " "), u->key[i]);
    }
    out_end_object(out);
    return HV_OK;
}

/* Twice, not shown.  False: an error was printed. */
static bool ask_password(struct out *out, char password[USERS_PASSWORD])
{
    char again[USERS_PASSWORD];
    bool same = shell_ask("New password: ", false, password, USERS_PASSWORD) &&
                shell_ask("Again: ", false, again, sizeof(again)) && !strcmp(password, again);

    memset(again, 0, sizeof(again));
    if (!same)
        out_error(out, HV_EINVAL, "E_PASSWORD", "host user passwd NAME",
                  "the two are not the same; nothing was changed");
    return same;
}

static enum hv_status set_password(const struct schema_args *args, struct out *out, struct user *u)
{
    const char *hash = args_text(args, "hash");
    char password[USERS_PASSWORD], name[USERS_NAME];

    if (hash)
        return users_set_hash(u, hash)
                   ? HV_OK
                   : out_error(out, HV_EINVAL, "E_VALUE", "the line of host config show",
                               "that is not the sum of a password");
    strcpy(name, u->name);
    if (!ask_password(out, password))
        return HV_EINVAL;
    u = users_find(name); /* typing took its time */
    enum hv_status status = u ? users_set_password(u, password) : HV_ENOENT;
    memset(password, 0, sizeof(password));
    if (status == HV_EINVAL)
        return out_error(out, status, "E_PASSWORD", "a longer one",
                         "a password has 8 to %u characters", USERS_PASSWORD - 1);
    if (status != HV_OK)
        return out_error(out, status, "E_PASSWORD", "host user list", "it could not be set");
    NOTE("the password of user %s was set by %s", name, shell_user());
    return HV_OK;
}

static enum schema_role role_of(const struct schema_args *args)
{
    enum schema_role role = ROLE_VIEW;
    const char *text = args_text(args, "role");

    return text && schema_role_parse(text, &role) ? role
                                                  : ROLE_VIEW; /* the schema has checked it */
}

static enum hv_status run_add(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    struct user *u;
    enum hv_status status = users_add(name ? name : "", role_of(args), &u);

    switch (status) {
    case HV_OK:
        NOTE("user %s, role %s, was added by %s", name, schema_role_name(u->role), shell_user());
        return HV_OK;
    case HV_EEXIST:
        return out_error(out, status, "E_EXISTS", "another name", "there is a user '%s'", name);
    case HV_EINVAL:
        return out_error(out, status, "E_NAME", "host user add anna role=operator",
                         "a name has up to %u letters, digits, - _ . and begins with a letter; "
                         "root and config are taken",
                         USERS_NAME - 1);
    default:
        return out_error(out, status, "E_FULL", "host user remove", "%u users are the most",
                         USERS_MAX);
    }
}

static enum hv_status only_admin(struct out *out)
{
    return out_error(out, HV_EPERM, "E_LAST_ADMIN", "host user role OTHER role=admin",
                     "that is the last administrator");
}

static enum hv_status run_remove(const struct schema_args *args, struct out *out, struct user *u)
{
    (void)args;
    char name[USERS_NAME];

    strcpy(name, u->name);
    if (users_remove(u) != HV_OK)
        return only_admin(out);
    NOTE("user %s was removed by %s", name, shell_user());
    shell_users_changed();
    return HV_OK;
}

static enum hv_status run_role(const struct schema_args *args, struct out *out, struct user *u)
{
    if (!args_text(args, "role"))
        return out_error(out, HV_EINVAL, "E_SYNTAX", "role=operator", "role= is missing");
    if (users_set_role(u, role_of(args)) != HV_OK)
        return only_admin(out);
    NOTE("user %s has role %s now, by %s", u->name, schema_role_name(u->role), shell_user());
    shell_users_changed();
    return HV_OK;
}

/* A line of a .pub file ends in a comment.  NULL: there is none, or it is too long. */
static const char *key_of(const struct schema_args *args, char key[USERS_KEY])
{
    const char *text = args_text(args, "key"), *blank = text ? strchr(text, ' ') : NULL;
    const char *end = blank ? strchr(blank + 1, ' ') : NULL;

    if (!text || strlen(text) >= USERS_KEY)
        return NULL;
    snprintf(key, USERS_KEY, "%.*s", (int)(end ? end - text : (long)strlen(text)), text);
    return key;
}

static enum hv_status run_key(const struct schema_args *args, struct out *out, struct user *u)
{
    char key[USERS_KEY], text[FINGERPRINT];

    if (!key_of(args, key))
        return out_error(out, HV_EINVAL, "E_KEY", "host user key anna key='ssh-ed25519 AAAA...'",
                         "a public key is missing, or too long");
    enum hv_status status =
        ssh_keys_user_fingerprint(key, text, sizeof(text)) ? users_add_key(u, key) : HV_EINVAL;
    if (status == HV_EEXIST)
        return out_error(out, status, "E_EXISTS", "host user show NAME", "%s has that key already",
                         u->name);
    if (status != HV_OK)
        return out_error(out, HV_EINVAL, "E_KEY", "the text of a .pub file, in quotes",
                         "that is no public key, or %s has %u already", u->name, USERS_KEYS);
    NOTE("user %s has a key more, %s, by %s", u->name, text, shell_user());
    return HV_OK;
}

/* By its number, its fingerprint or its text. */
static enum hv_status run_unkey(const struct schema_args *args, struct out *out, struct user *u)
{
    char key[USERS_KEY], text[FINGERPRINT], number[4];
    bool given = key_of(args, key) != NULL;

    for (u32 i = 0; given && i < USERS_KEYS && u->key[i]; i++) {
        if (!ssh_keys_user_fingerprint(u->key[i], text, sizeof(text)))
            strcpy(text, "cannot be read");
        snprintf(number, sizeof(number), "%u", i + 1);
        if (strcmp(key, number) && strcmp(key, text) && strcmp(key, u->key[i]))
            continue;
        users_remove_key(u, i);
        NOTE("user %s has a key less, %s, by %s", u->name, text, shell_user());
        return HV_OK;
    }
    return out_error(out, HV_ENOENT, "E_KEY", "host user show NAME, then key=1 or key=SHA256:...",
                     "%s has no such key", u->name);
}

/* until=: as `host config show` prints a lock-out that failed logins brought about. */
static enum hv_status run_lock(const struct schema_args *args, struct out *out, struct user *u)
{
    if (args_text(args, "until")) {
        users_lock_until(u, args_number(args, "until", 0));
        return HV_OK;
    }
    if (users_bar(u) != HV_OK)
        return only_admin(out);
    NOTE("user %s was locked by %s", u->name, shell_user());
    shell_users_changed();
    return HV_OK;
}

static enum hv_status run_unlock(const struct schema_args *args, struct out *out, struct user *u)
{
    (void)args, (void)out;
    users_unlock(u);
    NOTE("user %s was unlocked by %s", u->name, shell_user());
    return HV_OK;
}

static enum hv_status run_user(const struct schema_args *args, struct out *out)
{
    static const struct {
        const char *name;
        enum hv_status (*run)(const struct schema_args *args, struct out *out, struct user *u);
    } actions[] = {{"show", run_show}, {"remove", run_remove}, {"passwd", set_password},
                   {"role", run_role}, {"key", run_key},       {"unkey", run_unkey},
                   {"lock", run_lock}, {"unlock", run_unlock}};
    const char *action = args_text(args, "action");

    if (!strcmp(action, "list"))
        return run_list(out);
    if (!strcmp(action, "add"))
        return run_add(args, out);
    struct user *u = the_user(args, out);
    for (u32 i = 0; u && i < ARRAY_LEN(actions); i++) {
        if (!strcmp(actions[i].name, action))
            return actions[i].run(args, out, u);
    }
    return HV_ENOENT;
}

static void save_users(struct schema_text *t)
{
    for (const struct user *u = users_first(); u; u = u->next) {
        schema_put(t, "host user add %s role=%s", u->name, schema_role_name(u->role));
        if (u->hash[0])
            schema_put(t, "host user passwd %s 'hash=%s'", u->name, u->hash);
        for (u32 i = 0; i < USERS_KEYS; i++) {
            if (u->key[i])
                schema_put(t, "host user key %s 'key=%s'", u->name, u->key[i]);
        }
    }
    /* Behind all of them: one is the last administrator until the next is there. */
    for (const struct user *u = users_first(); u; u = u->next) {
        if (u->barred)
            schema_put(t, "host user lock %s", u->name);
        else if (users_locked(u))
            schema_put(t, "host user lock %s until=%llu", u->name, (ull)users_locked_until(u));
    }
}
SCHEMA_SAVES(save_users, SAVES_HOST);

static const struct schema_arg user_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|show|add|remove|passwd|role|key|unkey|lock|unlock",
     .help = "what to do; show has the keys' fingerprints, lock ends the user's sessions"},
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "name of the user"},
    {"role", PLACE_KEY, ARG_ENUM, .values = "auditor|operator|admin",
     .help = "auditor looks, operator runs VMs, admin changes the host"},
    {"hash", PLACE_KEY, ARG_WORD,
     .help = "passwd: the sum of a password, instead of asking for one"},
    {"key", PLACE_KEY, ARG_WORD,
     .help = "key: a public key, the text of a .pub file; unkey: also its number or SHA256:..."},
    {"until", PLACE_KEY, ARG_NUMBER,
     .help = "lock: a lock-out after failed logins, as host config show prints it"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "user", "who may log in, with what role, password and keys",
     "host user add anna role=operator; host user passwd anna", ROLE_ADMIN, user_args, NULL,
     run_user},
};
SCHEMA_COMMANDS(commands);
