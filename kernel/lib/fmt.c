/* printf formatting: one pass over the format, one sink that counts what does not fit.  Called
 * from anywhere; no state. */
#include "kernel/lib/fmt.h"

struct sink {
    char *buf;
    u64 len, used;
};

struct spec {
    bool left, zero, upper, is_signed;
    int width, precision; /* -1: not given */
    int size;             /* of the integer argument in bytes */
    unsigned base;
};

static void put(struct sink *s, char c)
{
    if (s->used + 1 < s->len)
        s->buf[s->used] = c;
    s->used++;
}

static void pad(struct sink *s, char c, int n)
{
    while (n-- > 0)
        put(s, c);
}

static void put_text(struct sink *s, const struct spec *f, const char *text)
{
    int n = 0;
    if (!text)
        text = "(null)";
    while ((f->precision < 0 || n < f->precision) && text[n])
        n++;
    if (!f->left)
        pad(s, ' ', f->width - n);
    for (int i = 0; i < n; i++)
        put(s, text[i]);
    if (f->left)
        pad(s, ' ', f->width - n);
}

static void put_number(struct sink *s, const struct spec *f, u64 value, bool negative)
{
    const char *digits = f->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[20];
    int n = 0;

    do {
        text[n++] = digits[value % f->base];
        value /= f->base;
    } while (value);

    int zeros = MAX(f->precision - n, 0);
    int blanks = f->width - n - zeros - negative;
    if (f->zero && !f->left && f->precision < 0 && blanks > 0) {
        zeros = blanks;
        blanks = 0;
    }
    if (!f->left)
        pad(s, ' ', blanks);
    if (negative)
        put(s, '-');
    pad(s, '0', zeros);
    while (n > 0)
        put(s, text[--n]);
    if (f->left)
        pad(s, ' ', blanks);
}

static int parse_int(const char **p, va_list *ap)
{
    int v = 0;
    if (**p == '*') {
        (*p)++;
        return va_arg(*ap, int);
    }
    while (**p >= '0' && **p <= '9')
        v = v * 10 + (*(*p)++ - '0');
    return v;
}

static const char *parse_spec(const char *p, struct spec *f, va_list *ap)
{
    *f = (struct spec){.precision = -1, .size = 4, .base = 10};
    for (; *p == '-' || *p == '0'; p++) {
        f->left |= *p == '-';
        f->zero |= *p == '0';
    }
    f->width = parse_int(&p, ap);
    if (f->width < 0) {
        f->left = true;
        f->width = -f->width;
    }
    if (*p == '.') {
        p++;
        f->precision = parse_int(&p, ap);
    }
    for (; *p == 'h'; p++)
        f->size /= 2;
    for (; *p == 'l' || *p == 'z'; p++)
        f->size = 8;
    return p;
}

static void put_integer(struct sink *s, const struct spec *f, va_list *ap)
{
    u64 v = f->size == 8 ? va_arg(*ap, u64) : va_arg(*ap, u32);
    if (f->is_signed) {
        i64 n = f->size == 8 ? (i64)v : f->size == 4 ? (i32)v : f->size == 2 ? (i16)v : (i8)v;
        put_number(s, f, n < 0 ? -(u64)n : (u64)n, n < 0);
        return;
    }
    put_number(s, f, f->size == 8 ? v : v & BITS(f->size * 8 - 1, 0), false);
}

static void convert(struct sink *s, struct spec *f, char kind, va_list *ap)
{
    switch (kind) {
    case 'd':
    case 'i':
        f->is_signed = true;
        put_integer(s, f, ap);
        break;
    case 'X':
    case 'x':
        f->upper = kind == 'X';
        f->base = 16;
        put_integer(s, f, ap);
        break;
    case 'u':
        put_integer(s, f, ap);
        break;
    case 'p':
        f->base = 16;
        f->precision = 16;
        put_number(s, f, (u64)va_arg(*ap, void *), false);
        break;
    case 's':
        put_text(s, f, va_arg(*ap, const char *));
        break;
    case 'c':
        put(s, (char)va_arg(*ap, int));
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
