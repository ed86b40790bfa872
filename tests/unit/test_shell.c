/* links: control/shell_parse.c control/schema.c control/aliases.c control/complete.c control/help.c control/out.c control/rt/conf.c vmm/vm_config.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/complete.h"
#include "control/help.h"
#include "control/shell_parse.h"
#include "vmm/vm_config.h"

static enum hv_status run(const struct schema_args *args, struct out *out)
{
    (void)args, (void)out;
    return HV_OK;
}

static const struct schema_arg vm_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "which"},
    {"force", PLACE_FLAG, ARG_WORD, .help = "do not ask"},
    {"timeout", PLACE_KEY, ARG_NUMBER, .default_value = "30", .help = "seconds"},
    {"mode", PLACE_KEY, ARG_ENUM, "clean|hard", "clean", "how"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "bytes"},
    {0},
};
static const struct schema_arg name_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "its name"},
    {0},
};
static const struct schema_arg rest_args[] = {
    {"text", PLACE_REST, ARG_WORD, .help = "words"},
    {0},
};
static const struct schema_command rows[] = {
    {"vm", "list", "list them", NULL, ROLE_VIEW, NULL, NULL, run},
    {"vm", "start", "start one", "vm start demo", ROLE_OPERATE, vm_args, NULL, run},
    {"vm", "stop", "power cut", NULL, ROLE_OPERATE, vm_args, NULL, run},
    {"vm", "show", "show one", NULL, ROLE_VIEW, vm_args, NULL, run},
    {"vm", "console", "its console", NULL, ROLE_OPERATE, vm_args, NULL, run},
    {"vm", "create", "a new one", NULL, ROLE_ADMIN, name_args, &vm_config_schema, run},
    {"host", "info", "about it", NULL, ROLE_VIEW, NULL, NULL, run},
    {"echo", "", "print", NULL, ROLE_VIEW, rest_args, NULL, run},
    {"help", "", "explain", NULL, ROLE_VIEW, rest_args, NULL, run},
};
SCHEMA_COMMANDS(rows);

static struct shell_words w;
static struct shell_found f;
static struct schema_args args;
static struct shell_error err;

static bool parse(const char *line)
{
    const char *at = line;

    return shell_parse(&at, 3, &w, &err) && shell_resolve(&w, &f, &err) &&
           (!f.command || shell_bind(&w, &f, &args, &err));
}

static void gives(const char *line, const char *noun, const char *verb)
{
    if (!parse(line))
        fail_msg("'%s': %s: %s", line, err.code, err.text);
    assert_non_null(f.command);
    assert_string_equal(f.command->noun, noun);
    assert_string_equal(f.command->verb, verb);
}

static void fails(const char *line, const char *code, const char *text, const char *hint)
{
    assert_false(parse(line));
    if (strcmp(err.code, code) || !strstr(err.text, text) || !strstr(err.hint, hint))
        fail_msg("'%s' gave %s: %s. Try: %s", line, err.code, err.text, err.hint);
}

static void finds_commands_by_prefix(void **state)
{
    (void)state;
    gives("vm list", "vm", "list");
    gives("v l", "vm", "list");
    gives("ho i", "host", "info");
    gives("vm sto a", "vm", "stop");
    fails("h i", "E_AMBIGUOUS", "'h' may be more than one command", "host, help");
    fails("vm st a", "E_AMBIGUOUS", "verb", "start, stop");
    fails("vm foo", "E_UNKNOWN", "'foo' is not a verb", "help vm");
    fails("foo", "E_UNKNOWN", "'foo' is not a command", "help");
    fails("vm", "E_SYNTAX", "'vm' needs a verb", "help vm");
    fails("vm destroy a", "E_WORD", "destroy", "vm stop");
    fails("destroy", "E_UNKNOWN", "", "");
}

static void knows_other_peoples_words(void **state)
{
    (void)state;
    gives("qm start 100", "vm", "start");
    assert_string_equal(f.alias, "vm start");
    assert_string_equal(args_text(&args, "vm"), "100");
    gives("virsh console demo", "vm", "console");
    gives("show vm", "vm", "list");
    gives("show vm demo", "vm", "show");
    gives("show host", "host", "info");
}

static void binds_arguments(void **state)
{
    (void)state;
    gives("vm start demo --force timeout=10 --mode=hard size=2M", "vm", "start");
    assert_string_equal(args_text(&args, "vm"), "demo");
    assert_true(args_flag(&args, "force"));
    assert_int_equal(args_number(&args, "timeout", 0), 10);
    assert_int_equal(args_number(&args, "size", 0), 2 * MIB);
    assert_string_equal(args_text(&args, "mode"), "hard");
    gives("vm start demo", "vm", "start");
    assert_false(args_flag(&args, "force"));
    assert_int_equal(args_number(&args, "timeout", 0), 30);
    assert_int_equal(args_number(&args, "size", 7), 7);
    gives("vm start vm=demo", "vm", "start");
    gives("vm create x cpu=2,weight=5 cpu.pin=1 cmdline=\"a b; c | d\"", "vm", "create");
    assert_string_equal(args.item[1].name, "cpu");
    assert_string_equal(args.item[1].value, "2,weight=5");
    assert_string_equal(args.item[2].name, "cpu.pin");
    assert_string_equal(args.item[3].value, "a b; c | d");
}

static void refuses_wrong_arguments(void **state)
{
    (void)state;
    fails("vm start", "E_SYNTAX", "vm is missing", "vm start VM [--force] [timeout=TIMEOUT]");
    fails("vm start a b", "E_SYNTAX", "'b' is one word too many", "vm start VM");
    fails("vm start a --fast", "E_SYNTAX", "'fast' is not an argument of vm start", "vm start ?");
    fails("vm start a --force=1", "E_SYNTAX", "is a flag", "");
    fails("vm start a --timeout", "E_SYNTAX", "needs a value", "");
    fails("vm start a timeout=x", "E_VALUE", "timeout: 'x' is not a number", "");
    fails("vm start a size=x", "E_VALUE", "size: 'x' is not a size", "");
    fails("vm start a mode=soft", "E_VALUE", "mode: 'soft' is none", "clean|hard");
    fails("vm start a timeout=1 timeout=2", "E_SYNTAX", "given twice", "");
    fails("vm create x colour=blue", "E_SYNTAX", "'colour' is not an argument", "");
    fails("vm list x", "E_SYNTAX", "one word too many", "vm list");
    fails("vm list \"x", "E_SYNTAX", "quote", "");
}

static void reads_filters(void **state)
{
    (void)state;
    gives("vm list | grep run | exclude 'x y' | count", "vm", "list");
    assert_int_equal(w.filter_count, 3);
    assert_int_equal(w.filters[1].kind, OUT_EXCLUDE);
    assert_string_equal(w.filters[1].word, "x y");
    gives("vm list --no-more|json", "vm", "list");
    assert_true(w.no_more);
    fails("vm list | sort", "E_SYNTAX", "'sort' is not a filter", "grep");
    fails("vm list | grep", "E_SYNTAX", "takes one word", "");
    fails("vm list | count 3", "E_SYNTAX", "takes no word", "");
    fails("| grep x", "E_SYNTAX", "nothing stands before", "");
    fails("vm list | grep a b c", "E_SYNTAX", "one word", "");
    fails("vm list |count|count|count|count|count", "E_SYNTAX", "more than 4", "");
    fails("vm list |", "E_SYNTAX", "is not a filter", "");
}

static void cuts_lines_into_commands(void **state)
{
    const char *at = "vm list; ;echo 'a;b' $?;host info ?";

    (void)state;
    assert_true(shell_parse(&at, 3, &w, &err));
    assert_int_equal(w.count, 2);
    assert_true(shell_parse(&at, 3, &w, &err));
    assert_int_equal(w.count, 0);
    assert_true(shell_parse(&at, 3, &w, &err));
    assert_string_equal(w.word[1], "a;b");
    assert_true(shell_resolve(&w, &f, &err) && shell_bind(&w, &f, &args, &err));
    assert_string_equal(args_text(&args, "text"), "a;b 3");
    assert_true(shell_parse(&at, 3, &w, &err));
    assert_true(w.ask);
    assert_int_equal(w.count, 2);
    assert_int_equal(*at, 0);
}

static void bounds_what_is_typed(void **state)
{
    static char line[SHELL_LINE_MAX * 3];

    (void)state;
    for (u32 i = 0; i + 2 < sizeof(line); i += 2)
        memcpy(line + i, "a ", 3);
    fails(line, "E_SYNTAX", "words", "");
    memset(line, 'a', sizeof(line) - 1);
    fails(line, "E_SYNTAX", "too long", "");
    memcpy(line, "vm start ", 9);
    line[9 + SCHEMA_VALUE] = 0;
    fails(line, "E_VALUE", "too long", "");
}

static const char *vm_name(u32 i)
{
    static const char *const names[] = {"demo", "desk"};

    return i < 2 ? names[i] : NULL;
}

static void completes_to(const char *line, const char *expected)
{
    static struct completion c;
    char got[2048] = "";

    c.count = 0;
    complete_line(line, (u32)strlen(line), &c);
    for (u32 i = 0; i < c.count; i++) {
        strcat(got, i ? " " : "");
        strcat(got, c.item[i]);
    }
    if (strcmp(got, expected))
        fail_msg("'%s' completes to '%s', not '%s'", line, got, expected);
}

static void completes(void **state)
{
    (void)state;
    schema_vm_name = vm_name;
    completes_to("", "vm host echo help");
    completes_to("h", "host help");
    completes_to("vm s", "start stop show");
    completes_to("vm list; v", "vm");
    completes_to("vm start d", "demo desk");
    completes_to("vm start demo --", "--force");
    completes_to("vm start demo m", "mode=");
    completes_to("vm start demo mode=", "mode=clean mode=hard");
    completes_to("vm start demo d", "");
    completes_to("vm create x cpu", "cpu= cpu.weight= cpu.pin= cpu.cap= cpu.reserve=");
    completes_to("vm create x console=c", "console=com1");
    completes_to("vm list | ", "grep exclude count more json");
    completes_to("vm list | c", "count");
    completes_to("nonsense ", "");
    completes_to("help v", "vm");
    completes_to("help vm l", "list");
    completes_to("v l ", "");
}

static char text[65536];

static void on_line(void *owner, const char *line, u32 len)
{
    (void)owner;
    assert_int_equal(strlen(line), len);
    strcat(text, line);
    strcat(text, "\n");
}

static struct out_sink sink = {.line = on_line};

static void open_out(struct out *o, const char *filters)
{
    char line[128];
    const char *at = line;

    snprintf(line, sizeof(line), "vm list %s", filters);
    assert_true(shell_parse(&at, 0, &w, &err));
    text[0] = 0;
    out_open(o, &sink, w.filters, w.filter_count);
}

static void say(struct out *o)
{
    static const char *const columns[] = {"NAME", "STATE"};
    static const u8 widths[] = {6, 0};

    out_table(o, columns, widths, 2);
    for (u32 i = 0; i < 4; i++) {
        out_cell(o, "%s%u", i & 1 ? "b\"" : "a", i);
        out_cell(o, "%u", i * 10);
    }
    out_printf(o, "end %d", 1);
    out_close(o);
}

static void writes_text_and_json(void **state)
{
    struct out o;

    (void)state;
    open_out(&o, "");
    say(&o);
    assert_string_equal(text,
                        "NAME    STATE\na0      0\nb\"1     10\na2      20\nb\"3     30\nend 1\n");
    open_out(&o, "| grep b | exclude 3");
    say(&o);
    assert_string_equal(text, "b\"1     10\n");
    open_out(&o, "| count");
    say(&o);
    assert_string_equal(text, "5\n");
    open_out(&o, "| json");
    say(&o);
    assert_string_equal(text, "{\"name\":\"a0\",\"state\":0}\n{\"name\":\"b\\\"1\",\"state\":10}\n"
                              "{\"name\":\"a2\",\"state\":20}\n{\"name\":\"b\\\"3\",\"state\":30}\n"
                              "end 1\n");
}

static void errors_pass_every_filter(void **state)
{
    struct out o;

    (void)state;
    open_out(&o, "| grep nothing | count");
    assert_int_equal(out_error(&o, HV_EBUSY, "E_BUSY", "later", "no %d", 3), HV_EBUSY);
    out_close(&o);
    assert_string_equal(text, "E_BUSY: no 3. Try: later\n0\n");
    open_out(&o, "| json");
    out_field(&o, "a", "1");
    out_field(&o, "b", "x\ty");
    out_error(&o, HV_EBUSY, "E_BUSY", "later", "no");
    out_close(&o);
    assert_string_equal(text, "{\"a\":1,\"b\":\"x\\u0009y\"}\n"
                              "{\"error\":\"E_BUSY\",\"text\":\"no\",\"try\":\"later\"}\n");
}

static void helps(void **state)
{
    struct out o;

    (void)state;
    open_out(&o, "");
    help_all(&o);
    help_noun(&o, "vm");
    help_command(&o, &rows[1]);
    help_command(&o, &rows[5]);
    help_reference(&o);
    out_close(&o);
    assert_non_null(strstr(text, "vm         list start stop show console create\n"));
    assert_non_null(strstr(text, "--force"));
    assert_non_null(strstr(text, "Example: vm start demo"));
    assert_non_null(strstr(text, "cpu.weight="));
    assert_non_null(strstr(text, "[mode=clean\\|hard]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_commands_by_prefix),
        cmocka_unit_test(knows_other_peoples_words),
        cmocka_unit_test(binds_arguments),
        cmocka_unit_test(refuses_wrong_arguments),
        cmocka_unit_test(reads_filters),
        cmocka_unit_test(cuts_lines_into_commands),
        cmocka_unit_test(bounds_what_is_typed),
        cmocka_unit_test(completes),
        cmocka_unit_test(writes_text_and_json),
        cmocka_unit_test(errors_pass_every_filter),
        cmocka_unit_test(helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
