/* printf formatting: one pass over the format, one sink that counts what does not fit.  Called
 * from anywhere; no state. */
#include "kernel/lib/fmt.h"

struct sink {
    char *buf;
    u64 len, used;
};

struct spec {
    bool zero, wide;      /* pad with 0; 64 bits */
    int width, precision; /* precision: -1: not given */
};

static void put(struct sink *s, char c)
{
    if (s->used + 1 < s->len)
        s->buf[s->used] = c;
    s->used++;
}

static void put_padded(struct sink *s, const char *text, int n, int width, char fill)
{
    for (; width > n; width--)
        put(s, fill);
    for (int i = 0; i < n; i++)
        put(s, text[i]);
}

static void put_text(struct sink *s, const struct spec *f, const char *text)
{
    int n = 0;
    if (!text)
        text = "(null)";
    while (n != f->precision && text[n])
        n++;
    put_padded(s, text, n, f->width, ' ');
}

static void put_number(struct sink *s, const struct spec *f, u64 value, unsigned base, bool minus)
{
    char text[24];
    int first = sizeof(text);

    do {
        text[--first] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (minus)
        text[--first] = '-';
    put_padded(s, text + first, (int)sizeof(text) - first, f->width, f->zero ? '0' : ' ');
}

static int parse_int(const char **p)
{
    int v = 0;
    while (**p >= '0' && **p <= '9')
        v = v * 10 + (*(*p)++ - '0');
    return v;
}

static const char *parse_spec(const char *p, struct spec *f, va_list *ap)
{
    *f = (struct spec){.zero = *p == '0', .precision = -1};
    f->width = parse_int(&p);
    if (p[0] == '.' && p[1] == '*') {
        p += 2;
        f->precision = va_arg(*ap, int);
    } else if (p[0] == '.') {
        p++;
        f->precision = parse_int(&p);
    }
    for (; *p == 'l' || *p == 'z'; p++)
        f->wide = true;
    return p;
}

static void convert(struct sink *s, struct spec *f, char kind, va_list *ap)
{
    switch (kind) {
    case 'd': {
        i64 n = f->wide ? va_arg(*ap, i64) : va_arg(*ap, i32);
        put_number(s, f, n < 0 ? -(u64)n : (u64)n, 10, n < 0);
        break;
    }
    case 'u':
    case 'x':
        put_number(s, f, f->wide ? va_arg(*ap, u64) : va_arg(*ap, u32), kind == 'x' ? 16 : 10,
                   false);
        break;
    case 's':
        put_text(s, f, va_arg(*ap, const char *));
        break;
    default:
        put(s, kind);
    }
}

u64 fmt_vsnprintf(char *buf, u64 len, const char *format, va_list ap)
{
    struct sink s = {.buf = buf, .len = len};
    struct spec f;
    va_list args;

    va_copy(args, ap); /* an array type on this ABI: only a copy has an address of type va_list * */
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            put(&s, *p);
            continue;
        }
        p = parse_spec(p + 1, &f, &args);
        if (!*p)
            break;
        convert(&s, &f, *p, &args);
    }
    va_end(args);
    if (len)
        buf[MIN(s.used, len - 1)] = 0;
    return s.used;
}

u64 fmt_snprintf(char *buf, u64 len, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    u64 n = fmt_vsnprintf(buf, len, format, ap);
    va_end(ap);
    return n;
}
