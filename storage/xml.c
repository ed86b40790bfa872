/* XML, one item after the other (XML 1.0, fifth edition, without document types); called by ovf.c.
 */
#include "storage/xml.h"

#include <string.h>

void xml_begin(struct xml *x, const char *text, u64 len)
{
    memset(x, 0, sizeof(*x));
    x->begin = x->at = text;
    x->end = text + len;
    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        x->at += 3;
}

u32 xml_line(const struct xml *x)
{
    u32 line = 1;

    for (const char *at = x->begin; at < x->at; at++)
        line += *at == '\n';
    return line;
}

const char *xml_attribute(const struct xml *x, const char *name)
{
    for (u32 i = 0; i < x->count; i++)
        if (!strcmp(x->attribute[i].name, name))
            return x->attribute[i].value;
    return NULL;
}

static enum xml_item bad(struct xml *x, const char *why)
{
    x->why = why;
    x->at = x->end;
    return XML_BAD;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct xml *x)
{
    while (x->at < x->end && is_space(*x->at))
        x->at++;
}

static bool starts(const struct xml *x, const char *text)
{
    u64 n = strlen(text);

    return (u64)(x->end - x->at) >= n && !memcmp(x->at, text, n);
}

/* Moves behind the next `text`. */
static bool skip_past(struct xml *x, const char *text)
{
    u64 n = strlen(text);

    for (; (u64)(x->end - x->at) >= n; x->at++) {
        if (!memcmp(x->at, text, n)) {
            x->at += n;
            return true;
        }
    }
    return false;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':' || (u8)c >= 0x80;
}

/* Without what is before a colon. */
static bool take_name(struct xml *x, char name[XML_NAME])
{
    const char *from = x->at;

    while (x->at < x->end && is_name(*x->at)) {
        if (*x->at == ':')
            from = x->at + 1;
        x->at++;
    }
    u64 n = (u64)(x->at - from);
    if (!n || n >= XML_NAME)
        return false;
    memcpy(name, from, n);
    name[n] = 0;
    return true;
}

static u32 put_utf8(u32 c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* "&#x41;" at `at`: 0 if it is no character. */
static u32 number(const char *at, const char *end)
{
    u32 base = 10, value = 0;

    if (at < end && *at == 'x') {
        base = 16;
        at++;
    }
    if (at == end || end - at > 7)
        return 0;
    for (; at < end; at++) {
        char c = *at >= 'A' && *at <= 'F' ? (char)(*at + 32) : *at;
        u32 digit = c >= '0' && c <= '9'                 ? (u32)(c - '0')
                    : base == 16 && c >= 'a' && c <= 'f' ? (u32)(c - 'a') + 10
                                                         : base;

        if (digit == base)
            return 0;
        value = value * base + digit;
    }
    return value < 0x110000 ? value : 0;
}

/* The entity at `at`, up to its semicolon; returns its bytes' number, 0: unknown. */
static u32 entity(const char *at, const char *semicolon, char out[4])
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    u64 n = (u64)(semicolon - at);

    for (u32 i = 0; i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].name) == n && !memcmp(known[i].name, at, n)) {
            out[0] = known[i].c;
            return 1;
        }
    }
    u32 c = n > 1 && *at == '#' ? number(at + 1, semicolon) : 0;
    return c ? put_utf8(c, out) : 0;
}

/* Text up to `stop`, entities replaced; what does not fit is cut. */
static bool take_text(struct xml *x, char stop, char value[XML_VALUE])
{
    u32 len = 0;

    while (x->at < x->end && *x->at != stop) {
        char out[4] = {*x->at};
        u32 n = 1;

        if (*x->at == '<')
            return false;
        if (*x->at == '&') {
            const char *semicolon = memchr(x->at, ';', (size_t)(x->end - x->at));

            n = semicolon ? entity(x->at + 1, semicolon, out) : 0;
            if (!n)
                return false;
            x->at = semicolon;
        }
        x->at++;
        if (!out[0])
            return false;
        if (len + n < XML_VALUE) {
            memcpy(value + len, out, n);
            len += n;
        }
    }
    value[len] = 0;
    return true;
}

static enum xml_item close_tag(struct xml *x)
{
    memcpy(x->name, x->open[x->depth - 1], XML_NAME);
    x->count = 0;
    x->closing = false;
    x->closed = true;
    return XML_CLOSE;
}

static enum xml_item open_tag(struct xml *x)
{
    if (!take_name(x, x->name))
        return bad(x, "a tag has no name, or a long one");
    if (x->depth == XML_DEPTH || (!x->depth && x->had_root))
        return bad(x, x->depth ? "elements are too deep" : "there is more than one root");
    x->had_root = true;
    memcpy(x->open[x->depth++], x->name, XML_NAME);
    for (x->count = 0;; x->count++) {
        skip_space(x);
        if (starts(x, ">") || starts(x, "/>"))
            break;
        if (x->count == XML_ATTRIBUTES || !take_name(x, x->attribute[x->count].name))
            return bad(x, "this is no attribute, or one too many");
        skip_space(x);
        if (!starts(x, "="))
            return bad(x, "an attribute has no value");
        x->at++;
        skip_space(x);
        char quote = x->at < x->end ? *x->at++ : 0;
        if ((quote != '"' && quote != '\'') || !take_text(x, quote, x->attribute[x->count].value) ||
            x->at == x->end)
            return bad(x, "an attribute's value is not in quotes, or not text");
        x->at++;
    }
    x->closing = *x->at == '/';
    x->at += x->closing ? 2 : 1;
    return XML_OPEN;
}

static enum xml_item end_tag(struct xml *x)
{
    char name[XML_NAME];

    x->at += 2;
    if (!take_name(x, name))
        return bad(x, "an end tag has no name");
    skip_space(x);
    if (!starts(x, ">") || !x->depth || strcmp(x->open[x->depth - 1], name))
        return bad(x, "an end tag does not belong here");
    x->at++;
    return close_tag(x);
}

static enum xml_item cdata(struct xml *x)
{
    const char *from = x->at + 9;

    x->at = from;
    if (!x->depth || !skip_past(x, "]]>"))
        return bad(x, "character data do not end");
    u64 n = MIN((u64)(x->at - 3 - from), (u64)XML_VALUE - 1);
    memcpy(x->value, from, n);
    x->value[n] = 0;
    return XML_TEXT;
}

enum xml_item xml_next(struct xml *x)
{
    if (x->why)
        return XML_BAD;
    x->depth -= x->closed;
    x->closed = false;
    if (x->closing)
        return close_tag(x);
    for (;;) {
        if (!x->depth)
            skip_space(x);
        if (x->at == x->end)
            return x->depth || !x->had_root ? bad(x, "it ends too early") : XML_END;
        if (*x->at != '<') {
            if (!x->depth || !take_text(x, '<', x->value))
                return bad(x, "this text does not belong here");
            return XML_TEXT;
        }
        if (starts(x, "<!--") || starts(x, "<?")) {
            if (!skip_past(x, starts(x, "<?") ? "?>" : "-->"))
                return bad(x, "a comment does not end");
            continue;
        }
        if (starts(x, "<![CDATA["))
            return cdata(x);
        if (starts(x, "<!"))
            return bad(x, "document types are not allowed");
        if (starts(x, "</"))
            return end_tag(x);
        x->at++;
        return open_tag(x);
    }
}
