/* The configuration dialect: cutting text into entries, checking values against a schema.
 * Pure; called by control/config.c and by the commands that take configuration keys. */
#include "control/rt/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

static struct conf_span trim(struct conf_span s)
{
    while (s.len && is_blank(s.at[0]))
        s.at++, s.len--;
    while (s.len && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

struct conf_span conf_span_of(const char *text)
{
    return (struct conf_span){text, (u32)strlen(text)};
}

bool conf_span_is(struct conf_span s, const char *text)
{
    return strlen(text) == s.len && memcmp(s.at, text, s.len) == 0;
}

/* A value as it goes into a message: short and printable, whatever it was. */
static const char *shown(struct conf_span s, char buf[40])
{
    u32 n = MIN(s.len, 32);

    for (u32 i = 0; i < n; i++)
        buf[i] = s.at[i] >= 0x20 && s.at[i] < 0x7f ? s.at[i] : '?';
    memcpy(buf + n, s.len > n ? "..." : "", s.len > n ? 4 : 1);
    return buf;
}

static bool fail(struct conf_error *err, const char *hint, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool fail(struct conf_error *err, const char *hint, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    snprintf(err->hint, sizeof(err->hint), "%s", hint);
    return false;
}

void conf_open(struct conf_reader *r, const char *text, u64 len)
{
    *r = (struct conf_reader){.text = text, .len = (u32)MIN(len, CONF_TEXT_MAX)};
}

/* "[kind name]" without the brackets. */
static bool read_section(struct conf_span s, struct conf_line *out, struct conf_error *err)
{
    const char *hint = "[vm NAME]";

    out->kind = s; /* a malformed header is still the start of another section */
    if (s.at[s.len - 1] != ']')
        return fail(err, hint, "the section has no closing ']'");
    s = trim((struct conf_span){s.at + 1, s.len - 2});
    u32 kind = 0;
    while (kind < s.len && is_word_char(s.at[kind]))
        kind++;
    out->kind = (struct conf_span){s.at, kind};
    out->name = trim((struct conf_span){s.at + kind, s.len - kind});
    for (u32 i = 0; i < out->name.len; i++) {
        if (!is_word_char(out->name.at[i]))
            return fail(err, hint, "a section's name has letters, digits, '-', '_' and '.' only");
    }
    return kind ? true : fail(err, hint, "the section has no kind");
}

static bool read_entry(struct conf_span s, struct conf_line *out, struct conf_error *err)
{
    const char *hint = "KEY: VALUE,SUB=VALUE";
    char buf[40];
    u32 key = 0;

    while (key < s.len && is_word_char(s.at[key]))
        key++;
    out->key = (struct conf_span){s.at, key};
    struct conf_span rest = trim((struct conf_span){s.at + key, s.len - key});
    if (!key || !rest.len || rest.at[0] != ':')
        return fail(err, hint, "'%s' is not a 'key: value' line", shown(s, buf));
    out->value = trim((struct conf_span){rest.at + 1, rest.len - 1});
    return true;
}

/* A comment starts the line or follows a blank. */
static struct conf_span strip_comment(struct conf_span s)
{
    for (u32 i = 0; i < s.len; i++) {
        if (s.at[i] == '#' && (i == 0 || is_blank(s.at[i - 1])))
            s.len = i;
    }
    return trim(s);
}

static bool check_bytes(struct conf_span s, struct conf_error *err)
{
    if (s.len > CONF_LINE_MAX)
        return fail(err, "split it", "the line is longer than %d bytes", CONF_LINE_MAX);
    for (u32 i = 0; i < s.len; i++) {
        u8 c = (u8)s.at[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return fail(err, "save the file as plain text", "byte 0x%02x at column %u", c, i + 1);
    }
    return true;
}

enum conf_item conf_next(struct conf_reader *r, struct conf_line *out, struct conf_error *err)
{
    while (r->at < r->len) {
        const char *start = r->text + r->at;
        const char *end = memchr(start, '\n', r->len - r->at);
        struct conf_span s = {start, end ? (u32)(end - start) : r->len - r->at};

        r->at += s.len + (end ? 1 : 0);
        r->line++;
        if (s.len && s.at[s.len - 1] == '\r')
            s.len--;
        *out = (struct conf_line){.line = r->line};
        *err = (struct conf_error){.line = r->line};
        if (!check_bytes(s, err))
            return CONF_BAD;
        s = strip_comment(s);
        if (!s.len)
            continue;
        if (s.at[0] == '[')
            return read_section(s, out, err) ? CONF_SECTION : CONF_BAD;
        return read_entry(s, out, err) ? CONF_ENTRY : CONF_BAD;
    }
    return CONF_END;
}

bool conf_parse_number(struct conf_span s, u64 *out)
{
    u64 value = 0, base = 10;

    if (s.len > 2 && s.at[0] == '0' && (s.at[1] | 0x20) == 'x') {
        base = 16;
        s.at += 2, s.len -= 2;
    }
    if (!s.len)
        return false;
    for (u32 i = 0; i < s.len; i++) {
        char c = s.at[i];
        u64 digit = c >= '0' && c <= '9'   ? (u64)(c - '0')
                    : c >= 'a' && c <= 'f' ? (u64)(c - 'a' + 10)
                    : c >= 'A' && c <= 'F' ? (u64)(c - 'A' + 10)
                                           : 99;

        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool conf_parse_size(struct conf_span s, u64 *out)
{
    static const char units[] = "KMGT";
    u64 scale = 1, value;

    if (s.len && s.at[s.len - 1]) {
        const char *unit = strchr(units, s.at[s.len - 1] & ~0x20);

        if (unit && (s.at[s.len - 1] | 0x20) >= 'a') {
            scale = 1ull << (10 * (unit - units + 1));
            s.len--;
        }
    }
    return conf_parse_number(s, &value) && !__builtin_mul_overflow(value, scale, out);
}

void conf_format_size(u64 bytes, char *buf, u32 len)
{
    static const char units[] = " KMGT";
    u32 unit = 0;

    while (bytes && bytes % 1024 == 0 && unit < 4)
        bytes /= 1024, unit++;
    if (unit)
        snprintf(buf, len, "%llu%c", (unsigned long long)bytes, units[unit]);
    else
        snprintf(buf, len, "%llu", (unsigned long long)bytes);
}

static bool store_number(const struct conf_key *k, u8 *at, struct conf_span v,
                         struct conf_error *err)
{
    u64 n;
    char buf[40], low[24], high[24], hint[80];
    bool size = k->type == CONF_SIZE;

    snprintf(hint, sizeof(hint), "%s", k->example);
    if (!(size ? conf_parse_size(v, &n) : conf_parse_number(v, &n)))
        return fail(err, hint, "'%s' is not a %s", shown(v, buf), size ? "size" : "number");
    if (n < k->min || n > k->max) {
        conf_format_size(k->min, low, sizeof(low));
        conf_format_size(k->max, high, sizeof(high));
        if (!size) {
            snprintf(low, sizeof(low), "%llu", (unsigned long long)k->min);
            snprintf(high, sizeof(high), "%llu", (unsigned long long)k->max);
        }
        return fail(err, hint, "%s is not between %s and %s", shown(v, buf), low, high);
    }
    memcpy(at, &n, k->size); /* little-endian, and max fits */
    return true;
}

static bool store_bool(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    char buf[40];
    bool yes = conf_span_is(v, "yes") || conf_span_is(v, "true") || conf_span_is(v, "1") ||
               conf_span_is(v, "on");

    if (!yes && !conf_span_is(v, "no") && !conf_span_is(v, "false") && !conf_span_is(v, "0") &&
        !conf_span_is(v, "off"))
        return fail(err, k->example, "'%s' is neither yes nor no", shown(v, buf));
    memcpy(at, &yes, sizeof(yes));
    return true;
}

static bool store_text(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    char buf[40];

    if (v.len >= k->size)
        return fail(err, k->example, "longer than %u bytes", k->size - 1);
    for (u32 i = 0; i < v.len && k->type != CONF_TEXT; i++) {
        if (!is_word_char(v.at[i]) && !(k->type == CONF_PATH && v.at[i] == '/'))
            return fail(err, k->example, "'%s' has other than letters, digits and -_.%s",
                        shown(v, buf), k->type == CONF_PATH ? "/" : "");
    }
    memset(at, 0, k->size);
    memcpy(at, v.at, v.len);
    if (k->type == CONF_PATH && v.len && (v.at[0] == '/' || strstr((char *)at, ".."))) {
        memset(at, 0, k->size);
        return fail(err, k->example, "'%s' leaves the folder of the image", shown(v, buf));
    }
    return true;
}

/* "ds1:web/d.qcow2".  Whether there is such a store and file is asked when it is opened. */
static bool store_file(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    const char *colon = memchr(v.at, ':', v.len);
    u32 name = colon ? (u32)(colon - v.at) : 0, skip = name + 1;
    char buf[40];
    bool ok = name && !memchr(v.at, '/', name);

    while (ok && skip < v.len && v.at[skip] == '/')
        skip++;
    ok = ok && skip < v.len && v.at[v.len - 1] != '/';
    for (u32 i = 0; ok && i < v.len; i++)
        ok = is_word_char(v.at[i]) || i == name || (v.at[i] == '/' && i > name);
    for (u32 i = skip; ok && i + 1 < v.len; i++)
        ok = !(v.at[i] == '/' && v.at[i + 1] == '/') && !(v.at[i] == '.' && v.at[i + 1] == '.');
    if (v.len && !ok)
        return fail(err, k->example, "'%s' is not STORE:PATH", shown(v, buf));
    if (v.len - (skip - name - 1) >= k->size)
        return fail(err, k->example, "longer than %u bytes", k->size - 1);
    memset(at, 0, k->size);
    if (v.len) {
        memcpy(at, v.at, name + 1);
        memcpy(at + name + 1, v.at + skip, v.len - skip);
    }
    return true;
}

static bool store_enum(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    const char *p = k->values;
    char buf[40];

    for (u32 i = 0; *p; i++) {
        u32 n = (u32)strcspn(p, "|");

        if (n == v.len && memcmp(p, v.at, n) == 0) {
            memcpy(at, &i, sizeof(i));
            return true;
        }
        p += n;
        p += *p == '|';
    }
    return fail(err, k->values, "'%s' is none of the values", shown(v, buf));
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* A station's own address: no group, not zero. */
static bool store_mac(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    u64 mac = 0;
    char buf[40];
    bool ok = v.len == 17;

    for (u32 i = 0; ok && i < v.len; i++) {
        int digit = hex_digit(v.at[i]);

        if (i % 3 == 2)
            ok = v.at[i] == ':' || v.at[i] == '-';
        else if ((ok = digit >= 0))
            mac = mac << 4 | (u64)digit;
    }
    ok = ok && mac && !(mac >> 40 & 1);
    if (conf_span_is(v, "auto"))
        mac = 0;
    else if (!ok)
        return fail(err, k->example, "'%s' is not the address of a station", shown(v, buf));
    memcpy(at, &mac, sizeof(mac));
    return true;
}

/* "0-3+5", "any" */
static bool store_cpus(const struct conf_key *k, u8 *at, struct conf_span v, struct conf_error *err)
{
    u64 mask = 0;
    char buf[40];
    struct conf_span rest = v;

    if (conf_span_is(v, "any"))
        rest.len = 0;
    else if (!v.len)
        return fail(err, k->example, "no CPU is named");
    while (rest.len) {
        const char *plus = memchr(rest.at, '+', rest.len);
        struct conf_span part = {rest.at, plus ? (u32)(plus - rest.at) : rest.len};
        const char *dash = memchr(part.at, '-', part.len);
        struct conf_span low = {part.at, dash ? (u32)(dash - part.at) : part.len};
        struct conf_span high = dash ? (struct conf_span){dash + 1, part.len - low.len - 1} : low;
        u64 first, last;

        if (!conf_parse_number(low, &first) || !conf_parse_number(high, &last) || first > last ||
            last > 63)
            return fail(err, k->example, "'%s' is not a list of CPUs", shown(v, buf));
        mask |= BITS(last, first);
        rest.at += part.len + (plus ? 1 : 0);
        rest.len -= part.len + (plus ? 1 : 0);
        if (plus && !rest.len)
            return fail(err, k->example, "'%s' ends in '+'", shown(v, buf));
    }
    memcpy(at, &mask, sizeof(mask));
    return true;
}

static bool (*const stores[])(const struct conf_key *k, u8 *at, struct conf_span v,
                              struct conf_error *err) = {
    [CONF_NUMBER] = store_number, [CONF_SIZE] = store_number, [CONF_BOOL] = store_bool,
    [CONF_WORD] = store_text,     [CONF_PATH] = store_text,   [CONF_TEXT] = store_text,
    [CONF_ENUM] = store_enum,     [CONF_CPUS] = store_cpus,   [CONF_MAC] = store_mac,
    [CONF_STORE] = store_file,
};

static const struct conf_key *find_key(const struct conf_schema *s, struct conf_span key,
                                       struct conf_span sub, bool *key_known)
{
    *key_known = false;
    for (u32 i = 0; i < s->count; i++) {
        const struct conf_key *k = &s->keys[i];

        if (!conf_span_is(key, k->key))
            continue;
        *key_known = true;
        if (sub.len ? (k->sub && conf_span_is(sub, k->sub)) : !k->sub)
            return k;
    }
    return NULL;
}

/* The keys (or a key's subs) as a hint. */
static void list_keys(const struct conf_schema *s, struct conf_span key, bool subs, char *buf,
                      u32 len)
{
    u32 n = 0;

    buf[0] = 0;
    for (u32 i = 0; i < s->count && n < len; i++) {
        const struct conf_key *k = &s->keys[i];
        const char *name = subs ? k->sub : k->key;

        if (subs ? (!k->sub || !conf_span_is(key, k->key)) : k->sub != NULL)
            continue;
        n += (u32)snprintf(buf + n, len - n, "%s%s", n ? ", " : "", name);
    }
}

static bool set_one(const struct conf_schema *s, void *target, struct conf_span key,
                    struct conf_span sub, struct conf_span value, struct conf_error *err)
{
    bool known;
    char buf[40], hint[160];
    const struct conf_key *k = find_key(s, key, sub, &known);

    snprintf(err->key, sizeof(err->key), "%.*s%s%.*s", (int)MIN(key.len, 18), key.at,
             sub.len ? "." : "", (int)MIN(sub.len, 18), sub.at ? sub.at : "");
    if (!k) {
        list_keys(s, key, known, hint, sizeof(hint));
        if (known && !hint[0])
            snprintf(hint, sizeof(hint), "leave it out");
        if (known)
            return fail(err, hint, "unknown part '%s'", shown(sub, buf));
        return fail(err, hint, "unknown key");
    }
    return stores[k->type](k, (u8 *)target + k->offset, value, err);
}

bool conf_set(const struct conf_schema *s, void *target, struct conf_span key,
              struct conf_span value, struct conf_error *err)
{
    const struct conf_span none = {0};
    bool known, first;
    const struct conf_key *k = find_key(s, key, none, &known);

    if (k ? k->type == CONF_TEXT : !known)
        return set_one(s, target, key, none, value, err);
    first = k; /* a key without a value of its own begins with its first part */
    for (;;) {
        const char *comma = memchr(value.at, ',', value.len);
        struct conf_span part = {value.at, comma ? (u32)(comma - value.at) : value.len};
        const char *equals = first ? NULL : memchr(part.at, '=', part.len);
        struct conf_span sub = none, v = trim(part);

        if (!first && !equals) {
            char buf[40], subs[160];

            snprintf(err->key, sizeof(err->key), "%.*s", (int)MIN(key.len, 36), key.at);
            list_keys(s, key, true, subs, sizeof(subs));
            return fail(err, k ? k->example : subs, "'%s' is not SUB=VALUE", shown(part, buf));
        }
        if (equals) {
            sub = trim((struct conf_span){part.at, (u32)(equals - part.at)});
            v = trim((struct conf_span){equals + 1, part.len - (u32)(equals - part.at) - 1});
        }
        if (equals && !sub.len)
            sub = (struct conf_span){"?", 1};
        if (!set_one(s, target, key, sub, v, err))
            return false;
        if (!comma)
            return true;
        value.len -= (u32)(comma + 1 - value.at);
        value.at = comma + 1;
        first = false;
    }
}

bool conf_set_text(const struct conf_schema *s, void *target, const char *key, const char *value,
                   struct conf_error *err)
{
    const char *dot = strchr(key, '.');

    *err = (struct conf_error){0};
    if (!dot)
        return conf_set(s, target, conf_span_of(key), conf_span_of(value), err);
    return set_one(s, target, (struct conf_span){key, (u32)(dot - key)}, conf_span_of(dot + 1),
                   conf_span_of(value), err);
}

static void show_cpus(u64 mask, char *buf, u32 len)
{
    u32 n = 0;

    snprintf(buf, len, "any");
    for (u32 i = 0; i < 64 && n < len; i++) {
        u32 last = i;

        if (!(mask & BIT(i)))
            continue;
        while (last < 63 && (mask & BIT(last + 1)))
            last++;
        n += (u32)snprintf(buf + n, len - n, last > i ? "%s%u-%u" : "%s%u", n ? "+" : "", i, last);
        i = last;
    }
}

static void show_mac(u64 mac, char *buf, u32 len)
{
    if (mac)
        snprintf(buf, len, "%02x:%02x:%02x:%02x:%02x:%02x", (u32)(mac >> 40 & 0xff),
                 (u32)(mac >> 32 & 0xff), (u32)(mac >> 24 & 0xff), (u32)(mac >> 16 & 0xff),
                 (u32)(mac >> 8 & 0xff), (u32)(mac & 0xff));
    else
        snprintf(buf, len, "auto");
}

void conf_show(const struct conf_key *k, const void *target, char *buf, u32 len)
{
    const u8 *at = (const u8 *)target + k->offset;
    u64 n = 0;
    u32 narrow = 0;
    const char *p = k->values;

    if (k->type == CONF_NUMBER || k->type == CONF_SIZE || k->type == CONF_CPUS ||
        k->type == CONF_MAC)
        memcpy(&n, at, MIN(k->size, sizeof(n)));
    switch (k->type) {
    case CONF_NUMBER:
        snprintf(buf, len, "%llu", (unsigned long long)n);
        break;
    case CONF_SIZE:
        conf_format_size(n, buf, len);
        break;
    case CONF_BOOL:
        snprintf(buf, len, "%s", *at ? "yes" : "no");
        break;
    case CONF_WORD:
    case CONF_PATH:
    case CONF_STORE:
    case CONF_TEXT:
        snprintf(buf, len, "%.*s", (int)k->size, (const char *)at);
        break;
    case CONF_ENUM:
        memcpy(&narrow, at, sizeof(narrow));
        for (; narrow && *p; p += *p == '|', narrow--)
            p += strcspn(p, "|");
        snprintf(buf, len, "%.*s", (int)strcspn(p, "|"), p);
        break;
    case CONF_MAC:
        show_mac(n, buf, len);
        break;
    case CONF_CPUS:
        show_cpus(n, buf, len);
        break;
    }
}

bool conf_key_numbered(const struct conf_key *k, u32 *n)
{
    char last = k->key[strlen(k->key) - 1];

    *n = (u32)(last - '0');
    return k->sub && last >= '0' && last <= '9';
}

void conf_format_error(const struct conf_error *e, const char *file, char *buf, u32 len)
{
    char where[80] = "";

    if (file && e->line)
        snprintf(where, sizeof(where), "%.48s:%u: ", file, e->line);
    else if (file)
        snprintf(where, sizeof(where), "%.48s: ", file);
    snprintf(buf, len, "E_CONFIG: %s%s%s%s. Try: %s", where, e->key, e->key[0] ? ": " : "", e->text,
             e->hint);
}
