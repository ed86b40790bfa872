/* The MAC table of a switch; called for each frame, on the thread of the control partition. */
#include "net/mac_table.h"

#include <string.h>

void mac_table_init(struct mac_table *t, struct mac_entry *entries, u32 buckets, u64 seed,
                    u64 age_ns)
{
    *t = (struct mac_table){.entries = entries, .buckets = buckets, .seed = seed | 1};
    mac_table_set_age(t, age_ns);
}

void mac_table_set_age(struct mac_table *t, u64 age_ns)
{
    t->age = MAX(MAC_TABLE_TICK(age_ns), 1u);
}

static struct mac_entry *bucket(const struct mac_table *t, u64 key)
{
    u64 h = (key ^ t->seed >> 7) * (t->seed | 1);

    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15ull;
    return &t->entries[(h >> 40 & (t->buckets - 1)) * MAC_TABLE_WAYS];
}

static bool gone(const struct mac_table *t, const struct mac_entry *e, u32 tick)
{
    return e->kind == MAC_LEARNED && tick - e->seen > t->age;
}

static struct mac_entry *search(const struct mac_table *t, u64 key)
{
    struct mac_entry *b = bucket(t, key);

    for (u32 i = 0; i < MAC_TABLE_WAYS; i++) {
        if (b[i].key == key)
            return &b[i];
    }
    return NULL;
}

static void release(struct mac_table *t, struct mac_entry *e)
{
    if (e->kind == MAC_LEARNED)
        t->by_port[e->port]--;
    memset(e, 0, sizeof(*e));
    t->used--;
}

static void expire(struct mac_table *t, struct mac_entry *e)
{
    t->aged++;
    release(t, e);
}

struct mac_entry *mac_table_find(const struct mac_table *t, u64 key, u32 tick)
{
    struct mac_entry *e = search(t, key);

    return e && !gone(t, e, tick) ? e : NULL;
}

static struct mac_entry *free_place(const struct mac_table *t, u64 key)
{
    struct mac_entry *b = bucket(t, key);

    for (u32 i = 0; i < MAC_TABLE_WAYS; i++) {
        if (!b[i].key)
            return &b[i];
    }
    return NULL;
}

static struct mac_entry *add(struct mac_table *t, u64 key, u16 port, u32 tick, u32 limit)
{
    struct mac_entry *b = bucket(t, key), *e = free_place(t, key);

    for (u32 i = 0; !e && i < MAC_TABLE_WAYS; i++) {
        if (gone(t, &b[i], tick)) {
            expire(t, &b[i]);
            e = &b[i];
        }
    }
    if (!e || t->by_port[port] >= limit) {
        t->full++;
        return NULL;
    }
    *e = (struct mac_entry){.key = key, .seen = tick, .port = port, .kind = MAC_LEARNED};
    t->by_port[port]++;
    t->used++;
    t->learned++;
    return e;
}

struct mac_entry *mac_table_learn(struct mac_table *t, u64 key, u16 port, u32 tick, u32 limit)
{
    struct mac_entry *e = search(t, key);

    if (e && gone(t, e, tick)) {
        expire(t, e);
        e = NULL;
    }
    if (!e)
        return add(t, key, port, tick, limit);
    if (e->kind != MAC_LEARNED)
        return e;
    if (e->port != port) {
        if (t->by_port[port] >= limit)
            return NULL;
        t->by_port[e->port]--;
        t->by_port[port]++;
        e->port = port;
        t->moved++;
    }
    e->seen = tick;
    return e;
}

bool mac_table_set(struct mac_table *t, u64 key, u16 port, enum mac_kind kind)
{
    struct mac_entry *b = bucket(t, key), *e = search(t, key);

    if (e && e->kind != MAC_LEARNED)
        return false;
    if (!e)
        e = free_place(t, key);
    /* What is set by hand is worth more than what was learned. */
    for (u32 i = 0; !e && i < MAC_TABLE_WAYS; i++)
        e = b[i].kind == MAC_LEARNED ? &b[i] : NULL;
    if (!e)
        return false;
    if (e->key)
        release(t, e);
    *e = (struct mac_entry){.key = key, .port = port, .kind = (u8)kind};
    t->used++;
    return true;
}

bool mac_table_remove(struct mac_table *t, u64 key)
{
    struct mac_entry *e = search(t, key);

    if (e)
        release(t, e);
    return e != NULL;
}

void mac_table_flush_port(struct mac_table *t, u16 port, u32 kinds)
{
    for (u32 i = 0; i < mac_table_size(t); i++) {
        struct mac_entry *e = &t->entries[i];

        if (e->key && e->port == port && kinds & BIT(e->kind))
            release(t, e);
    }
}

void mac_table_sweep(struct mac_table *t, u32 *cursor, u32 count, u32 tick)
{
    for (; count; count--, ++*cursor) {
        struct mac_entry *b = &t->entries[(*cursor & (t->buckets - 1)) * MAC_TABLE_WAYS];

        for (u32 i = 0; i < MAC_TABLE_WAYS; i++) {
            if (gone(t, &b[i], tick))
                expire(t, &b[i]);
        }
    }
}

const struct mac_entry *mac_table_at(const struct mac_table *t, u32 i, u32 tick)
{
    const struct mac_entry *e = &t->entries[i];

    return e->key && !gone(t, e, tick) ? e : NULL;
}

u32 mac_table_size(const struct mac_table *t)
{
    return t->buckets * MAC_TABLE_WAYS;
}
