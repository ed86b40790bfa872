/* Preallocation of images of any format; called by the shell's `disk` commands, in a fiber. */
#include "storage/prealloc.h"

#include <stdio.h>
#include <stdlib.h>

#define RUN (8 * MIB)
#define DIRTY_MAX 64u /* blocks of metadata before they are written */

static enum hv_status commit(struct image *img)
{
    enum hv_status status = disk_flush(img->file);

    if (status != HV_OK)
        return status;
    return img->format->commit ? img->format->commit(img) : image_commit_meta(img);
}

/* One extent from `at` on; *done: how long it is. */
static enum hv_status give_place(struct image *img, u64 at, u64 *done)
{
    struct image_extent e;
    u64 place, want;
    enum hv_status status = img->format->map(img, at, MIN(img->size - at, RUN), &e);

    *done = e.length;
    if (status != HV_OK || (e.kind != IMAGE_HOLE && e.kind != IMAGE_ZERO))
        return status;
    want = ROUND_UP(e.length, (u64)img->unit);
    status = img->format->alloc(img, at, want, &place, done);
    if (status == HV_OK && place < img->fresh)
        status = disk_zero(img->file, place, *done);
    if (status == HV_OK)
        status = img->format->link(img, at, *done, place);
    if (status == HV_OK && meta_dirty(&img->meta) > DIRTY_MAX)
        status = commit(img);
    return status;
}

static enum hv_status give_places(struct image *img,
                                  bool (*progress)(void *arg, u64 done, u64 total), void *arg)
{
    enum hv_status status = img->format->begin ? img->format->begin(img) : HV_OK;

    for (u64 at = 0, done = 0; at < img->size && status == HV_OK; at += done) {
        status = give_place(img, at, &done);
        if (status == HV_OK && progress && !progress(arg, at, img->size))
            status = HV_ETIMEDOUT;
    }
    if (status == HV_OK)
        status = commit(img);
    if (status == HV_OK && img->format->finish)
        status = img->format->finish(img);
    if (status == HV_OK && img->end < img->file->size && img->file->growable)
        status = disk_resize(img->file, img->end);
    return status == HV_OK ? disk_flush(img->file) : status;
}

enum hv_status prealloc_image(struct disk *file, const struct image_format *format,
                              bool (*progress)(void *arg, u64 done, u64 total), void *arg,
                              char error[IMAGE_ERROR_MAX])
{
    struct image *img = calloc(1, sizeof(*img));
    enum hv_status status = img ? image_layer_open(img, file, format, NULL, false) : HV_ENOMEM;

    error[0] = 0;
    if (status == HV_OK) {
        status = img->read_only || !format->alloc ? HV_ENOSYS : give_places(img, progress, arg);
        image_layer_close(img);
    }
    if (status != HV_OK)
        snprintf(error, IMAGE_ERROR_MAX, "%s",
                 img && img->error[0] ? img->error : "it cannot be thick");
    free(img);
    return status;
}
