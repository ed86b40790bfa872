/* The text descriptor of VMDK images.  Pure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/vmdk.h"

/* One line into a terminated buffer; what is too long is cut. */
static u64 next_line(const char *text, u64 len, u64 at, char *line, u32 room)
{
    u32 n = 0;

    for (; at < len && text[at] && text[at] != '\n'; at++)
        if (text[at] != '\r' && n + 1 < room)
            line[n++] = text[at];
    line[n] = 0;
    return at < len && text[at] == '\n' ? at + 1 : len;
}

static void unquote(const char *value, char *out, u32 room)
{
    while (*value == ' ' || *value == '\t' || *value == '"')
        value++;
    strncpy(out, value, room - 1);
    out[room - 1] = 0;
    for (u32 n = (u32)strlen(out); n && strchr(" \t\"", out[n - 1]); n--)
        out[n - 1] = 0;
}

/* RW 12345 FLAT "name" 0 */
static bool read_extent(const char *line, struct vmdk_descriptor *d)
{
    char access[9], quote[256] = "";
    unsigned long long sectors;
    int n = 0;

    if (sscanf(line, "%8s %llu %15s %n", access, &sectors, d->data_type, &n) < 3 || !n)
        return false;
    if (strcmp(access, "RW") && strcmp(access, "RDONLY") && strcmp(access, "NOACCESS"))
        return false;
    if (line[n] == '"')
        sscanf(line + n, "\"%255[^\"]\"", quote);
    strcpy(d->data, quote);
    if (sectors > IMAGE_SIZE_MAX / 512 - MIN(d->sectors, IMAGE_SIZE_MAX / 512))
        return false;
    d->sectors += sectors;
    d->extents++;
    return true;
}

enum hv_status vmdk_descriptor_read(const char *text, u64 len, struct vmdk_descriptor *out,
                                    const char **why)
{
    char line[512];

    memset(out, 0, sizeof(*out));
    out->parent_cid = 0xffffffff;
    *why = "";
    for (u64 at = 0; at < len && text[at];) {
        at = next_line(text, len, at, line, sizeof(line));
        char *value = strchr(line, '=');
        if (!strncmp(line, "RW ", 3) || !strncmp(line, "RDONLY ", 7) ||
            !strncmp(line, "NOACCESS ", 9)) {
            *why = "an extent line that makes no sense";
            if (!read_extent(line, out))
                return HV_ECORRUPT;
            continue;
        }
        if (!value)
            continue;
        *value++ = 0;
        if (!strcmp(line, "CID"))
            out->cid = (u32)strtoul(value, NULL, 16);
        else if (!strcmp(line, "parentCID"))
            out->parent_cid = (u32)strtoul(value, NULL, 16);
        else if (!strcmp(line, "createType"))
            unquote(value, out->type, sizeof(out->type));
        else if (!strcmp(line, "parentFileNameHint"))
            unquote(value, out->parent, sizeof(out->parent));
    }
    *why = "a descriptor without createType";
    return out->type[0] ? HV_OK : HV_ECORRUPT;
}

u32 vmdk_descriptor_write(char *buf, u32 len, const struct vmdk_descriptor *d)
{
    u64 cylinders = MIN(d->sectors / (16 * 63), 16383ull);
    char hint[300] = "";

    if (d->parent[0])
        snprintf(hint, sizeof(hint), "parentFileNameHint=\"%s\"\n", d->parent);
    return (u32)snprintf(buf, len,
                         "# Disk DescriptorFile\n"
                         "version=1\n"
                         "CID=%08x\n"
                         "parentCID=%08x\n"
                         "createType=\"%s\"\n%s\n"
                         "# Extent description\n"
                         "RW %llu %s \"%s\"%s\n\n"
                         "# The Disk Data Base\n"
                         "#DDB\n\n"
                         "ddb.virtualHWVersion = \"4\"\n"
                         "ddb.geometry.cylinders = \"%llu\"\n"
                         "ddb.geometry.heads = \"16\"\n"
                         "ddb.geometry.sectors = \"63\"\n"
                         "ddb.adapterType = \"lsilogic\"\n",
                         d->cid, d->parent_cid, d->type, hint, (unsigned long long)d->sectors,
                         d->data_type, d->data, strcmp(d->data_type, "FLAT") ? "" : " 0",
                         (unsigned long long)cylinders);
}
