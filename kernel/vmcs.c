/* Names of VMCS fields and the end of a failed access to one; any core, exit path. */
#include "kernel/vmcs.h"

#include "kernel/log.h"

#define VMCS_FIELD_NAME(name, encoding) {encoding, #name},
static const struct {
    u32 encoding;
    const char *name;
} fields[] = {VMCS_FIELDS_16(VMCS_FIELD_NAME) VMCS_FIELDS_64(VMCS_FIELD_NAME)
                  VMCS_FIELDS_32(VMCS_FIELD_NAME) VMCS_FIELDS_NAT(VMCS_FIELD_NAME)};

const char *vmcs_field_name(u32 field)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].encoding == field)
            return fields[i].name;
    return "?";
}

void vmcs_failed(const char *what, u32 field)
{
    panic("%s of %s (%xH) failed", what, vmcs_field_name(field), field);
}
