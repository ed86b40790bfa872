/* Looks for contradictions in a store's catalogue, by queries that should find nothing; called by
 * `store check` and the tests. */
#include <string.h>

#include "storage/store_inner.h"

struct checking {
    void (*fn)(void *arg, const char *what);
    void *arg;
    u64 problems;
};

static int on_row(void *arg, int columns, char **values, char **names)
{
    struct checking *c = arg;

    (void)columns, (void)names;
    if (!values[0] || !strcmp(values[0], "ok"))
        return 0;
    c->problems++;
    c->fn(c->arg, values[0]);
    return 0;
}

enum hv_status store_check(struct store *s, void (*fn)(void *arg, const char *what), void *arg,
                           u64 *problems)
{
    static const char *const queries[] = {
        "PRAGMA integrity_check",
        "SELECT 'inode '||id||' has no name' FROM inode WHERE id<>1 AND id NOT IN "
        "(SELECT inode FROM name)",
        "SELECT 'name '||name||' has no inode' FROM name WHERE inode NOT IN (SELECT id FROM inode)",
        "SELECT 'name '||name||' is in no directory' FROM name WHERE parent NOT IN "
        "(SELECT id FROM inode WHERE directory)",
        "SELECT 'inode '||inode||' has a map and is no file' FROM map WHERE inode NOT IN "
        "(SELECT id FROM inode WHERE NOT directory)",
        "SELECT 'inode '||inode||' is an image and no file' FROM image WHERE inode NOT IN "
        "(SELECT id FROM inode WHERE NOT directory)",
        "SELECT 'image '||inode||' has lost its parent' FROM image WHERE parent<>0 AND parent NOT "
        "IN (SELECT id FROM inode WHERE NOT directory)",
        "SELECT 'inode '||inode||' has a text and is no small file' FROM text WHERE inode NOT IN "
        "(SELECT id FROM inode WHERE NOT directory AND size=length(bytes)) OR inode IN "
        "(SELECT inode FROM map)",
        "SELECT 'inode '||inode||' is named twice' FROM name GROUP BY inode HAVING count(*)>1",
    };
    struct checking c = {fn, arg, 0};
    enum hv_status status = HV_OK;

    store_lock(s);
    for (u32 i = 0; i < ARRAY_LEN(queries) && status == HV_OK; i++) {
        int ret = sqlite3_exec(s->db, queries[i], on_row, &c, NULL);

        if (ret != SQLITE_OK)
            status = store_sql_failed(s, ret & 0xff);
    }
    store_unlock(s);
    *problems = c.problems;
    return status;
}
