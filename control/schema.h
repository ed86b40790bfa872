/* The one schema of management: a table row a command, from which the parser, completion, help
 * and the shell reference in README come.
 *
 * A file of commands has one const array and ends with SCHEMA_COMMANDS(array), which puts it in
 * a linker section: adding a command is one row, adding a noun is one file. */
#pragma once

#include "control/out.h"
#include "control/rt/conf.h"
#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define SCHEMA_ARGS 16   /* values a command line may carry */
#define SCHEMA_VALUE 800 /* bytes of one value */

enum schema_type {
    ARG_WORD,   /* any text */
    ARG_NUMBER, /* decimal or 0x */
    ARG_SIZE,   /* bytes with K M G T */
    ARG_ENUM,   /* one of values, "a|b|c" */
    ARG_VM,     /* name or number of a VM */
};

enum schema_place {
    PLACE_OBJECT,   /* positional, required */
    PLACE_OPTIONAL, /* positional, may be missing */
    PLACE_KEY,      /* key=value or --key=value */
    PLACE_FLAG,     /* --name */
    PLACE_REST,     /* every further word, as it is */
};

/* Each may do what those before it may. */
enum schema_role { ROLE_VIEW, ROLE_OPERATE, ROLE_ADMIN, ROLES };

struct schema_arg {
    const char *name; /* NULL ends the list */
    enum schema_place place;
    enum schema_type type;
    const char *values;        /* ARG_ENUM */
    const char *default_value; /* for help; also what args_text() returns */
    const char *help;
};

/* What the parser made of a line.  `value` points into memory that lives for the whole command. */
struct schema_args {
    const struct schema_command *command;
    u32 count;
    struct {
        const char *name, *value; /* flags: value "yes" */
    } item[SCHEMA_ARGS];
};

struct schema_command {
    const char *noun, *verb; /* verb "" : the noun alone ("help") */
    const char *help;        /* one sentence without full stop */
    const char *example;     /* NULL: the usage line is enough */
    enum schema_role role;
    const struct schema_arg *args;  /* NULL: none */
    const struct conf_schema *conf; /* also takes these keys as key=value and key.sub=value */
    /* Runs in the shell's fiber.  Errors are reported through out_error. */
    enum hv_status (*run)(const struct schema_args *args, struct out *out);
};

struct schema_table {
    const struct schema_command *rows;
    u32 count;
};

#define SCHEMA_COMMANDS(array)                                                                     \
    static const struct schema_table array##_table = {(array), ARRAY_LEN(array)};                  \
    static const struct schema_table *const array##_entry                                          \
        __attribute__((section("schema_tables"), used)) = &array##_table

/* Every command in order of linking: i from 0 until NULL. */
const struct schema_command *schema_at(u32 i);

/* The argument of that name; NULL: the command has none. */
const struct schema_arg *schema_arg(const struct schema_command *c, const char *name);

/* Values in a handler.  Types were checked before it runs. */
const char *args_text(const struct schema_args *a, const char *name); /* default, or NULL */
u64 args_number(const struct schema_args *a, const char *name, u64 if_missing); /* also sizes */
bool args_flag(const struct schema_args *a, const char *name);

/* The role that a line needs: its command's, or more where an argument changes what the command
 * else shows (a table in schema.c); of a command with actions, `list`, `show` and `lookup` need
 * ROLE_VIEW alone. */
enum schema_role schema_role_needed(const struct schema_args *a);
const char *schema_role_name(enum schema_role role); /* "auditor", "operator", "admin" */
/* False: no such role. */
MUST_CHECK bool schema_role_parse(const char *text, enum schema_role *out);

/* ---- what survives a reboot -----------------------------------------------------------------
 * A file of commands whose objects are to survive has a function that prints, through
 * schema_put(), command lines that make them again, and SCHEMA_SAVES(fn, order).  control/saved.c
 * runs all of them in this order and keeps the text. */
enum schema_saves_order {
    SAVES_HOST,
    SAVES_SWITCH,
    SAVES_UPLINK,
    SAVES_KIF,
    SAVES_PORT,
    SAVES_ROUTE,
    SAVES_STORE,
    SAVES_VM,
    SAVES_VM_PORT,
    SAVES_SERVICE,
    SAVES_ORDERS,
};

struct schema_text; /* saved.c's */
void schema_put(struct schema_text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A value as one word of a line: in quotes if it needs them; cut if it does not fit. */
const char *schema_quote(const char *value, char *buf, u32 len);

struct schema_saves {
    enum schema_saves_order order;
    void (*put)(struct schema_text *t);
};
#define SCHEMA_SAVES(fn, when)                                                                     \
    static const struct schema_saves fn##_saves = {(when), (fn)};                                  \
    static const struct schema_saves *const fn##_entry                                             \
        __attribute__((section("schema_saves"), used)) = &fn##_saves
const struct schema_saves *schema_saves_at(u32 i); /* in order of linking; NULL past the end */

/* Names of VMs for ARG_VM completion: the vmm's inventory sets it at start.  The i-th name, NULL
 * past the end. */
extern const char *(*schema_vm_name)(u32 i);
