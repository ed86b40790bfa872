/* bulkhead.conf: sections to structs, mistakes to messages.  Pure; called by main.c once. */
#include "control/config.h"

#include <stdio.h>
#include <string.h>

struct reading {
    const char *file;
    const struct config_sink *sink;
    struct config_host *host;
    struct vm_config vm;
    u32 section_line;
    bool in_vm, vm_bad;
    u32 errors, vms;
    char names[CONFIG_VMS][VM_CONFIG_NAME];
    u32 numbers[CONFIG_VMS];
};

static void report(struct reading *r, const struct conf_error *err)
{
    char line[512];

    conf_format_error(err, r->file, line, sizeof(line));
    r->errors++;
    r->sink->error(r->sink->owner, line);
}

static void complain(struct reading *r, u32 line, const char *key, const char *text,
                     const char *hint)
{
    struct conf_error err = {.line = line};

    snprintf(err.key, sizeof(err.key), "%s", key);
    snprintf(err.text, sizeof(err.text), "%s", text);
    snprintf(err.hint, sizeof(err.hint), "%s", hint);
    report(r, &err);
}

/* Ends the section that was being read: checks it as a whole and hands it over. */
static void finish_vm(struct reading *r)
{
    struct conf_error err = {.line = r->section_line};

    if (!r->in_vm)
        return;
    r->in_vm = false;
    if (r->vm_bad)
        return;
    if (!vm_config_check(&r->vm, &err)) {
        report(r, &err);
        return;
    }
    if (r->vms == CONFIG_VMS) {
        complain(r, r->section_line, r->vm.name, "more VMs than 64", "remove some");
        return;
    }
    for (u32 i = 0; i < r->vms; i++) {
        if (r->vm.number && r->numbers[i] == r->vm.number) {
            complain(r, r->section_line, "number", "another VM has it already",
                     "leave it out for the lowest free one");
            return;
        }
    }
    memcpy(r->names[r->vms], r->vm.name, VM_CONFIG_NAME);
    r->numbers[r->vms++] = r->vm.number;
    r->sink->vm(r->sink->owner, &r->vm);
}

static void begin_section(struct reading *r, const struct conf_line *l)
{
    finish_vm(r);
    r->in_vm = true;
    r->vm_bad = true;
    r->section_line = l->line;
    vm_config_default(&r->vm);
    if (!conf_span_is(l->kind, "vm")) {
        complain(r, l->line, "", "unknown kind of section", "[vm NAME]");
        return;
    }
    if (!vm_config_name_valid(l->name.at, l->name.len)) {
        complain(r, l->line, "name",
                 "a VM's name starts with a letter, has letters, digits, "
                 "'-', '_', '.', and at most 31 of them",
                 "[vm demo]");
        return;
    }
    memcpy(r->vm.name, l->name.at, l->name.len);
    for (u32 i = 0; i < r->vms; i++) {
        if (!strcmp(r->names[i], r->vm.name)) {
            complain(r, l->line, "name", "another VM has it already", "another name");
            return;
        }
    }
    r->vm_bad = false;
}

static const struct conf_key host_keys[] = {
    {"mitigations", NULL, CONF_ENUM, CONF_MEMBER(struct config_host, mitigations),
     .values = "auto|off|all", .help = "speculation controls: what the CPU needs, none, all it has",
     .example = "auto"},
    {"poll-cpu", NULL, CONF_NUMBER, CONF_MEMBER(struct config_host, poll_cpu), 0, CPU_MAX - 1,
     .help = "CPU for the control partition alone, which polls guests' queues there; 0: none",
     .example = "1"},
    {"panic-reset", NULL, CONF_NUMBER, CONF_MEMBER(struct config_host, panic_reset), 0, 3600,
     .help = "seconds from a panic to a reset of the machine; 0: never", .example = "30"},
    {"serial", NULL, CONF_ENUM, CONF_MEMBER(struct config_host, serial), .values = "log|shell",
     .help = "what the first serial port behind PCI carries; without another console a shell",
     .example = "shell"},
};
const struct conf_schema config_host_schema = {"host", host_keys, ARRAY_LEN(host_keys)};

static bool is_host_key(struct conf_span key)
{
    for (u32 i = 0; i < ARRAY_LEN(host_keys); i++)
        if (conf_span_is(key, host_keys[i].key))
            return true;
    return false;
}

static void read_entry(struct reading *r, const struct conf_line *l)
{
    struct conf_error err = {.line = l->line};

    if (!r->in_vm && is_host_key(l->key)) {
        if (!conf_set(&config_host_schema, r->host, l->key, l->value, &err))
            report(r, &err);
        return;
    }
    if (!r->in_vm) {
        snprintf(err.key, sizeof(err.key), "%.*s", (int)MIN(l->key.len, 36), l->key.at);
        snprintf(err.text, sizeof(err.text), "stands before any section");
        snprintf(err.hint, sizeof(err.hint), "put it below [vm NAME]");
        report(r, &err);
        return;
    }
    if (!conf_set(&vm_config_schema, &r->vm, l->key, l->value, &err)) {
        r->vm_bad = true;
        report(r, &err);
    }
}

u32 config_read(const char *file, const char *text, u64 len, const struct config_sink *sink,
                struct config_host *host)
{
    struct reading r = {.file = file, .sink = sink, .host = host};
    struct conf_reader reader;
    struct conf_line line;
    struct conf_error err;
    enum conf_item item;

    if (len > CONF_TEXT_MAX)
        complain(&r, 0, "", "longer than 64 KiB; the rest is not read", "remove some");
    *host = (struct config_host){0};
    conf_open(&reader, text, len);
    while ((item = conf_next(&reader, &line, &err)) != CONF_END) {
        if (item == CONF_SECTION) {
            begin_section(&r, &line);
        } else if (item == CONF_ENTRY) {
            read_entry(&r, &line);
        } else {
            if (line.kind.at)
                finish_vm(&r);
            r.in_vm |= line.kind.at != NULL;
            r.vm_bad = true;
            report(&r, &err);
        }
    }
    finish_vm(&r);
    return r.errors;
}
