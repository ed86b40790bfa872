/* Chains of images in a datastore: opened by VMs, by snapshots and by the shell's `disk`. */
#include "storage/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum hv_status fail(char *error, enum hv_status status, const char *path, const char *why)
{
    snprintf(error, IMAGE_ERROR_MAX, "%.80s: %.100s", path, why[0] ? why : "the disk fails");
    return status;
}

const char *chain_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static enum hv_status open_files(struct chain *c, struct store *s, const char *format,
                                 bool read_only, struct image_layer *layers, char *error)
{
    for (u32 i = 0; i < c->count; i++) {
        const struct store_image *img = &c->image[i];
        const char *name = !i && format && format[0] ? format : img->format;

        if (img->format[0] &&
            strcmp(name, img->format)) { /* written as another, it would be lost */
            char why[64];

            snprintf(why, sizeof(why), "the store knows it as %.15s", img->format);
            return fail(error, HV_EINVAL, img->path, why);
        }
        layers[i].format = image_format(name[0] ? name : "raw");
        if (!layers[i].format)
            return fail(error, HV_ENOSYS, img->path, "its format is not known");
        enum hv_status status = store_open(s, img->path, read_only || i, &c->file[i]);
        if (status != HV_OK)
            return fail(error, status, img->path, store_error(s));
        layers[i].file = c->file[i];
    }
    return HV_OK;
}

enum hv_status chain_open(struct store *s, const char *path, const char *format, bool read_only,
                          struct chain **out, char error[IMAGE_ERROR_MAX])
{
    struct image_layer layers[IMAGE_CHAIN_MAX] = {0};
    struct chain *c = calloc(1, sizeof(*c));

    if (!c)
        return fail(error, HV_ENOMEM, path, "no memory");
    enum hv_status status = store_chain(s, path, c->image, IMAGE_CHAIN_MAX, &c->count);
    if (status != HV_OK) {
        c->count = 0;
        fail(error, status, path, store_error(s));
    } else {
        status = open_files(c, s, format, read_only, layers, error);
    }
    if (status == HV_OK)
        status = image_open(path, layers, c->count, read_only, &c->disk, error);
    if (status != HV_OK) {
        chain_close(c);
        return status;
    }
    *out = c;
    return HV_OK;
}

enum hv_status chain_close(struct chain *c)
{
    enum hv_status status = c->disk ? disk_close(c->disk) : HV_OK;

    for (u32 i = 0; i < c->count; i++) {
        enum hv_status closed = c->file[i] ? disk_close(c->file[i]) : HV_OK;

        status = status == HV_OK ? closed : status;
    }
    free(c);
    return status;
}

enum hv_status chain_grow(struct store *s, struct chain *c, u64 size, char error[IMAGE_ERROR_MAX])
{
    const struct store_image *top = &c->image[0];
    struct image *img = image_of(c->disk, 0);
    struct store_change change = {.kind = STORE_IMAGE,
                                  .path = top->path,
                                  .to = c->count > 1 ? c->image[1].path : NULL,
                                  .format = img->format->name,
                                  .size = size};
    if (size < c->disk->size || size % DISK_SECTOR || size > IMAGE_SIZE_MAX)
        return fail(error, HV_EINVAL, top->path, "disks only grow, by whole sectors");
    img->error[0] = 0;
    enum hv_status status = disk_resize(c->disk, size);
    if (status != HV_OK)
        return fail(error, status, top->path,
                    img->error[0]         ? img->error
                    : status == HV_ENOSYS ? "an image of this kind does not grow"
                    : status == HV_EPERM  ? "it is read-only"
                                          : "it does not take that size");
    status = store_apply(s, &change, 1);
    return status == HV_OK ? status : fail(error, status, top->path, store_error(s));
}

enum hv_status chain_create(struct store *s, const char *path, const char *format,
                            struct image_options *o, struct chain *parent,
                            char error[IMAGE_ERROR_MAX])
{
    const struct image_format *f = image_format(format);
    struct disk *file;

    error[0] = 0;
    if (!f || !f->can_create || (parent && !f->can_parent))
        return fail(error, HV_ENOSYS, path, "images of this format cannot be made for that");
    if (parent) {
        o->size = parent->disk->size;
        o->parent = image_of(parent->disk, 0);
        o->parent_name = chain_base_name(parent->image[0].path); /* a hint for other tools */
        o->parent_format = o->parent->format->name;
    }
    image_new_id(o->id);
    enum hv_status status = store_make(s, path, false);
    if (status != HV_OK)
        return fail(error, status, path, store_error(s));
    status = store_open(s, path, false, &file);
    if (status == HV_OK) {
        status = f->create(file, o, error);
        enum hv_status closed = disk_close(file);
        status = status == HV_OK ? closed : status;
    }
    if (status != HV_OK) {
        if (!error[0])
            fail(error, status, path, store_error(s));
        if (store_remove(s, path) != HV_OK) /* the first failure is the one that counts */
            return status;
    }
    return status;
}
