/* The shell's grammar, from bytes to a checked command.  Pure; called by shell.c and complete.c. */
#include "control/shell_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/aliases.h"

static bool fail(struct shell_error *err, const char *code, const char *hint, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static bool fail(struct shell_error *err, const char *code, const char *hint, const char *fmt, ...)
{
    va_list ap;

    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    snprintf(err->hint, sizeof(err->hint), "%s", hint);
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Where the next byte of a word goes. */
struct cutter {
    struct shell_words *w;
    u32 used;
    int last_status;
};

static bool put(struct cutter *c, char byte)
{
    if (c->used + 1 >= sizeof(c->w->text))
        return false;
    c->w->text[c->used++] = byte;
    return true;
}

static bool put_status(struct cutter *c)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", c->last_status);
    for (const char *p = number; *p; p++) {
        if (!put(c, *p))
            return false;
    }
    return true;
}

/* One word at **at into *start.  Quotes may stand anywhere in it; in double quotes a backslash
 * takes the next byte as it is. */
static bool cut_word(struct cutter *c, const char **at, char **start, bool *quoted,
                     struct shell_error *err)
{
    const char *p = *at;
    char quote = 0;
    bool room = true;

    *start = c->w->text + c->used;
    *quoted = false;
    for (; *p && room; p++) {
        if (quote) {
            if (*p == quote)
                quote = 0;
            else if (*p == '\\' && quote == '"' && p[1])
                room = put(c, *++p);
            else
                room = put(c, *p);
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
            *quoted = true;
        } else if (is_blank(*p) || *p == ';' || *p == '|') {
            break;
        } else if (p[0] == '$' && p[1] == '?') {
            room = put_status(c);
            p++;
        } else {
            room = put(c, *p);
        }
    }
    *at = p;
    if (!room || !put(c, 0))
        return fail(err, "E_SYNTAX", "a shorter one", "the line is too long");
    if (quote)
        return fail(err, "E_SYNTAX", "close the quote", "the quote %c is not closed", quote);
    return true;
}

static const struct {
    const char *name;
    enum out_filter_kind kind;
    bool word;
} filters[] = {
    {"grep", OUT_GREP, true},  {"exclude", OUT_EXCLUDE, true}, {"count", OUT_COUNT, false},
    {"more", OUT_MORE, false}, {"json", OUT_JSON, false},
};

const char *shell_filter_name(u32 i)
{
    return i < ARRAY_LEN(filters) ? filters[i].name : NULL;
}

static bool cut_filter(struct cutter *c, const char **at, struct shell_error *err)
{
    struct shell_words *w = c->w;
    char *words[3];
    u32 count = 0;
    bool quoted;

    for (;;) {
        while (is_blank(**at))
            (*at)++;
        if (!**at || **at == ';' || **at == '|')
            break;
        if (count == ARRAY_LEN(words))
            return fail(err, "E_SYNTAX", "quote the text", "a filter takes one word");
        if (!cut_word(c, at, &words[count++], &quoted, err))
            return false;
    }
    if (w->filter_count == OUT_FILTERS)
        return fail(err, "E_SYNTAX", "fewer filters", "more than %d filters", OUT_FILTERS);
    for (u32 i = 0; count && i < ARRAY_LEN(filters); i++) {
        struct out_filter *f = &w->filters[w->filter_count];

        if (strcmp(words[0], filters[i].name))
            continue;
        if (count != (filters[i].word ? 2 : 1))
            return fail(err, "E_SYNTAX", filters[i].word ? "| grep WORD" : "leave it out",
                        "filter %s takes %s", words[0], filters[i].word ? "one word" : "no word");
        f->kind = filters[i].kind;
        f->word[0] = 0;
        if (filters[i].word && strlen(words[1]) >= sizeof(f->word))
            return fail(err, "E_SYNTAX", "a shorter one", "the filter's word is too long");
        if (filters[i].word)
            strcpy(f->word, words[1]);
        w->filter_count++;
        return true;
    }
    return fail(err, "E_SYNTAX", "grep, exclude, count, more or json", "'%.32s' is not a filter",
                count ? words[0] : "");
}

static bool take_word(struct shell_words *w, char *word, bool quoted, struct shell_error *err)
{
    if (!quoted && !strcmp(word, "--no-more")) {
        w->no_more = true;
        return true;
    }
    if (w->count == SHELL_WORDS)
        return fail(err, "E_SYNTAX", "quote values that have blanks", "more than %d words",
                    SHELL_WORDS);
    w->word[w->count] = word;
    w->quoted[w->count++] = quoted;
    return true;
}

bool shell_parse(const char **at, int last_status, struct shell_words *w, struct shell_error *err)
{
    struct cutter c = {.w = w, .last_status = last_status};

    w->count = w->filter_count = 0;
    w->ask = w->no_more = false;
    for (;;) {
        char *word;
        bool quoted;

        while (is_blank(**at))
            (*at)++;
        if (!**at)
            break;
        if (**at == ';') {
            (*at)++;
            break;
        }
        if (**at == '|') {
            (*at)++;
            if (!w->count)
                return fail(err, "E_SYNTAX", "vm list | grep run", "nothing stands before '|'");
            if (!cut_filter(&c, at, err))
                return false;
        } else if (w->filter_count) {
            return fail(err, "E_SYNTAX", "; before the next command", "text after a filter");
        } else if (!cut_word(&c, at, &word, &quoted, err) || !take_word(w, word, quoted, err)) {
            return false;
        }
    }
    if (w->count && !w->quoted[w->count - 1] && !strcmp(w->word[w->count - 1], "?")) {
        w->count--;
        w->ask = true;
    }
    return true;
}

/* Nouns or verbs of a noun that begin with a word: how many different ones, and which. */
struct match {
    const char *exact, *prefix; /* the last that fits */
    u32 prefixes;
    char names[96]; /* for the message */
};

static void consider(struct match *m, const char *name, const char *word)
{
    size_t n = strlen(word);

    if (!strcmp(name, word))
        m->exact = name;
    if (strncmp(name, word, n) || (m->prefix && !strcmp(m->prefix, name)))
        return;
    for (const char *p = strstr(m->names, name); p; p = strstr(p + 1, name)) {
        if ((p == m->names || p[-1] == ' ') && (!p[strlen(name)] || p[strlen(name)] == ','))
            return; /* seen before */
    }
    size_t have = strlen(m->names);
    snprintf(m->names + have, sizeof(m->names) - have, "%s%s", have ? ", " : "", name);
    m->prefix = name;
    m->prefixes++;
}

static const char *pick(const struct match *m, const char *what, const char *word, const char *hint,
                        struct shell_error *err)
{
    if (m->exact)
        return m->exact;
    if (m->prefixes == 1)
        return m->prefix;
    if (m->prefixes)
        fail(err, "E_AMBIGUOUS", m->names, "'%.32s' may be more than one %s", word, what);
    else
        fail(err, "E_UNKNOWN", hint, "'%.32s' is not a %s", word, what);
    return NULL;
}

static const char *find_noun(const char *word, struct shell_error *err)
{
    struct match m = {0};
    const struct schema_command *c;

    for (u32 i = 0; (c = schema_at(i)); i++)
        consider(&m, c->noun, word);
    return pick(&m, "command", word, "help", err);
}

static const struct schema_command *find_row(const char *noun, const char *verb)
{
    const struct schema_command *c;

    for (u32 i = 0; (c = schema_at(i)); i++) {
        if (!strcmp(c->noun, noun) && !strcmp(c->verb, verb))
            return c;
    }
    return NULL;
}

static const char *find_verb(const char *noun, const char *word, struct shell_error *err)
{
    struct match m = {0};
    const struct schema_command *c;
    char hint[48];

    for (u32 i = 0; (c = schema_at(i)); i++) {
        if (!strcmp(c->noun, noun))
            consider(&m, c->verb, word);
    }
    snprintf(hint, sizeof(hint), "help %s", noun);
    return pick(&m, "verb", word, hint, err);
}

/* `show X` is X list, or X show when words follow. */
static bool swap_show(struct shell_words *w, struct shell_error *err)
{
    const char *noun = find_noun(w->word[1], err);

    if (!noun)
        return false;
    const char *verb = w->count > 2 || !find_row(noun, "list") ? "show" : "list";
    if (!strcmp(verb, "show") && !find_row(noun, "show") && find_row(noun, "info"))
        verb = "info";
    w->word[0] = (char *)noun;
    w->word[1] = (char *)verb;
    return true;
}

bool shell_resolve(struct shell_words *w, struct shell_found *f, struct shell_error *err)
{
    *f = (struct shell_found){0};
    if (!w->count)
        return true;
    if (w->count > 1 && (!strcmp(w->word[1], "destroy") || !strcmp(w->word[0], "destroy")))
        return fail(err, "E_WORD", "vm stop (power cut) or vm delete (destroys data)",
                    "'destroy' means different things to different people");
    const struct alias *a = w->count > 1 ? aliases_find(w->word[0], w->word[1]) : NULL;
    if (a) {
        f->alias = a->native;
        w->word[0] = (char *)a->noun;
        w->word[1] = (char *)a->verb;
    } else if (w->count > 1 && !strcmp(w->word[0], "show") && !swap_show(w, err)) {
        return false;
    }
    f->noun = find_noun(w->word[0], err);
    if (!f->noun)
        return false;
    f->used = 1;
    f->command = find_row(f->noun, "");
    if (f->command)
        return true;
    if (w->count == 1) {
        if (w->ask)
            return true;
        char hint[64];

        snprintf(hint, sizeof(hint), "help %s", f->noun);
        return fail(err, "E_SYNTAX", hint, "'%s' needs a verb", f->noun);
    }
    const char *verb = find_verb(f->noun, w->word[1], err);
    if (!verb)
        return false;
    f->used = 2;
    f->command = find_row(f->noun, verb);
    return true;
}

static void upper(char *buf, u32 len, const char *name)
{
    u32 i = 0;

    for (; name[i] && i + 1 < len; i++)
        buf[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 0x20) : name[i];
    buf[i] = 0;
}

void shell_usage(const struct schema_command *c, char *buf, u32 len)
{
    static const char *const shapes[] = {
        [PLACE_OBJECT] = " %s",   [PLACE_OPTIONAL] = " [%s]", [PLACE_KEY] = " [%s=%s]",
        [PLACE_FLAG] = " [--%s]", [PLACE_REST] = " [%s ...]",
    };
    u32 n = (u32)snprintf(buf, len, "%s%s%s", c->noun, c->verb[0] ? " " : "", c->verb);

    for (const struct schema_arg *a = c->args; a && a->name && n < len; a++) {
        char big[32];

        upper(big, sizeof(big), a->name);
        if (a->place == PLACE_KEY)
            n += (u32)snprintf(buf + n, len - n, shapes[PLACE_KEY], a->name,
                               a->values ? a->values : big);
        else
            n += (u32)snprintf(buf + n, len - n, shapes[a->place],
                               a->place == PLACE_FLAG ? a->name : big);
    }
    if (c->conf && n < len)
        snprintf(buf + n, len - n, " [KEY=VALUE ...]");
}

static bool check_type(const struct schema_arg *a, const char *value, struct shell_error *err)
{
    struct conf_span v = conf_span_of(value);
    u64 n;

    if (a->type == ARG_NUMBER && !conf_parse_number(v, &n))
        return fail(err, "E_VALUE", "a number such as 10", "%s: '%.40s' is not a number", a->name,
                    value);
    if (a->type == ARG_SIZE && !conf_parse_size(v, &n))
        return fail(err, "E_VALUE", "a size such as 256M", "%s: '%.40s' is not a size", a->name,
                    value);
    if (a->type == ARG_ENUM) {
        for (const char *p = a->values; *p; p += *p == '|') {
            size_t len = strcspn(p, "|");

            if (len == v.len && !memcmp(p, value, len))
                return true;
            p += len;
        }
        return fail(err, "E_VALUE", a->values, "%s: '%.40s' is none of the values", a->name, value);
    }
    return true;
}

static bool add(struct schema_args *args, const char *name, const char *value,
                const struct schema_arg *a, struct shell_error *err)
{
    if (strlen(value) >= SCHEMA_VALUE)
        return fail(err, "E_VALUE", "a shorter one", "%.40s: the value is too long", name);
    if (args->count == SCHEMA_ARGS)
        return fail(err, "E_SYNTAX", "fewer arguments", "more than %d arguments", SCHEMA_ARGS);
    for (u32 i = 0; i < args->count; i++) {
        if (!strcmp(args->item[i].name, name))
            return fail(err, "E_SYNTAX", "give it once", "'%.40s' is given twice", name);
    }
    if (a && !check_type(a, value, err))
        return false;
    args->item[args->count].name = name;
    args->item[args->count++].value = value;
    return true;
}

static const struct schema_arg *positional(const struct schema_command *c, u32 i)
{
    for (const struct schema_arg *a = c->args; a && a->name; a++) {
        if (a->place != PLACE_OBJECT && a->place != PLACE_OPTIONAL && a->place != PLACE_REST)
            continue;
        if (i-- == 0)
            return a;
    }
    return NULL;
}

static bool conf_has_key(const struct conf_schema *s, const char *name)
{
    for (u32 i = 0; s && i < s->count; i++) {
        size_t n = strlen(s->keys[i].key);

        if (!strncmp(name, s->keys[i].key, n) && (!name[n] || name[n] == '.'))
            return true;
    }
    return false;
}

/* `--flag`, `--key=value` or `key=value`; *word is cut at the '='. */
static bool bind_named(const struct schema_command *c, char *word, struct schema_args *args,
                       struct shell_error *err)
{
    bool dashes = !strncmp(word, "--", 2);
    char *name = word + (dashes ? 2 : 0), *equals = strchr(name, '=');
    char hint[48];

    if (equals)
        *equals = 0;
    const struct schema_arg *a = schema_arg(c, name);
    if (a && a->place == PLACE_FLAG && dashes && !equals)
        return add(args, a->name, "yes", NULL, err);
    if (a && a->place == PLACE_FLAG)
        return fail(err, "E_SYNTAX", "--NAME", "'%.40s' is a flag without a value", name);
    if (a && a->place != PLACE_FLAG && equals)
        return add(args, a->name, equals + 1, a, err);
    if (a)
        return fail(err, "E_SYNTAX", "NAME=VALUE", "'%.40s' needs a value", name);
    if (equals && conf_has_key(c->conf, name))
        return add(args, name, equals + 1, NULL, err);
    snprintf(hint, sizeof(hint), "%s%s%s ?", c->noun, c->verb[0] ? " " : "", c->verb);
    return fail(err, "E_SYNTAX", hint, "'%.40s' is not an argument of %s%s%s", name, c->noun,
                c->verb[0] ? " " : "", c->verb);
}

/* Words from `from` on, joined by blanks in place: they lie one behind the other in w->text. */
static char *join(struct shell_words *w, u32 from)
{
    char *end = w->word[from] + strlen(w->word[from]);

    for (u32 i = from + 1; i < w->count; i++) {
        size_t n = strlen(w->word[i]);

        *end++ = ' ';
        memmove(end, w->word[i], n + 1);
        end += n;
    }
    return w->word[from];
}

bool shell_bind(struct shell_words *w, const struct shell_found *f, struct schema_args *args,
                struct shell_error *err)
{
    const struct schema_command *c = f->command;
    u32 place = 0;
    char usage[256];

    args->command = c;
    args->count = 0;
    shell_usage(c, usage, sizeof(usage));
    for (u32 i = f->used; i < w->count; i++) {
        char *word = w->word[i];
        const struct schema_arg *a = positional(c, place);

        if (a && a->place == PLACE_REST)
            return add(args, a->name, join(w, i), NULL, err);
        bool key = word[0] != '=' && strchr(word, '=');
        if ((!w->quoted[i] && !strncmp(word, "--", 2)) || key) {
            if (!bind_named(c, word, args, err))
                return false;
            continue;
        }
        if (!a)
            return fail(err, "E_SYNTAX", usage, "'%.40s' is one word too many", word);
        if (!add(args, a->name, word, a, err))
            return false;
        place++;
    }
    const struct schema_arg *missing = positional(c, place);
    if (missing && missing->place == PLACE_OBJECT && !args_text(args, missing->name))
        return fail(err, "E_SYNTAX", usage, "%s is missing", missing->name);
    return true;
}
