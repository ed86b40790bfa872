/* OVF descriptors written, version 1.1 as most programs read it; called by `vm export`. */
#include "storage/ovf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

struct text {
    char *at;
    u32 size, len;
};

static void put(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->len += (u32)vsnprintf(t->len < t->size ? t->at + t->len : NULL,
                             t->len < t->size ? t->size - t->len : 0, fmt, ap);
    va_end(ap);
}

/* As text or as an attribute's value. */
static void put_escaped(struct text *t, const char *from, u64 len)
{
    for (u64 i = 0; i < len; i++) {
        switch (from[i]) {
        case '<':
            put(t, "&lt;");
            break;
        case '>':
            put(t, "&gt;");
            break;
        case '&':
            put(t, "&amp;");
            break;
        case '"':
            put(t, "&quot;");
            break;
        default:
            if ((u8)from[i] >= 0x20)
                put(t, "%c", from[i]);
        }
    }
}

static void put_extra(struct text *t, const char *key, u64 key_length, const char *value,
                      u64 length)
{
    put(t, "      <vmw:ExtraConfig ovf:required=\"false\" vmw:key=\"bulkhead.");
    put_escaped(t, key, key_length);
    put(t, "\" vmw:value=\"");
    put_escaped(t, value, length);
    put(t, "\"/>\n");
}

static void put_settings(struct text *t, const char *lines)
{
    for (const char *at = lines; *at;) {
        u64 n = strcspn(at, "\n");
        const char *colon = memchr(at, ':', n);

        if (colon && colon > at) {
            const char *value = colon + 1 + (colon[1] == ' ');

            put_extra(t, at, (u64)(colon - at), value, (u64)(at + n - value));
        }
        at += n + (at[n] == '\n');
    }
}

static void put_name(struct text *t, const char *name)
{
    put_escaped(t, name, strlen(name));
}

static void put_head(struct text *t, const struct ovf *o)
{
    put(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
           "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
           "  xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
           "  xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
           "CIM_ResourceAllocationSettingData\"\n"
           "  xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
           "CIM_VirtualSystemSettingData\"\n"
           "  xmlns:vmw=\"http://www.vmware.com/schema/ovf\">\n  <References>\n");
    for (u32 i = 0; i < o->disk_count; i++) {
        put(t, "    <File ovf:href=\"");
        put_name(t, o->disk[i].file);
        put(t, "\" ovf:id=\"file%u\" ovf:size=\"%llu\"/>\n", i, (ull)o->disk[i].file_size);
    }
    if (o->nvram[0]) {
        put(t, "    <File ovf:href=\"");
        put_name(t, o->nvram);
        put(t, "\" ovf:id=\"nvram\" ovf:size=\"%llu\"/>\n", (ull)o->nvram_size);
    }
    put(t, "  </References>\n  <DiskSection>\n    <Info>Virtual disks</Info>\n");
    for (u32 i = 0; i < o->disk_count; i++)
        put(t,
            "    <Disk ovf:capacity=\"%llu\" ovf:diskId=\"disk%u\" ovf:fileRef=\"file%u\" "
            "ovf:format=\"http://www.vmware.com/interfaces/specifications/"
            "vmdk.html#streamOptimized\"/>\n",
            (ull)o->disk[i].capacity, i, i);
    put(t, "  </DiskSection>\n");
    if (o->nics)
        put(t, "  <NetworkSection>\n    <Info>Networks</Info>\n"
               "    <Network ovf:name=\"network\"><Description>a network</Description></Network>\n"
               "  </NetworkSection>\n");
}

static void put_hardware(struct text *t, const struct ovf *o)
{
    put(t,
        "      <Item>\n        <rasd:ElementName>%u processors</rasd:ElementName>\n"
        "        <rasd:InstanceID>1</rasd:InstanceID>\n"
        "        <rasd:ResourceType>3</rasd:ResourceType>\n"
        "        <rasd:VirtualQuantity>%u</rasd:VirtualQuantity>\n      </Item>\n",
        o->cpus, o->cpus);
    put(t,
        "      <Item>\n        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>\n"
        "        <rasd:ElementName>%llu MiB of memory</rasd:ElementName>\n"
        "        <rasd:InstanceID>2</rasd:InstanceID>\n"
        "        <rasd:ResourceType>4</rasd:ResourceType>\n"
        "        <rasd:VirtualQuantity>%llu</rasd:VirtualQuantity>\n      </Item>\n",
        (ull)(o->memory / MIB), (ull)(o->memory / MIB));
    put(t, "      <Item>\n        <rasd:Address>0</rasd:Address>\n"
           "        <rasd:ElementName>SCSI controller 0</rasd:ElementName>\n"
           "        <rasd:InstanceID>3</rasd:InstanceID>\n"
           "        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>\n"
           "        <rasd:ResourceType>6</rasd:ResourceType>\n      </Item>\n");
    for (u32 i = 0; i < o->disk_count; i++)
        put(t,
            "      <Item>\n        <rasd:AddressOnParent>%u</rasd:AddressOnParent>\n"
            "        <rasd:ElementName>disk %u</rasd:ElementName>\n"
            "        <rasd:HostResource>ovf:/disk/disk%u</rasd:HostResource>\n"
            "        <rasd:InstanceID>%u</rasd:InstanceID>\n"
            "        <rasd:Parent>3</rasd:Parent>\n"
            "        <rasd:ResourceType>17</rasd:ResourceType>\n      </Item>\n",
            i, i, i, 10 + i);
    for (u32 i = 0; i < o->nics; i++)
        put(t,
            "      <Item>\n        <rasd:AddressOnParent>%u</rasd:AddressOnParent>\n"
            "        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>\n"
            "        <rasd:Connection>network</rasd:Connection>\n"
            "        <rasd:ElementName>network card %u</rasd:ElementName>\n"
            "        <rasd:InstanceID>%u</rasd:InstanceID>\n"
            "        <rasd:ResourceSubType>E1000</rasd:ResourceSubType>\n"
            "        <rasd:ResourceType>10</rasd:ResourceType>\n      </Item>\n",
            i, i, 20 + i);
}

u32 ovf_write(char *buf, u32 len, const struct ovf *o)
{
    struct text t = {.at = buf, .size = len};

    put_head(&t, o);
    put(&t, "  <VirtualSystem ovf:id=\"");
    put_name(&t, o->name);
    put(&t, "\">\n    <Info>A virtual machine</Info>\n    <Name>");
    put_name(&t, o->name);
    put(&t, "</Name>\n    <OperatingSystemSection ovf:id=\"101\">\n"
            "      <Info>Linux, 64 bits</Info>\n    </OperatingSystemSection>\n"
            "    <VirtualHardwareSection>\n      <Info>Virtual hardware</Info>\n"
            "      <System>\n        <vssd:ElementName>Virtual hardware</vssd:ElementName>\n"
            "        <vssd:InstanceID>0</vssd:InstanceID>\n"
            "        <vssd:VirtualSystemType>vmx-07</vssd:VirtualSystemType>\n"
            "      </System>\n");
    put_hardware(&t, o);
    put_settings(&t, o->settings);
    if (o->nvram[0])
        put_extra(&t, "nvram", strlen("nvram"), o->nvram, strlen(o->nvram));
    put(&t, "    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n");
    return t.len;
}
