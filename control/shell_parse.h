/* The shell's grammar: `noun verb [object] key=value --flag | filter word ; next`.
 *
 * Pure.  A line is any bytes; sizes are bounded.  shell_parse() cuts one command off a line,
 * shell_resolve() finds its row in the schema (prefixes, aliases), shell_bind() checks its
 * arguments against that row. */
#pragma once

#include "control/schema.h"

#define SHELL_LINE_MAX 1024
#define SHELL_WORDS 24

struct shell_error {
    const char *code; /* "E_SYNTAX" */
    char text[192], hint[192];
};

struct shell_words {
    char text[SHELL_LINE_MAX + SHELL_WORDS]; /* the words, each NUL terminated */
    char *word[SHELL_WORDS];
    bool quoted[SHELL_WORDS]; /* some of it stood in quotes: never a flag, key or `?` */
    u32 count;
    bool ask;     /* the last word was a bare `?` (not counted) */
    bool no_more; /* --no-more was given (not counted) */
    struct out_filter filters[OUT_FILTERS];
    u32 filter_count;
};

/* Cuts the command at *at, moves *at behind its `;` (to the end for the last one).  `$?` becomes
 * last_status.  w->count == 0: an empty command.  False: *err. */
MUST_CHECK bool shell_parse(const char **at, int last_status, struct shell_words *w,
                            struct shell_error *err);

struct shell_found {
    const struct schema_command *command; /* NULL: only the noun was given, or `?` asks for more */
    const char *noun;
    u32 used;          /* words that noun and verb took */
    const char *alias; /* "vm start" when an alias was used: told to the user once */
};

MUST_CHECK bool shell_resolve(struct shell_words *w, struct shell_found *f,
                              struct shell_error *err);

/* The words behind noun and verb into *args; types are checked.  Values point into *w. */
MUST_CHECK bool shell_bind(struct shell_words *w, const struct shell_found *f,
                           struct schema_args *args, struct shell_error *err);

const char *shell_filter_name(u32 i); /* NULL past the end */

/* "vm start VM [--force]" */
void shell_usage(const struct schema_command *c, char *buf, u32 len);
