/* links: control/config.c control/rt/conf.c vmm/vm_config.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/config.h"
#include "vmm/mitigations.h"

static struct config_host host;
static struct vm_config vms[CONFIG_VMS + 1];
static char errors[64][512];
static u32 vm_count, error_count;

static void on_vm(void *owner, const struct vm_config *c)
{
    (void)owner;
    vms[vm_count++] = *c;
}

static void on_error(void *owner, const char *line)
{
    (void)owner;
    if (error_count < 64)
        strcpy(errors[error_count], line);
    error_count++;
}

static void read_text(const char *text)
{
    const struct config_sink sink = {.vm = on_vm, .error = on_error};

    vm_count = error_count = 0;
    u32 found = config_read("bulkhead.conf", text, strlen(text), &sink, &host);
    assert_int_equal(found, error_count);
}

static void reads_keys_of_the_host(void **state)
{
    (void)state;
    read_text("[vm demo]\nkernel: x\n");
    assert_int_equal(host.mitigations, MITIGATIONS_AUTO);
    read_text("mitigations: off\n[vm demo]\nkernel: x\n");
    assert_int_equal(error_count, 0);
    assert_int_equal(vm_count, 1);
    assert_int_equal(host.mitigations, MITIGATIONS_OFF);
    read_text("mitigations: some\n[vm demo]\nkernel: x\n");
    assert_int_equal(error_count, 1);
    assert_non_null(strstr(errors[0], "bulkhead.conf:1: mitigations"));
    assert_int_equal(host.mitigations, MITIGATIONS_AUTO);
    assert_int_equal(vm_count, 1);
    read_text("[vm demo]\nkernel: x\nmitigations: off\n"); /* not a key of a VM */
    assert_int_equal(error_count, 1);
    assert_int_equal(host.mitigations, MITIGATIONS_AUTO);
}

static void reads_a_good_file(void **state)
{
    (void)state;
    read_text("# comment\r\n"
              "[vm demo]\n"
              "number: 100   # first\n"
              "cpu: 2, weight=200 ,pin=0-1+3\n"
              "mem: 1G\n"
              "kernel: guests/demo/vmlinuz\n"
              "cmdline: console=ttyS0 a=b,c\n"
              "autostart: yes\n"
              "nic0: switch=vsw0, vlan=10,mac=06:42:48:00:00:0A\n"
              "disk0: file=ds1:/web/d.qcow2,format=qcow2,ro=yes,bw=2M\n"
              "[ vm second ]\n"
              "kernel: x\n"
              "console: none");
    assert_int_equal(error_count, 0);
    assert_int_equal(vm_count, 2);
    assert_string_equal(vms[0].name, "demo");
    assert_int_equal(vms[0].number, 100);
    assert_int_equal(vms[0].cpu_count, 2);
    assert_int_equal(vms[0].cpu_weight, 200);
    assert_int_equal(vms[0].cpu_pin, 0xb);
    assert_int_equal(vms[0].mem, GIB);
    assert_string_equal(vms[0].nic[0].to_switch, "vsw0");
    assert_int_equal(vms[0].nic[0].vlan, 10);
    assert_string_equal(vms[0].disk[0].file, "ds1:web/d.qcow2");
    assert_int_equal(vms[0].disk[0].format, 1);
    assert_true(vms[0].disk[0].read_only);
    assert_int_equal(vms[0].disk[0].bw, 2 * MIB);
    assert_int_equal(vms[0].nic[0].mac, 0x06424800000a);
    assert_string_equal(vms[0].cmdline, "console=ttyS0 a=b,c");
    assert_true(vms[0].autostart);
    assert_int_equal(vms[1].number, 0);
    assert_int_equal(vms[1].cpu_count, 1);
    assert_int_equal(vms[1].mem, 256 * MIB);
    assert_int_equal(vms[1].console, VM_CONSOLE_NONE);
}

static void names_file_line_and_key(void **state)
{
    (void)state;
    read_text("[vm demo]\n\nkernel: a\ncpu: x\n");
    assert_int_equal(error_count, 1);
    assert_string_equal(errors[0], "E_CONFIG: bulkhead.conf:4: cpu: 'x' is not a number. Try: 2");
    assert_int_equal(vm_count, 0);
}

static void skips_only_the_bad_section(void **state)
{
    (void)state;
    read_text("[vm one]\nkernel: a\nmem: 3M\n[vm two]\nkernel: b\n[vm three\nkernel: c\n"
              "[vm four]\nkernel: d\n");
    assert_int_equal(error_count, 2);
    assert_non_null(strstr(errors[0], "bulkhead.conf:1: mem: not a multiple of 2M. Try: 4M"));
    assert_non_null(strstr(errors[1], "bulkhead.conf:6: the section has no closing ']'"));
    assert_int_equal(vm_count, 2);
    assert_string_equal(vms[0].name, "two");
    assert_string_equal(vms[1].name, "four");
}

static void refuses(const char *line, const char *expected)
{
    char text[2048];

    strcpy(text, "[vm a]\nkernel: k\n");
    strcat(text, line);
    read_text(text);
    assert_int_equal(vm_count, 0);
    assert_true(error_count >= 1);
    if (!strstr(errors[0], expected))
        fail_msg("'%s' gave '%s', not '%s'", line, errors[0], expected);
}

static void refuses_bad_values(void **state)
{
    (void)state;
    refuses("nic0: vsw0\n",
            "E_CONFIG: bulkhead.conf:3: nic0: 'vsw0' is not SUB=VALUE. Try: switch, vlan, mac");
    refuses("disk0: file=ds1\n",
            "E_CONFIG: bulkhead.conf:3: disk0.file: 'ds1' is not STORE:PATH. Try: "
            "ds1:web/d.qcow2");
    refuses("disk0: file=ds1:a/../b\n",
            "E_CONFIG: bulkhead.conf:3: disk0.file: 'ds1:a/../b' is not STORE:PATH. Try: "
            "ds1:web/d.qcow2");
    refuses("nic0: mac=01:00:00:00:00:01\n",
            "E_CONFIG: bulkhead.conf:3: nic0.mac: '01:00:00:00:00:01' is not the address of a "
            "station. Try: auto");
    refuses("cpu: 0", "cpu: 0 is not between 1 and 64");
    refuses("cpu: 65", "not between");
    refuses("cpu: 1,", "cpu: '' is not SUB=VALUE");
    refuses("cpu: 1,=3", "unknown part");
    refuses("cpu: 1,foo=3", "cpu.foo: unknown part 'foo'. Try: weight, pin");
    refuses("cpu: 1,weight=0", "cpu.weight: 0 is not between 1 and 10000");
    refuses("cpu: 1,pin=3-1", "cpu.pin: '3-1' is not a list of CPUs");
    refuses("cpu: 1,pin=1+", "ends in '+'");
    refuses("cpu: 1,pin=64", "not a list of CPUs");
    refuses("mem: 99999999999999999999G", "not a size");
    refuses("mem: 18446744073709551615T", "not a size");
    refuses("mem: ", "mem: '' is not a size");
    refuses("number: 99", "not between 100 and 9999");
    refuses("kernel: ../x", "leaves the folder");
    refuses("kernel: /x", "leaves the folder");
    refuses("kernel: a b", "other than letters");
    refuses("autostart: maybe", "neither yes nor no");
    refuses("console: vga", "Try: com1|virtio|none");
    refuses("colour: blue", "colour: unknown key. Try: number, cpu, mem");
    refuses("nonsense", "is not a 'key: value' line");
    refuses("mem: 1\x01", "byte 0x01 at column 7");
}

static void refuses_bad_sections(void **state)
{
    (void)state;
    read_text("mem: 4M\n[vm 1a]\nkernel: a\n[disk x]\n[vm a]\nkernel: k\n[vm a]\nkernel: k\n");
    assert_int_equal(vm_count, 1);
    assert_int_equal(error_count, 4);
    assert_non_null(strstr(errors[0], ":1: mem: stands before any section"));
    assert_non_null(strstr(errors[1], ":2: name: a VM's name starts with a letter"));
    assert_non_null(strstr(errors[2], ":4: unknown kind of section"));
    assert_non_null(strstr(errors[3], ":7: name: another VM has it already"));
    read_text("[vm a]\nkernel: k\nnumber: 101\n[vm b]\nkernel: k\nnumber: 101\n");
    assert_int_equal(vm_count, 1);
    assert_non_null(strstr(errors[0], "number: another VM has it already"));
}

static void bounds_line_and_text(void **state)
{
    static char text[80000];

    (void)state;
    memset(text, 'x', 2000);
    text[2000] = '\n';
    text[2001] = 0;
    read_text(text);
    assert_non_null(strstr(errors[0], "longer than 1024 bytes"));
    memset(text, '\n', sizeof(text) - 1);
    read_text(text);
    assert_non_null(strstr(errors[0], "longer than 64 KiB"));
}

static void sets_and_shows_from_the_shell(void **state)
{
    struct vm_config c;
    struct conf_error err;
    char buf[64];

    (void)state;
    vm_config_default(&c);
    assert_true(conf_set_text(&vm_config_schema, &c, "cpu.weight", "300", &err));
    assert_int_equal(c.cpu_weight, 300);
    assert_true(conf_set_text(&vm_config_schema, &c, "cpu", "4,pin=1-2", &err));
    assert_true(conf_set_text(&vm_config_schema, &c, "cmdline", "a=1,b=2 c", &err));
    assert_false(conf_set_text(&vm_config_schema, &c, "cpu.speed", "3", &err));
    assert_string_equal(err.key, "cpu.speed");
    assert_true(conf_set_text(&vm_config_schema, &c, "kernel", "guests/k", &err));
    assert_true(conf_set_text(&vm_config_schema, &c, "mem.balloon", "64M", &err));
    assert_false(vm_config_check(&c, &err)); /* it has no balloon */
    assert_true(conf_set_text(&vm_config_schema, &c, "balloon", "yes", &err));
    assert_true(vm_config_check(&c, &err));
    assert_true(conf_set_text(&vm_config_schema, &c, "mem.balloon", "256M", &err));
    assert_false(vm_config_check(&c, &err));
    for (u32 i = 0; i < vm_config_schema.count; i++) {
        const struct conf_key *k = &vm_config_schema.keys[i];

        conf_show(k, &c, buf, sizeof(buf));
        if (!strcmp(k->key, "mem") && !k->sub)
            assert_string_equal(buf, "256M");
        if (k->sub && !strcmp(k->sub, "pin"))
            assert_string_equal(buf, "1-2");
        if (!strcmp(k->key, "cmdline"))
            assert_string_equal(buf, "a=1,b=2 c");
        if (!strcmp(k->key, "console") && !k->sub)
            assert_string_equal(buf, "com1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys_of_the_host),  cmocka_unit_test(reads_a_good_file),
        cmocka_unit_test(names_file_line_and_key), cmocka_unit_test(skips_only_the_bad_section),
        cmocka_unit_test(refuses_bad_values),      cmocka_unit_test(refuses_bad_sections),
        cmocka_unit_test(bounds_line_and_text),    cmocka_unit_test(sets_and_shows_from_the_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
