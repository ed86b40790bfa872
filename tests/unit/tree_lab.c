/* Trees of snapshots beside a model; for test_snapshot.c and test_snapshot_cuts.c. */
#include "tests/unit/tree_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/chain_lab.h"
#include "tests/unit/store_lab.h"

const u64 tree_lab_sizes[TREE_LAB_DISKS] = {512 * KIB, 768 * KIB};
static const char *const formats[TREE_LAB_DISKS] = {"raw", "qcow2"};
bool tree_lab_was_full;

/* ---- the model: what every state's disks hold ------------------------------------------------ */

static struct tree_lab_state *new_state(const char *name, const char *parent,
                                        const struct tree_lab_state *from)
{
    struct tree_lab_state *s = calloc(1, sizeof(*s));

    s->nvram = from ? from->nvram : 0;
    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->parent, sizeof(s->parent), "%s", parent);
    for (u32 i = 0; i < TREE_LAB_DISKS; i++) {
        lab_model_init(&s->disk[i], tree_lab_sizes[i]);
        if (from)
            memcpy(s->disk[i].bytes, from->disk[i].bytes, tree_lab_sizes[i]);
    }
    return s;
}

static void free_state(struct tree_lab_state *s)
{
    for (u32 i = 0; i < TREE_LAB_DISKS; i++)
        lab_model_free(&s->disk[i]);
    free(s);
}

void tree_lab_init(struct tree_lab *m)
{
    m->count = 1;
    m->state[0] = new_state("", "", NULL);
}

void tree_lab_free(struct tree_lab *m)
{
    while (m->count)
        free_state(m->state[--m->count]);
}

static u32 model_find(const struct tree_lab *m, const char *name)
{
    for (u32 i = 1; i < m->count; i++)
        if (!strcmp(m->state[i]->name, name))
            return i;
    fail_msg("no snapshot %s", name);
    return 0;
}

void tree_lab_take(struct tree_lab *m, const char *name)
{
    m->state[m->count++] = new_state(name, m->state[0]->parent, m->state[0]);
    snprintf(m->state[0]->parent, VM_DIR_NAME, "%s", name);
}

void tree_lab_revert(struct tree_lab *m, const char *name)
{
    struct tree_lab_state *now = new_state("", name, m->state[model_find(m, name)]);

    free_state(m->state[0]);
    m->state[0] = now;
}

void tree_lab_delete(struct tree_lab *m, const char *name)
{
    u32 at = model_find(m, name);

    for (u32 i = 0; i < m->count; i++)
        if (!strcmp(m->state[i]->parent, name))
            memcpy(m->state[i]->parent, m->state[at]->parent, VM_DIR_NAME);
    free_state(m->state[at]);
    m->state[at] = m->state[--m->count];
}

/* ---- a store with a VM ----------------------------------------------------------------------- */

struct vm_dir *tree_lab_load(struct store *s)
{
    char error[IMAGE_ERROR_MAX];
    struct vm_dir *v = NULL;
    enum hv_status status = vm_dir_load(s, "web1", "web1", &v, error);

    if (status != HV_OK)
        print_message("tree_lab_load: %s\n", error);
    assert_int_equal(status, HV_OK);
    return v;
}

struct vm_dir *tree_lab_make(struct store *s)
{
    struct vm_dir *v = NULL;
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];

    assert_int_equal(vm_dir_make(s, "web1", "web1", &v, error), HV_OK);
    for (u32 i = 0; i < TREE_LAB_DISKS; i++) {
        struct vm_dir_disk *d = &v->now.disk[i];
        struct image_options o = {.size = tree_lab_sizes[i]};

        d->number = i;
        snprintf(d->file, sizeof(d->file), "web1-disk%u.%s", i, formats[i]);
        snprintf(d->format, sizeof(d->format), "%s", formats[i]);
        vm_dir_path(v, d->file, path);
        assert_int_equal(chain_create(s, path, formats[i], &o, NULL, error), HV_OK);
    }
    v->now.disk_count = TREE_LAB_DISKS;
    assert_true(vm_dir_set_settings(&v->now, "mem: 256M\ncpu: 2,weight=50\n"));
    assert_int_equal(vm_dir_save(v), HV_OK);
    return v;
}

void tree_lab_expect(u32 line, struct vm_dir *v, enum hv_status status, enum hv_status wanted)
{
    if (status != wanted)
        print_message("line %u: %d, not %d: %s\n", line, status, wanted, v->error);
    assert_int_equal(status, wanted);
}
u32 tree_lab_nvram(const struct vm_dir *v, const char *snapshot)
{
    char path[STORE_PATH_MAX], *text;
    u32 length, number = 0;

    vm_dir_nvram(v, snapshot, path);
    if (store_get(v->store, path, &text, &length) != HV_OK)
        return 0;
    assert_int_equal(sscanf(text, "number %u", &number), 1);
    free(text);
    return number;
}

/* Every state of the tree holds what the model has. */
void tree_lab_compare_with(struct vm_dir *v, const struct tree_lab *m, bool qemu)
{
    assert_int_equal(v->snapshot_count + 1, m->count);
    for (u32 i = 0; i < m->count; i++) {
        const struct vm_dir_state *s = i ? vm_dir_find(v, m->state[i]->name) : &v->now;

        assert_non_null(s);
        assert_string_equal(s->parent, m->state[i]->parent);
        assert_int_equal(s->disk_count, TREE_LAB_DISKS);
        assert_int_equal(tree_lab_nvram(v, m->state[i]->name), m->state[i]->nvram);
        for (u32 d = 0; d < TREE_LAB_DISKS; d++) {
            struct chain *c = chain_lab_open(v, s, d, true);

            lab_compare(c->disk, &m->state[i]->disk[d]);
            if (!tree_lab_was_full)
                chain_lab_names(c);
            if (qemu)
                chain_lab_ask_qemu(c, &m->state[i]->disk[d]);
            assert_int_equal(chain_close(c), HV_OK);
        }
    }
}

void tree_lab_compare(struct vm_dir *v, const struct tree_lab *m)
{
    tree_lab_compare_with(v, m, false);
}

void tree_lab_write(struct vm_dir *v, struct tree_lab *m, u32 steps)
{
    for (u32 d = 0; d < TREE_LAB_DISKS; d++) {
        struct chain *c = chain_lab_open(v, &v->now, d, false);

        for (u32 i = 0; i < steps; i++)
            lab_step(c->disk, &m->state[0]->disk[d], 60000);
        assert_int_equal(chain_close(c), HV_OK);
    }
    char path[STORE_PATH_MAX], text[32];
    m->state[0]->nvram = 1 + lab_random() % 1000000;
    vm_dir_nvram(v, NULL, path);
    struct store_change c = {.kind = STORE_PUT, .path = path, .text = text};
    c.length = (u32)snprintf(text, sizeof(text), "number %u\n", m->state[0]->nvram);
    assert_int_equal(store_apply(v->store, &c, 1), HV_OK);
}

static u32 file_count;

static void on_file(void *arg, const char *name, const struct store_stat *st)
{
    (void)arg, (void)name, (void)st;
    file_count++;
}

u32 tree_lab_files(struct store *s)
{
    file_count = 0;
    assert_int_equal(store_list(s, "web1", on_file, NULL), HV_OK);
    return file_count;
}
