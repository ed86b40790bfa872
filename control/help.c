/* Help out of the schema.  Pure; called by shell.c and cmd_shell.c. */
#include "control/help.h"

#include <stdio.h>
#include <string.h>

#include "control/shell_parse.h"

static bool first_of_noun(u32 at)
{
    const struct schema_command *c = schema_at(at);

    for (u32 i = 0; i < at; i++) {
        if (!strcmp(schema_at(i)->noun, c->noun))
            return false;
    }
    return true;
}

void help_all(struct out *out)
{
    const struct schema_command *c, *v;

    for (u32 i = 0; (c = schema_at(i)); i++) {
        char verbs[256] = "";

        if (!first_of_noun(i))
            continue;
        for (u32 k = i; (v = schema_at(k)) && c->verb[0]; k++) {
            size_t n = strlen(verbs);

            if (!strcmp(v->noun, c->noun))
                snprintf(verbs + n, sizeof(verbs) - n, "%s%s", n ? " " : "", v->verb);
        }
        out_printf(out, "%-10s %s\n", c->noun, c->verb[0] ? verbs : c->help);
    }
    out_printf(
        out, "\nNOUN VERB [OBJECT] [key=value] [--flag]; unambiguous prefixes do. More: help NOUN,"
             " help NOUN VERB, ?\nAfter a command: | grep WORD, exclude WORD, count, json, "
             "more. Several: ; between them.\n");
}

void help_noun(struct out *out, const char *noun)
{
    const struct schema_command *c;

    for (u32 i = 0; (c = schema_at(i)); i++) {
        char usage[256];

        if (strcmp(c->noun, noun))
            continue;
        shell_usage(c, usage, sizeof(usage));
        out_printf(out, "%-44s %s\n", usage, c->help);
    }
}

static void help_arg(struct out *out, const struct schema_arg *a)
{
    static const char *const types[] = {[ARG_WORD] = "text",
                                        [ARG_NUMBER] = "number",
                                        [ARG_SIZE] = "size",
                                        [ARG_ENUM] = "",
                                        [ARG_VM] = "name or number of a VM"};
    char name[48];

    snprintf(name, sizeof(name),
             a->place == PLACE_FLAG  ? "--%s"
             : a->place == PLACE_KEY ? "%s="
                                     : "%s",
             a->name);
    out_printf(out, "  %-16s %s", name, a->help);
    if (a->place != PLACE_FLAG)
        out_printf(out, " (%s%s%s)", a->type == ARG_ENUM ? a->values : types[a->type],
                   a->default_value ? ", default " : "", a->default_value ? a->default_value : "");
    out_printf(out, "\n");
}

void help_command(struct out *out, const struct schema_command *c)
{
    char usage[256];

    shell_usage(c, usage, sizeof(usage));
    out_printf(out, "%s\n  %s\n", usage, c->help);
    for (const struct schema_arg *a = c->args; a && a->name; a++)
        help_arg(out, a);
    for (u32 i = 0; c->conf && i < c->conf->count; i++) {
        const struct conf_key *k = &c->conf->keys[i];
        char name[64];
        u32 n;

        if (conf_key_numbered(k, &n) && n) /* nic0 stands for nic1 and so on */
            continue;
        snprintf(name, sizeof(name), "%s%s%s=", k->key, k->sub ? "." : "", k->sub ? k->sub : "");
        out_printf(out, "  %-16s %s (%s)\n", name, k->help, k->example);
    }
    if (c->example)
        out_printf(out, "Example: %s\n", c->example);
}

void help_reference(struct out *out)
{
    const struct schema_command *c;

    out_printf(out, "| command | what it does |\n| --- | --- |\n");
    for (u32 i = 0; (c = schema_at(i)); i++) {
        char usage[256], escaped[512];
        u32 n = 0;

        shell_usage(c, usage, sizeof(usage));
        for (const char *p = usage; *p; p++) {
            if (*p == '|')
                escaped[n++] = '\\';
            escaped[n++] = *p;
        }
        escaped[n] = 0;
        out_printf(out, "| `%s` | %s |\n", escaped, c->help);
    }
}
