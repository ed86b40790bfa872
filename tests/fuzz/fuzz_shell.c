/* links: control/shell_parse.c control/schema.c control/aliases.c control/complete.c control/out.c control/line_edit.c control/rt/conf.c vmm/vm_config.c */
/* Any bytes typed at the shell: through the editor, the parser, the schema and completion. */
#include <stdlib.h>
#include <string.h>

#include "control/complete.h"
#include "control/line_edit.h"
#include "control/shell_parse.h"
#include "vmm/vm_config.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static enum hv_status run(const struct schema_args *args, struct out *out)
{
    (void)args, (void)out;
    return HV_OK;
}

static const struct schema_arg vm_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = ""},
    {"force", PLACE_FLAG, ARG_WORD, .help = ""},
    {"n", PLACE_KEY, ARG_NUMBER, .help = ""},
    {"mode", PLACE_KEY, ARG_ENUM, "a|b", NULL, ""},
    {0},
};
static const struct schema_arg rest_args[] = {{"text", PLACE_REST, ARG_WORD, .help = ""}, {0}};
static const struct schema_command rows[] = {
    {"vm", "list", "", NULL, ROLE_VIEW, NULL, NULL, run},
    {"vm", "start", "", NULL, ROLE_VIEW, vm_args, NULL, run},
    {"vm", "create", "", NULL, ROLE_VIEW, vm_args, &vm_config_schema, run},
    {"echo", "", "", NULL, ROLE_VIEW, rest_args, NULL, run},
};
SCHEMA_COMMANDS(rows);

static void on_write(void *owner, const char *text, u32 len)
{
    (void)owner;
    if (len && memchr(text, 0, len))
        abort();
}

static void on_complete(void *owner, const char *text, u32 len, struct completion *out)
{
    (void)owner;
    complete_line(text, len, out);
}

static void run_line(const char *line)
{
    static struct shell_words w;
    struct shell_found f;
    struct shell_error err;
    struct schema_args args;
    const char *at = line;

    while (*at) {
        const char *before = at;

        if (!shell_parse(&at, -1, &w, &err))
            return;
        if (at == before)
            abort(); /* no progress */
        if (!shell_resolve(&w, &f, &err) || !f.command || !shell_bind(&w, &f, &args, &err))
            continue;
        if (args_number(&args, "n", 5) != 5 && !args_text(&args, "n"))
            abort();
        for (u32 i = 0; i < args.count; i++) {
            if (strlen(args.item[i].value) >= SCHEMA_VALUE)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct line_edit_ops ops = {.write = on_write, .complete = on_complete};
    static struct line_edit e;

    line_edit_init(&e, &ops, "> ", 40);
    line_edit_begin(&e);
    for (size_t i = 0; i < size; i++) {
        enum line_edit_result r = line_edit_feed(&e, data[i]);

        if (e.len >= LINE_EDIT_MAX || e.cursor > e.len || strlen(e.text) > e.len)
            abort();
        if (r == LINE_EDIT_DONE)
            run_line(e.text);
        if (r != LINE_EDIT_MORE)
            line_edit_begin(&e);
    }
    return 0;
}
