/* links: control/config.c control/rt/conf.c vmm/vm_config.c */
/* Any bytes as bulkhead.conf: no crash, and what comes out obeys the table. */
#include <stdlib.h>
#include <string.h>

#include "control/config.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void on_vm(void *owner, const struct vm_config *c)
{
    char buf[600];

    (void)owner;
    if (!vm_config_name_valid(c->name, (u32)strlen(c->name)) || c->cpu_count < 1 ||
        c->cpu_count > 64 || c->mem % PAGE_2M || !c->kernel[0] || strstr(c->kernel, ".."))
        abort();
    for (u32 i = 0; i < vm_config_schema.count; i++)
        conf_show(&vm_config_schema.keys[i], c, buf, sizeof(buf));
}

static void on_error(void *owner, const char *line)
{
    (void)owner;
    if (strncmp(line, "E_CONFIG: ", 10) || !strstr(line, ". Try: "))
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct config_host host;
    const struct config_sink sink = {.vm = on_vm, .error = on_error};

    config_read("bulkhead.conf", (const char *)data, size, &sink, &host);
    return 0;
}
