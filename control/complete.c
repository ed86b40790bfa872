/* Tab completion from the schema.  Pure; called by the line editor through shell.c. */
#include "control/complete.h"

#include <stdio.h>
#include <string.h>

#include "control/shell_parse.h"

static void offer(struct completion *out, const char *word, const char *tail, const char *partial)
{
    char item[LINE_EDIT_ITEM];

    snprintf(item, sizeof(item), "%s%s", word, tail);
    if (strncmp(item, partial, strlen(partial)) || out->count == LINE_EDIT_ITEMS)
        return;
    for (u32 i = 0; i < out->count; i++) {
        if (!strcmp(out->item[i], item))
            return;
    }
    strcpy(out->item[out->count++], item);
    out->open = tail[0] != 0;
}

static void offer_values(struct completion *out, const char *before, const char *values,
                         const char *partial)
{
    for (const char *p = values; *p; p += *p == '|') {
        char item[LINE_EDIT_ITEM];
        size_t n = strcspn(p, "|");

        snprintf(item, sizeof(item), "%s%.*s", before, (int)n, p);
        offer(out, item, "", partial);
        p += n;
    }
}

static void offer_typed(struct completion *out, const struct schema_arg *a, const char *before,
                        const char *partial)
{
    const char *name;

    if (a->type == ARG_ENUM)
        offer_values(out, before, a->values, partial);
    for (u32 i = 0; a->type == ARG_VM && schema_vm_name && (name = schema_vm_name(i)); i++) {
        char item[LINE_EDIT_ITEM];

        snprintf(item, sizeof(item), "%s%s", before, name);
        offer(out, item, "", partial);
    }
}

static void offer_nouns(struct completion *out, const char *partial)
{
    const struct schema_command *c;

    for (u32 i = 0; (c = schema_at(i)); i++)
        offer(out, c->noun, "", partial);
}

static void offer_verbs(struct completion *out, const char *noun, const char *partial)
{
    const struct schema_command *c;

    for (u32 i = 0; (c = schema_at(i)); i++) {
        if (!strcmp(c->noun, noun) && c->verb[0])
            offer(out, c->verb, "", partial);
    }
}

static void offer_conf(struct completion *out, const struct conf_schema *s, const char *partial)
{
    for (u32 i = 0; s && i < s->count; i++) {
        const struct conf_key *k = &s->keys[i];
        char name[LINE_EDIT_ITEM];

        snprintf(name, sizeof(name), "%s%s%s", k->key, k->sub ? "." : "", k->sub ? k->sub : "");
        if (k->type == CONF_ENUM && !k->sub && strchr(partial, '=')) {
            strcat(name, "=");
            offer_values(out, name, k->values, partial);
        } else {
            offer(out, name, "=", partial);
        }
    }
}

static void offer_args(struct completion *out, const struct schema_command *c, u32 place,
                       const char *partial)
{
    for (const struct schema_arg *a = c->args; a && a->name; a++) {
        bool here = a->place == PLACE_OBJECT || a->place == PLACE_OPTIONAL;
        char name[LINE_EDIT_ITEM];

        if (here && place-- == 0) {
            offer_typed(out, a, "", partial);
        } else if (a->place == PLACE_FLAG) {
            snprintf(name, sizeof(name), "--%s", a->name);
            offer(out, name, "", partial);
        } else if (a->place == PLACE_KEY) {
            snprintf(name, sizeof(name), "%s=", a->name);
            if (strncmp(partial, name, strlen(name)))
                offer(out, a->name, "=", partial);
            else
                offer_typed(out, a, name, partial);
        }
    }
    offer_conf(out, c->conf, partial);
}

/* The start of the command that the cursor is in; *filter: behind a '|'. */
static const char *command_start(const char *text, u32 len, bool *filter)
{
    const char *start = text;
    char quote = 0;

    *filter = false;
    for (const char *p = text; p < text + len; p++) {
        if (quote) {
            quote = *p == quote ? 0 : quote;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (*p == ';' || *p == '|') {
            *filter = *p == '|';
            start = p + 1;
        }
    }
    return start;
}

void complete_line(const char *text, u32 len, struct completion *out)
{
    static struct shell_words w; /* one thread; too big for a fiber's stack */
    struct shell_error err;
    struct shell_found f;
    char line[LINE_EDIT_MAX], partial[LINE_EDIT_ITEM];
    bool filter;
    const char *start = command_start(text, len, &filter), *end = text + len, *word = end;

    out->count = out->partial = 0;
    while (word > start && word[-1] != ' ')
        word--;
    if ((size_t)(end - word) >= sizeof(partial) || (size_t)(word - start) >= sizeof(line))
        return;
    snprintf(partial, sizeof(partial), "%.*s", (int)(end - word), word);
    snprintf(line, sizeof(line), "%.*s", (int)(word - start), start);
    out->partial = (u32)(end - word);
    if (filter) {
        const char *name;

        for (u32 i = 0; (name = shell_filter_name(i)) && line[strspn(line, " ")] == 0; i++)
            offer(out, name, "", partial);
        return;
    }
    const char *at = line;
    if (!shell_parse(&at, 0, &w, &err))
        return;
    if (!w.count) {
        offer_nouns(out, partial);
        return;
    }
    w.ask = true;
    if (!shell_resolve(&w, &f, &err))
        return;
    if (!f.command) {
        offer_verbs(out, f.noun, partial);
        return;
    }
    u32 place = 0;
    for (u32 i = f.used; i < w.count; i++)
        place += strncmp(w.word[i], "--", 2) && !strchr(w.word[i], '=');
    if (!strcmp(f.command->noun, "help") && place == 0)
        offer_nouns(out, partial);
    else if (!strcmp(f.command->noun, "help") && place == 1)
        offer_verbs(out, w.word[1], partial);
    offer_args(out, f.command, place, partial);
}
