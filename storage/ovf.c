/* OVF descriptors read, DSP0243 2.1 and 1.1; called by `vm import`. */
#include "storage/ovf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/xml.h"

#define FILES_MAX 16u

struct file {
    char id[XML_NAME], href[OVF_NAME];
    u64 size;
};

struct virtual_disk {
    char id[XML_NAME], file[XML_NAME];
    u64 capacity;
};

struct item { /* one piece of hardware */
    bool open, optional;
    char name[64], type[16], quantity[24], units[40], host[128];
};

struct reader {
    struct xml xml;
    struct ovf *out;
    char *error;
    struct file file[FILES_MAX];
    struct virtual_disk disk[FILES_MAX];
    u32 files, disks, systems;
    struct item item;
    char within[XML_NAME]; /* the element whose text comes */
};

/* CIM_ResourceAllocationSettingData.ResourceType, DMTF CIM schema 2.22 and later. */
enum { TYPE_CPU = 3, TYPE_MEMORY = 4, TYPE_NIC = 10, TYPE_DISK = 17 };

static const struct {
    u32 type;
    bool mapped; /* to what our machines have anyway; else it is left out, and told */
    const char *what;
} hardware[] = {
    {1, false, "a device of another maker"},
    {5, true, "IDE controller"},
    {6, true, "SCSI controller"},
    {13, false, "another network device"},
    {14, false, "floppy drive"},
    {15, false, "CD drive"},
    {16, false, "DVD drive"},
    {18, false, "tape drive"},
    {19, true, "storage controller"},
    {20, true, "storage controller"},
    {21, false, "serial port beyond the console"},
    {22, false, "parallel port"},
    {23, false, "USB controller"},
    {24, false, "graphics"},
    {35, false, "sound"},
};

static enum hv_status fail(struct reader *r, enum hv_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static enum hv_status fail(struct reader *r, enum hv_status status, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(r->error, OVF_ERROR, "line %u: ", xml_line(&r->xml));

    va_start(ap, fmt);
    vsnprintf(r->error + n, OVF_ERROR - (u32)n, fmt, ap);
    va_end(ap);
    return status;
}

/* ---- numbers ---------------------------------------------------------------------------------
 */

static bool number(const char *text, u64 *value)
{
    char *end;

    while (*text == ' ' || *text == '\n' || *text == '\t' || *text == '\r')
        text++;
    if (*text < '0' || *text > '9' || strlen(text) > 20)
        return false;
    *value = strtoull(text, &end, 10);
    return strspn(end, " \n\t\r") == strlen(end);
}

/* "byte * 2^20", "MegaBytes": 0 if it is no unit of ours. */
static u64 unit_of(const char *text, u64 usual)
{
    static const struct {
        const char *name;
        u64 bytes;
    } old[] = {{"Bytes", 1}, {"byte", 1},        {"KiloBytes", KIB}, {"KB", KIB},
               {"MB", MIB},  {"MegaBytes", MIB}, {"GigaBytes", GIB}, {"GB", GIB}};
    u32 base, power;
    u64 n = 1;

    if (!text || !text[0])
        return usual;
    for (u32 i = 0; i < ARRAY_LEN(old); i++)
        if (!strcmp(text, old[i].name))
            return old[i].bytes;
    if (sscanf(text, "byte * %2u^%2u", &base, &power) != 2 &&
        sscanf(text, "byte*%2u^%2u", &base, &power) != 2)
        return 0;
    if ((base != 2 && base != 10) || power > (base == 2 ? 50u : 15u))
        return 0;
    while (power--)
        n *= base;
    return n;
}

static bool bytes(const char *text, const char *units, u64 usual, u64 *out)
{
    u64 n, unit = unit_of(units, usual);

    if (!unit || !number(text, &n) || n > (1ull << 62) / unit)
        return false;
    *out = n * unit;
    return true;
}

/* Without the white space around it. */
static void copy(char *to, u64 size, const char *from)
{
    static const char space[] = " \t\r\n";

    from = from ? from + strspn(from, space) : "";
    u64 n = strlen(from);
    while (n && strchr(space, from[n - 1]))
        n--;
    n = MIN(n, size - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

/* ---- elements ----------------------------------------------------------------------------------
 */

static enum hv_status on_file(struct reader *r)
{
    const struct xml *x = &r->xml;
    const char *href = xml_attribute(x, "href"), *size = xml_attribute(x, "size");
    const char *packed = xml_attribute(x, "compression");
    struct file *f = &r->file[r->files];

    if (r->files == FILES_MAX)
        return fail(r, HV_ENOSYS, "more than %u files", FILES_MAX);
    if (!href || strlen(href) >= OVF_NAME || !xml_attribute(x, "id"))
        return fail(r, HV_ECORRUPT, "a file has no name");
    if (strchr(href, '/') || strchr(href, '\\') || strchr(href, ':'))
        return fail(r, HV_ENOSYS, "'%.60s' is not a file of the package itself", href);
    if ((packed && strcmp(packed, "identity")) || xml_attribute(x, "chunkSize"))
        return fail(r, HV_ENOSYS, "file '%.60s' is compressed or in pieces", href);
    copy(f->id, sizeof(f->id), xml_attribute(x, "id"));
    copy(f->href, sizeof(f->href), href);
    f->size = 0;
    if (size && !number(size, &f->size))
        return fail(r, HV_ECORRUPT, "file '%.60s' has the size '%.20s'", href, size);
    r->files++;
    return HV_OK;
}

static enum hv_status on_disk(struct reader *r)
{
    const struct xml *x = &r->xml;
    const char *id = xml_attribute(x, "diskId"), *capacity = xml_attribute(x, "capacity");
    const char *format = xml_attribute(x, "format");
    struct virtual_disk *d = &r->disk[r->disks];

    if (r->disks == FILES_MAX)
        return fail(r, HV_ENOSYS, "more than %u disks", FILES_MAX);
    if (!id || !capacity ||
        !bytes(capacity, xml_attribute(x, "capacityAllocationUnits"), 1, &d->capacity) ||
        d->capacity % 512)
        return fail(r, HV_ECORRUPT, "a disk has no size that could be");
    if (xml_attribute(x, "parentRef"))
        return fail(r, HV_ENOSYS, "disk '%.40s' lies over another one", id);
    if (format && !strstr(format, "vmdk.html#"))
        return fail(r, HV_ENOSYS, "disk '%.30s' has the format '%.80s'", id, format);
    copy(d->id, sizeof(d->id), id);
    copy(d->file, sizeof(d->file), xml_attribute(x, "fileRef"));
    r->disks++;
    return HV_OK;
}

static enum hv_status note(struct reader *r, const char *what)
{
    struct ovf *o = r->out;

    if (o->note_count < OVF_NOTES)
        snprintf(o->note[o->note_count++], sizeof(o->note[0]), "%.50s: %.40s", r->item.name, what);
    return HV_OK;
}

static enum hv_status add_disk(struct reader *r)
{
    struct ovf *o = r->out;
    const char *slash = strrchr(r->item.host, '/');
    const char *id = slash ? slash + 1 : r->item.host;
    struct ovf_disk *to = &o->disk[o->disk_count];
    u32 n = 0, f = 0;

    while (n < r->disks && strcmp(r->disk[n].id, id))
        n++;
    if (n == r->disks)
        return fail(r, HV_ECORRUPT, "'%.40s' is on disk '%.60s', which is not described",
                    r->item.name, r->item.host);
    if (o->disk_count == OVF_DISKS)
        return fail(r, HV_ENOSYS, "'%.40s': a machine has at most %u disks", r->item.name,
                    OVF_DISKS);
    *to = (struct ovf_disk){.capacity = r->disk[n].capacity, .empty = !r->disk[n].file[0]};
    while (f < r->files && strcmp(r->file[f].id, r->disk[n].file))
        f++;
    if (f == r->files && !to->empty)
        return fail(r, HV_ECORRUPT, "disk '%.40s' is in file '%.60s', which is not listed", id,
                    r->disk[n].file);
    if (!to->empty) {
        memcpy(to->file, r->file[f].href, sizeof(to->file));
        to->file_size = r->file[f].size;
    }
    o->disk_count++;
    return HV_OK;
}

static enum hv_status on_item(struct reader *r)
{
    struct item *i = &r->item;
    struct ovf *o = r->out;
    u64 type, n = 0;

    i->open = false;
    if (!number(i->type, &type))
        return fail(r, HV_ECORRUPT, "'%.40s' has no ResourceType", i->name);
    switch (type) {
    case TYPE_CPU:
        if (!number(i->quantity, &n) || !n || n > 1024)
            return fail(r, HV_ECORRUPT, "'%.40s' processors", i->quantity);
        o->cpus = (u32)n;
        return HV_OK;
    case TYPE_MEMORY:
        if (!bytes(i->quantity, i->units, MIB, &o->memory) || o->memory < MIB)
            return fail(r, HV_ECORRUPT, "memory: '%.20s' times '%.30s'", i->quantity, i->units);
        return HV_OK;
    case TYPE_NIC:
        o->nics++;
        return HV_OK;
    case TYPE_DISK:
        return add_disk(r);
    }
    for (u32 k = 0; k < ARRAY_LEN(hardware); k++)
        if (hardware[k].type == type)
            return hardware[k].mapped ? HV_OK : note(r, hardware[k].what);
    return i->optional ? note(r, "not needed")
                       : fail(r, HV_ENOSYS, "'%.60s': hardware of type %llu is not known", i->name,
                              (unsigned long long)type);
}

/* Others' sections may have items of their own. */
static bool is_item(const struct xml *x)
{
    const char *name = x->name;

    return x->depth > 1 && !strcmp(x->open[x->depth - 2], "VirtualHardwareSection") &&
           (!strcmp(name, "Item") || !strcmp(name, "StorageItem") ||
            !strcmp(name, "EthernetPortItem"));
}

static void take_nvram(struct reader *r, const char *name)
{
    for (u32 i = 0; i < r->files; i++)
        if (!strcmp(r->file[i].href, name))
            copy(r->out->nvram, sizeof(r->out->nvram), name);
}

/* A setting of ours that ovf_write() put there. */
static void on_extra(struct reader *r)
{
    const char *key = xml_attribute(&r->xml, "key"), *value = xml_attribute(&r->xml, "value");
    struct ovf *o = r->out;
    u64 had = strlen(o->settings);

    if (!key || !value || strncmp(key, "bulkhead.", 9) || strpbrk(value, "\r\n") ||
        had + strlen(key) + strlen(value) + 4 > sizeof(o->settings))
        return;
    if (!strcmp(key + 9, "nvram")) {
        take_nvram(r, value);
        return;
    }
    snprintf(o->settings + had, sizeof(o->settings) - had, "%s: %s\n", key + 9, value);
}

static enum hv_status on_section(struct reader *r)
{
    static const char *const known[] = {
        "DiskSection",
        "NetworkSection",
        "VirtualHardwareSection",
        "AnnotationSection",
        "ProductSection",
        "OperatingSystemSection",
        "EulaSection",
        "DeploymentOptionSection",
        "ResourceAllocationSection",
        "StartupSection",
        "InstallSection",
        "BootDeviceSection",
        "EnvironmentFilesSection",
    };
    const char *name = r->xml.name, *required = xml_attribute(&r->xml, "required");
    u64 n = strlen(name);

    if (n < 7 || strcmp(name + n - 7, "Section") || (required && !strcmp(required, "false")))
        return HV_OK;
    for (u32 i = 0; i < ARRAY_LEN(known); i++)
        if (!strcmp(name, known[i]))
            return HV_OK;
    return fail(r, HV_ENOSYS, "it needs '%.60s', which is not known", name);
}

static enum hv_status on_open(struct reader *r)
{
    const struct xml *x = &r->xml;
    const char *name = x->name;

    copy(r->within, sizeof(r->within), name);
    if (x->depth == 1 && strcmp(name, "Envelope"))
        return fail(r, HV_ECORRUPT, "it is no OVF descriptor");
    if (!strcmp(name, "VirtualSystemCollection"))
        return fail(r, HV_ENOSYS, "it describes several machines");
    if (!strcmp(name, "VirtualSystem")) {
        if (r->systems++)
            return fail(r, HV_ENOSYS, "it describes several machines");
        copy(r->out->name, sizeof(r->out->name), xml_attribute(x, "id"));
        return HV_OK;
    }
    if (!strcmp(name, "File"))
        return on_file(r);
    if (!strcmp(name, "Disk"))
        return on_disk(r);
    if (!strcmp(name, "ExtraConfig"))
        on_extra(r);
    if (is_item(x) && !xml_attribute(x, "configuration")) {
        const char *required = xml_attribute(x, "required");

        r->item = (struct item){.open = true, .optional = required && !strcmp(required, "false")};
    }
    return on_section(r);
}

static void on_text(struct reader *r)
{
    const char *text = r->xml.value;
    struct item *i = &r->item;
    const struct {
        const char *name;
        char *to;
        u32 size;
    } fields[] = {
        {"ElementName", i->name, sizeof(i->name)},
        {"ResourceType", i->type, sizeof(i->type)},
        {"VirtualQuantity", i->quantity, sizeof(i->quantity)},
        {"AllocationUnits", i->units, sizeof(i->units)},
        {"HostResource", i->host, sizeof(i->host)},
    };

    if (i->open) {
        for (u32 n = 0; n < ARRAY_LEN(fields); n++)
            if (!strcmp(r->within, fields[n].name))
                copy(fields[n].to, fields[n].size, text);
    } else if (!strcmp(r->within, "Name") && r->systems && r->xml.depth == 3) {
        copy(r->out->name, sizeof(r->out->name), text);
    }
}

enum hv_status ovf_read(const char *text, u64 len, struct ovf *out, char error[OVF_ERROR])
{
    struct reader *r = calloc(1, sizeof(*r));
    enum hv_status status = HV_OK;
    enum xml_item item;

    memset(out, 0, sizeof(*out));
    snprintf(error, OVF_ERROR, "no memory");
    if (!r)
        return HV_ENOMEM;
    r->out = out;
    r->error = error;
    xml_begin(&r->xml, text, len);
    while (status == HV_OK && (item = xml_next(&r->xml)) != XML_END) {
        if (item == XML_BAD)
            status = fail(r, HV_ECORRUPT, "%s", r->xml.why);
        else if (item == XML_OPEN)
            status = on_open(r);
        else if (item == XML_TEXT)
            on_text(r);
        else {
            r->within[0] = 0;
            if (r->item.open && is_item(&r->xml))
                status = on_item(r);
        }
    }
    if (status == HV_OK && (!r->systems || !out->cpus || !out->memory))
        status = fail(r, HV_ECORRUPT, "it does not describe a machine with processors and memory");
    free(r);
    return status;
}
