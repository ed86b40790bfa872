/* The table of all commands, collected by the linker, and the values of one command line.
 * Pure; called by the parser, by completion, by help and by handlers. */
#include "control/schema.h"

#include <string.h>

/* Weak: a test that links no command file has no such section. */
extern const struct schema_table *const __start_schema_tables[] __attribute__((weak));
extern const struct schema_table *const __stop_schema_tables[] __attribute__((weak));

extern const struct schema_saves *const __start_schema_saves[] __attribute__((weak));
extern const struct schema_saves *const __stop_schema_saves[] __attribute__((weak));

const char *(*schema_vm_name)(u32 i);

static const char *const role_names[ROLES] = {"auditor", "operator", "admin"};

const struct schema_command *schema_at(u32 i)
{
    for (const struct schema_table *const *t = __start_schema_tables; t < __stop_schema_tables;
         t++) {
        if (i < (*t)->count)
            return &(*t)->rows[i];
        i -= (*t)->count;
    }
    return NULL;
}

const struct schema_arg *schema_arg(const struct schema_command *c, const char *name)
{
    for (const struct schema_arg *a = c->args; a && a->name; a++) {
        if (!strcmp(a->name, name))
            return a;
    }
    return NULL;
}

const char *args_text(const struct schema_args *a, const char *name)
{
    const struct schema_arg *arg = schema_arg(a->command, name);

    for (u32 i = 0; i < a->count; i++) {
        if (!strcmp(a->item[i].name, name))
            return a->item[i].value;
    }
    return arg ? arg->default_value : NULL;
}

u64 args_number(const struct schema_args *a, const char *name, u64 if_missing)
{
    const char *text = args_text(a, name);
    u64 value;

    return text && conf_parse_size(conf_span_of(text), &value) ? value : if_missing;
}

bool args_flag(const struct schema_args *a, const char *name)
{
    const char *text = args_text(a, name);

    return text && !strcmp(text, "yes");
}

const struct schema_saves *schema_saves_at(u32 i)
{
    const struct schema_saves *const *at = __start_schema_saves;

    return at + i < __stop_schema_saves ? at[i] : NULL;
}

static bool only_looks(const char *action)
{
    return !strcmp(action, "list") || !strcmp(action, "show") || !strcmp(action, "lookup");
}

/* Arguments of commands that else only look. */
static const struct {
    const char *noun, *verb, *arg;
    enum schema_role role;
} arguments[] = {
    {"host", "cpu", "mode", ROLE_ADMIN},
    {"net", "auto", "mode", ROLE_ADMIN},
};

static enum schema_role argument_role(const struct schema_command *c, const char *name)
{
    for (u32 i = 0; i < ARRAY_LEN(arguments); i++) {
        if (!strcmp(arguments[i].noun, c->noun) && !strcmp(arguments[i].verb, c->verb) &&
            !strcmp(arguments[i].arg, name))
            return arguments[i].role;
    }
    return ROLE_VIEW;
}

enum schema_role schema_role_needed(const struct schema_args *a)
{
    enum schema_role role = a->command->role;

    for (u32 i = 0; i < a->count; i++) {
        if (!strcmp(a->item[i].name, "action") && only_looks(a->item[i].value))
            return ROLE_VIEW;
        role = MAX(role, argument_role(a->command, a->item[i].name));
    }
    return role;
}

const char *schema_role_name(enum schema_role role)
{
    return role < ROLES ? role_names[role] : "?";
}

bool schema_role_parse(const char *text, enum schema_role *out)
{
    for (u32 i = 0; i < ROLES; i++) {
        if (!strcmp(text, role_names[i])) {
            *out = (enum schema_role)i;
            return true;
        }
    }
    return false;
}

const char *schema_quote(const char *value, char *buf, u32 len)
{
    char quote = strchr(value, '\'') ? '"' : '\'';
    bool plain = value[0] && !strpbrk(value, " \t\"'\\;|$?") && value[0] != '-';
    u32 n = 0;

    if (plain && strlen(value) < len)
        return value;
    buf[n++] = quote;
    for (; *value && n + 3 < len; value++) {
        if (quote == '"' && (*value == '"' || *value == '\\'))
            buf[n++] = '\\';
        buf[n++] = *value;
    }
    buf[n++] = quote;
    buf[n] = 0;
    return buf;
}
