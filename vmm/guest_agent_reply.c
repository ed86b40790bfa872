/* Reading what a guest's agent answers; called by guest_agent.c. */
#include "vmm/guest_agent_reply.h"

#include <string.h>

struct text {
    const char *at, *end;
};

static void pass_spaces(struct text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t'))
        t->at++;
}

static bool take(struct text *t, char c)
{
    pass_spaces(t);
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

/* The contents of a string, escapes left as they are. */
static bool take_string(struct text *t, struct text *out)
{
    if (!take(t, '"'))
        return false;
    out->at = t->at;
    for (; t->at < t->end && *t->at != '"'; t->at++)
        if (*t->at == '\\' && ++t->at == t->end)
            return false;
    if (t->at == t->end)
        return false;
    out->end = t->at++;
    return true;
}

static bool is(const struct text *t, const char *word)
{
    return (u64)(t->end - t->at) == strlen(word) && !memcmp(t->at, word, strlen(word));
}

static void read_number(struct text *t, struct guest_agent_reply *out)
{
    u64 n = 0;
    pass_spaces(t);
    bool minus = t->at < t->end && *t->at == '-';
    t->at += minus;
    const char *first = t->at;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9' && t->at - first < 18; t->at++)
        n = n * 10 + (u64)(*t->at - '0');
    out->is_number = t->at > first && (t->at == t->end || *t->at == '}' || *t->at == ' ');
    out->number = minus ? -(i64)n : (i64)n;
}

/* The text of "desc" within the error's object. */
static void read_error(struct text *t, struct guest_agent_reply *out)
{
    struct text key, value;
    u32 n = 0;
    if (!take(t, '{'))
        return;
    while (take_string(t, &key) && take(t, ':') && take_string(t, &value)) {
        for (; is(&key, "desc") && value.at < value.end && n + 1 < sizeof(out->text); value.at++)
            out->text[n++] = *value.at >= ' ' && *value.at < 0x7f ? *value.at : '?';
        if (!take(t, ','))
            return;
    }
}

void guest_agent_read_reply(const char *line, u32 len, struct guest_agent_reply *out)
{
    struct text t = {line, line + len}, key;
    memset(out, 0, sizeof(*out));
    out->kind = GUEST_AGENT_OTHER;
    while (t.at < t.end && *t.at == (char)0xff) /* guest-sync-delimited begins with one */
        t.at++;
    if (!take(&t, '{') || !take_string(&t, &key) || !take(&t, ':'))
        return;
    if (is(&key, "return")) {
        out->kind = GUEST_AGENT_RETURN;
        read_number(&t, out);
    } else if (is(&key, "error")) {
        out->kind = GUEST_AGENT_ERROR;
        read_error(&t, out);
    }
}
