/* The table of all commands, collected by the linker, and the values of one command line.
 * Pure; called by the parser, by completion, by help and by handlers. */
#include "control/schema.h"

#include <string.h>

/* Weak: a test that links no command file has no such section. */
extern const struct schema_table *const __start_schema_tables[] __attribute__((weak));
extern const struct schema_table *const __stop_schema_tables[] __attribute__((weak));

const char *(*schema_vm_name)(u32 i);

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
