/* Commands about the shell itself; each runs in the shell's fiber. */
#include "control/cmd_shell.h"

#include <string.h>

#include "control/help.h"
#include "control/schema.h"
#include "control/shell.h"
#include "control/shell_parse.h"

static enum hv_status run_help(const struct schema_args *args, struct out *out)
{
    static struct shell_words
        w; /* one thread, and no wait while it is read; too big for a fiber's stack */
    const char *noun = args_text(args, "noun"), *verb = args_text(args, "verb");
    struct shell_found f;
    struct shell_error err;

    if (!noun) {
        help_all(out);
        return HV_OK;
    }
    if (!strcmp(noun, "reference") && !verb) {
        help_reference(out);
        return HV_OK;
    }
    w.count = verb ? 2 : 1;
    w.word[0] = (char *)noun;
    w.word[1] = (char *)verb;
    w.ask = true;
    if (!shell_resolve(&w, &f, &err))
        return out_error(out, HV_ENOENT, err.code, err.hint, "%s", err.text);
    if (f.command)
        help_command(out, f.command);
    else
        help_noun(out, f.noun);
    return HV_OK;
}

static enum hv_status run_history(const struct schema_args *args, struct out *out)
{
    const char *line;

    (void)args;
    for (u32 i = 0; (line = shell_history(i)); i++)
        out_printf(out, "%3u  %s\n", i + 1, line);
    return HV_OK;
}

static enum hv_status run_echo(const struct schema_args *args, struct out *out)
{
    const char *text = args_text(args, "text");

    out_printf(out, "%s\n", text ? text : "");
    return HV_OK;
}

static enum hv_status run_exit(const struct schema_args *args, struct out *out)
{
    (void)args;
    if (!shell_leave())
        out_printf(out, "There is nothing to exit to; `host poweroff` turns the machine off.\n");
    return HV_OK;
}

static const struct schema_arg help_args[] = {
    {"noun", PLACE_OPTIONAL, ARG_WORD, .help = "the command to explain"},
    {"verb", PLACE_OPTIONAL, ARG_WORD, .help = "its verb"},
    {0},
};
static const struct schema_arg echo_args[] = {
    {"text", PLACE_REST, ARG_WORD, .help = "what to print; $? is the last command's status"},
    {0},
};

static const struct schema_command commands[] = {
    {"help", "", "explain a command", "help vm start", ROLE_VIEW, help_args, NULL, run_help},
    {"history", "", "lines typed before", NULL, ROLE_VIEW, NULL, NULL, run_history},
    {"echo", "", "print the rest of the line", "echo $?", ROLE_VIEW, echo_args, NULL, run_echo},
    {"exit", "", "end a session that began with a login", NULL, ROLE_VIEW, NULL, NULL, run_exit},
};
SCHEMA_COMMANDS(commands);
