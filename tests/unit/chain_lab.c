/* Chains of images of a VM's directory, for tests: opened, their names looked at, shown to QEMU. */
#include "tests/unit/chain_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/qcow2_parent.h"

struct chain *chain_lab_open(struct vm_dir *v, const struct vm_dir_state *s, u32 disk,
                             bool read_only)
{
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];
    struct chain *c = NULL;

    vm_dir_path(v, s->disk[disk].file, path);
    enum hv_status status = chain_open(v->store, path, s->disk[disk].format, read_only, &c, error);
    if (status != HV_OK)
        print_message("open %s: %s\n", path, error);
    assert_int_equal(status, HV_OK);
    return c;
}

void chain_lab_names(struct chain *c)
{
    for (u32 i = 0; i + 1 < c->count; i++) {
        const char *name = chain_base_name(c->image[i + 1].path);

        if (!strcmp(c->image[i].format, "qcow2"))
            assert_string_equal(image_of(c->disk, i)->parent_hint, name);
    }
}

void chain_lab_ask_qemu(struct chain *c, const struct lab_model *m)
{
    const char *dir = lab_path("chain"), *flat = lab_path("flat");
    char path[256];
    FILE *f = fopen(flat, "wb");

    assert_int_equal(lab_command("rm -rf %s && mkdir %s", dir, dir), 0);
    for (u32 i = 0; i < c->count; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, chain_base_name(c->image[i].path));
        lab_save(c->file[i], path);
    }
    fwrite(m->bytes, 1, m->size, f);
    fclose(f);
    if (lab_command("qemu-img compare -f %s -F raw %s/%s %s",
                    qcow2_parent_format(c->image[0].format), dir, chain_base_name(c->image[0].path),
                    flat))
        fail_msg("%s", lab_output);
    assert_int_equal(lab_command("rm -rf %s %s", dir, flat), 0);
}
