/* Binary search in an image's symbol table.  Called by panic.c for the kernel and by control.c
 * for the control partition, whose table is foreign memory: every read is bounded. */
#include "kernel/ksym.h"

#include "kernel/lib/fmt.h"

struct table {
    ksym_read *read;
    u64 at, len;
    struct image_symbols head;
};

static bool get(const struct table *t, u64 offset, void *to, u64 len)
{
    return offset <= t->len && len <= t->len - offset && t->read(to, t->at + offset, len);
}

static bool word(const struct table *t, u64 index, u32 *value)
{
    return get(t, sizeof(t->head) + index * sizeof(u32), value, sizeof(u32));
}

/* Last symbol at or below `offset`; false: none. */
static bool search(const struct table *t, u32 offset, u32 *found, u32 *start)
{
    u32 low = 0, high = t->head.count, value;
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (!word(t, middle, &value))
            return false;
        if (value <= offset) {
            *start = value;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low - 1;
    return low > 0;
}

static bool copy_name(const struct table *t, u32 index, char *name, u64 len)
{
    u64 strings = sizeof(t->head) + 2ull * t->head.count * sizeof(u32);
    u32 offset;
    if (!word(t, (u64)t->head.count + index, &offset))
        return false;
    for (u64 i = 0; i < len; i++) {
        if (!get(t, strings + offset + i, &name[i], 1))
            return false;
        if (!name[i])
            return true;
        if (name[i] < ' ' || name[i] > '~')
            name[i] = '?';
    }
    name[len - 1] = 0;
    return true;
}

void ksym_name(ksym_read *read, u64 table, u64 len, u64 address, char *text)
{
    struct table t = {.read = read, .at = table, .len = len};
    char name[KSYM_TEXT - 16];
    u32 index, start = 0;

    text[0] = '?';
    text[1] = 0;
    if (!get(&t, 0, &t.head, sizeof(t.head)) || t.head.magic != IMAGE_SYMBOLS_MAGIC)
        return;
    u64 offset = address - t.head.base;
    if (address < t.head.base || offset > ~0u || !search(&t, (u32)offset, &index, &start) ||
        !copy_name(&t, index, name, sizeof(name)))
        return;
    fmt_snprintf(text, KSYM_TEXT, "%s+0x%lx", name, offset - start);
}
