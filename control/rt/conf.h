/* The configuration dialect: `key: value,sub=value` lines, `#` comments, `[kind name]` sections.
 *
 * Pure.  conf_next() cuts a text into sections and entries; conf_set() checks one value against
 * a schema table and stores it into the struct that the table describes.  The same tables give
 * the shell its completion and help.  The text is hostile: sizes are bounded, nothing is assumed
 * terminated. */
#pragma once

#include "kernel/abi/types.h"

#define CONF_TEXT_MAX (64 * KIB)
#define CONF_LINE_MAX 1024

struct conf_span {
    const char *at;
    u32 len;
};

struct conf_error {
    u32 line;       /* 0: not in a file */
    char key[40];   /* "cpu" or "cpu.weight"; "" when the line has none */
    char text[160]; /* "'x' is not a number" */
    char hint[160]; /* what to try */
};

enum conf_type {
    CONF_NUMBER, /* u32 in min..max */
    CONF_SIZE,   /* u64 bytes; "256M"; in min..max */
    CONF_BOOL,   /* bool; yes or no */
    CONF_WORD,   /* char[]; letters, digits, - _ . */
    CONF_PATH,   /* char[]; as WORD and '/'; no "..", not absolute */
    CONF_STORE,  /* char[]; "store:dir/file", a slash after the colon is dropped; "" is none */
    CONF_TEXT,   /* char[]; the rest of the line as it is: commas belong to it */
    CONF_ENUM,   /* u32; index in `values`, "a|b|c" */
    CONF_MAC,    /* u64, the first byte on top; "06:42:48:00:00:01", "auto" is 0 */
    CONF_CPUS,   /* u64 mask; "0-3,5" is written 0-3+5 since a comma ends a value */
};

struct conf_key { /* one row a value; the row with sub == NULL is the value right after "key:" */
    const char *key;
    const char *sub;
    enum conf_type type;
    u32 offset, size; /* of the member in the target struct */
    u64 min, max;
    const char *values; /* CONF_ENUM */
    const char *help;
    const char *example; /* "256M" */
};

struct conf_schema {
    const char *kind; /* "vm" */
    const struct conf_key *keys;
    u32 count;
};

#define CONF_MEMBER(type, m) .offset = offsetof(type, m), .size = sizeof(((type *)0)->m)

enum conf_item { CONF_END, CONF_SECTION, CONF_ENTRY, CONF_BAD };

struct conf_reader {
    const char *text;
    u32 len, at, line;
};

struct conf_line {
    u32 line;
    struct conf_span kind, name; /* CONF_SECTION: [kind name] */
    struct conf_span key, value; /* CONF_ENTRY; value without comment and outer blanks */
};

void conf_open(struct conf_reader *r, const char *text, u64 len);
/* The next section or entry.  CONF_BAD: this line is malformed (*err says how; out->kind.at is set
 * if it began a section); reading may go on with the next one. */
enum conf_item conf_next(struct conf_reader *r, struct conf_line *out, struct conf_error *err);

/* Stores an entry "key: value,sub=value,..." into *target.  False: *err says why and the target is
 * unchanged for the value at fault (values before it are stored). */
MUST_CHECK bool conf_set(const struct conf_schema *s, void *target, struct conf_span key,
                         struct conf_span value, struct conf_error *err);
/* Stores one value; key is "cpu" or "cpu.weight".  Text as the shell has it: `cpu=2,weight=50`
 * and `cpu.weight=50` both work. */
MUST_CHECK bool conf_set_text(const struct conf_schema *s, void *target, const char *key,
                              const char *value, struct conf_error *err);
/* One value of one row as text ("256M", "yes", "0-3"); for `show` and for saving. */
void conf_show(const struct conf_key *k, const void *target, char *buf, u32 len);
/* Is it a row of several like things, "nic1", "disk3"?  Its number in *n. */
bool conf_key_numbered(const struct conf_key *k, u32 *n);
/* "E_CONFIG: FILE:LINE: KEY: TEXT. Try: HINT"; file may be NULL. */
void conf_format_error(const struct conf_error *e, const char *file, char *buf, u32 len);

/* Parsers of single values, also used by the shell's argument types.  False: not that. */
MUST_CHECK bool conf_parse_number(struct conf_span s, u64 *out); /* decimal or 0x */
MUST_CHECK bool conf_parse_size(struct conf_span s, u64 *out);   /* with K M G T, bytes without */
void conf_format_size(u64 bytes, char *buf, u32 len);            /* "256M" if exact, else bytes */
struct conf_span conf_span_of(const char *text);
bool conf_span_is(struct conf_span s, const char *text);
