/* Packages read; called by `vm import`. */
#include "control/package.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/digest.h"
#include "storage/window.h"

typedef unsigned long long ull;

#define MANIFEST_MAX (64 * KIB)

static bool ends(const char *text, const char *end)
{
    u64 n = strlen(text), len = strlen(end);

    return n > len && !strcmp(text + n - len, end);
}

/* The archive's members; the first one is its descriptor (DSP0243 2.1, section 5.3). */
static enum hv_status read_archive(struct out *out, struct package *p)
{
    enum hv_status status = place_sectors(out, &p->place);
    if (status != HV_OK)
        return status;
    status = tar_read(p->place.file, p->member, TAR_MEMBERS_MAX, &p->count);
    if (status == HV_OK &&
        (!ends(p->member[0].name, ".ovf") || strlen(p->member[0].name) >= sizeof(p->ovf)))
        status = HV_ECORRUPT;
    if (status != HV_OK)
        return place_fail(out, status, "an OVA that is whole",
                          status == HV_ECORRUPT ? "this is no archive that begins with its .ovf"
                                                : "the archive cannot be read");
    memcpy(p->ovf, p->member[0].name, strlen(p->member[0].name) + 1);
    return HV_OK;
}

enum hv_status package_open(struct out *out, const char *text, struct package *p)
{
    const char *slash;
    enum hv_status status;

    memset(p, 0, sizeof(*p));
    p->archive = ends(text, ".ova");
    if (!p->archive && !ends(text, ".ovf"))
        return out_error(out, HV_EINVAL, "E_INVALID", "ds1:app.ova", "'%s' is no .ova and no .ovf",
                         text);
    status = place_open(out, text, PLACE_READ, &p->place);
    if (status != HV_OK)
        return status;
    if (p->archive) {
        status = read_archive(out, p);
    } else if (!p->place.store) {
        status = out_error(out, HV_ENOSYS, "E_UNSUPPORTED", "store import its files first",
                           "an OVF whose files are not in a store");
    } else {
        slash = strrchr(p->place.path, '/');
        snprintf(p->dir, sizeof(p->dir), "%.*s", slash ? (int)(slash + 1 - p->place.path) : 0,
                 p->place.path);
        snprintf(p->ovf, sizeof(p->ovf), "%s", slash ? slash + 1 : p->place.path);
    }
    if (status != HV_OK)
        place_close(&p->place);
    return status;
}

void package_close(struct package *p)
{
    place_close(&p->place);
}

static enum hv_status open_member(struct package *p, const char *name, struct disk **file,
                                  u64 *length)
{
    char path[STORE_PATH_MAX];
    u32 i = 0;

    if (!p->archive) {
        if (strchr(name, '/') ||
            snprintf(path, sizeof(path), "%s%s", p->dir, name) >= (int)sizeof(path))
            return HV_ENOENT;
        enum hv_status status = store_open(p->place.store, path, true, file);
        *length = status == HV_OK ? (*file)->size : 0;
        return status;
    }
    while (i < p->count && strcmp(p->member[i].name, name))
        i++;
    if (i == p->count || !p->member[i].size)
        return HV_ENOENT;
    u64 whole = p->place.file->size - p->member[i].offset;
    struct window_piece piece = {p->member[i].offset,
                                 MIN(ROUND_UP(p->member[i].size, (u64)TAR_BLOCK), whole)};
    piece.length = ROUND_DOWN(piece.length, (u64)p->place.file->block_size);
    *length = p->member[i].size;
    if (*length > piece.length)
        return HV_ECORRUPT;
    *file = window_open(p->place.file, "member", name, &piece, 1);
    return *file ? HV_OK : HV_ENOMEM;
}

enum hv_status package_member(struct out *out, struct package *p, const char *name,
                              struct disk **file, u64 *length)
{
    enum hv_status status = open_member(p, name, file, length);

    return status == HV_OK
               ? status
               : out_error(out, status, "E_NOENT", "store ls STORE, or a package that is whole",
                           "the package has no file '%.100s' that can be read", name);
}

enum hv_status package_text(struct out *out, struct package *p, const char *name, u64 most,
                            char **text, u64 *len)
{
    struct disk *file;
    enum hv_status status = package_member(out, p, name, &file, len);

    *text = NULL;
    if (status != HV_OK)
        return status;
    u64 whole = MIN(ROUND_UP(*len, (u64)file->block_size), file->size);
    if (*len <= most)
        *text = malloc(whole + 1);
    status = *len > most ? HV_E2BIG : *text ? disk_read(file, 0, *text, whole) : HV_ENOMEM;
    disk_close(file);
    if (status == HV_OK)
        return HV_OK;
    free(*text);
    *text = NULL;
    return place_fail(out, status, "a package that is whole",
                      status == HV_E2BIG ? "a text of it is too long" : "it cannot be read");
}

enum hv_status package_describe(struct out *out, struct package *p, struct ovf *o)
{
    char *text, error[OVF_ERROR];
    u64 len;
    enum hv_status status = package_text(out, p, p->ovf, OVF_TEXT_MAX, &text, &len);

    if (status != HV_OK)
        return status;
    status = ovf_read(text, len, o, error);
    free(text);
    if (status == HV_ENOSYS)
        return out_error(out, status, "E_HARDWARE", "vm create, and disk import of its disks",
                         "%s: %s", p->ovf, error);
    return status == HV_OK ? status
                           : out_error(out, status, "E_CORRUPT", "a package that is whole",
                                       "%s: %s", p->ovf, error);
}

static bool on_progress(void *arg, u64 done)
{
    (void)done;
    return !out_cancelled(arg);
}

static enum hv_status verify_line(struct out *out, struct package *p,
                                  const struct digest_line *line)
{
    char hex[DIGEST_HEX];
    struct disk *file;
    u64 length;
    enum hv_status status = package_member(out, p, line->name, &file, &length);

    if (status != HV_OK)
        return status;
    status = digest_of(file, length, line->kind, hex, on_progress, out);
    disk_close(file);
    if (status != HV_OK)
        return place_fail(out, status, "disk list", "a file of the package cannot be read");
    if (strcmp(hex, line->hex))
        return out_error(out, HV_ECORRUPT, "E_CHECKSUM", "fetch the package again",
                         "%.80s has not the %s of the manifest", line->name,
                         digest_name(line->kind));
    return HV_OK;
}

static bool has_member(struct package *p, const char *name)
{
    struct disk *file;
    u64 length;

    if (open_member(p, name, &file, &length) != HV_OK)
        return false;
    disk_close(file);
    return true;
}

enum hv_status package_verify(struct out *out, struct package *p)
{
    char name[OVF_NAME], *text;
    struct digest_line line;
    u64 len;
    u32 verified = 0;
    bool descriptor = false;
    enum hv_status status;

    snprintf(name, sizeof(name), "%.*s.mf", (int)(strlen(p->ovf) - 4), p->ovf);
    if (!has_member(p, name)) {
        out_printf(out, "It has no manifest: nothing is verified.\n");
        return HV_OK;
    }
    status = package_text(out, p, name, MANIFEST_MAX, &text, &len);
    if (status != HV_OK)
        return status;
    const char *at = text, *end = text + len;
    while (end > at && !end[-1]) /* filled up to a block */
        end--;
    enum hv_status read = HV_OK;
    while (status == HV_OK && (read = digest_read_line(&at, end, &line)) == HV_OK) {
        status = verify_line(out, p, &line);
        descriptor |= !strcmp(line.name, p->ovf);
        verified++;
    }
    free(text);
    if (status == HV_OK && (read != HV_ENOENT || !descriptor))
        return out_error(out, HV_ECORRUPT, "E_CHECKSUM", "fetch the package again",
                         "the manifest %.80s is not as it should be after %u lines", name,
                         verified);
    return status;
}
