/* The table of aliases.  Pure; called by the parser. */
#include "control/aliases.h"

#include <string.h>

#define ROW(first, second, noun, verb)                                                             \
    {                                                                                              \
        first, second, noun, verb, noun " " verb                                                   \
    }

static const struct alias table[] = {
    ROW("qm", "list", "vm", "list"),
    ROW("qm", "config", "vm", "show"),
    ROW("qm", "status", "vm", "stats"),
    ROW("qm", "create", "vm", "create"),
    ROW("qm", "set", "vm", "set"),
    ROW("qm", "start", "vm", "start"),
    ROW("qm", "stop", "vm", "stop"),
    ROW("qm", "shutdown", "vm", "shutdown"),
    ROW("qm", "reset", "vm", "reset"),
    ROW("qm", "suspend", "vm", "pause"),
    ROW("qm", "resume", "vm", "resume"),
    ROW("qm", "terminal", "vm", "console"),
    ROW("virsh", "list", "vm", "list"),
    ROW("virsh", "dumpxml", "vm", "show"),
    ROW("virsh", "start", "vm", "start"),
    ROW("virsh", "shutdown", "vm", "shutdown"),
    ROW("virsh", "reset", "vm", "reset"),
    ROW("virsh", "suspend", "vm", "pause"),
    ROW("virsh", "resume", "vm", "resume"),
    ROW("virsh", "console", "vm", "console"),
    ROW("virsh", "domstats", "vm", "stats"),
    ROW("virsh", "nodeinfo", "host", "info"),
    ROW("virsh", "undefine", "vm", "delete"),
    ROW("virsh", "define", "vm", "create"),
    ROW("xl", "list", "vm", "list"),
    ROW("xl", "create", "vm", "create"),
    ROW("xl", "shutdown", "vm", "shutdown"),
    ROW("xl", "pause", "vm", "pause"),
    ROW("xl", "unpause", "vm", "resume"),
    ROW("xl", "console", "vm", "console"),
    ROW("xl", "info", "host", "info"),
    ROW("xl", "dmesg", "host", "log"),
    ROW("xl", "top", "host", "cpu"),
    ROW("xl", "sched-credit2", "vm", "set"),
};

const struct alias *aliases_find(const char *first, const char *second)
{
    for (u32 i = 0; i < ARRAY_LEN(table); i++) {
        if (!strcmp(table[i].first, first) && !strcmp(table[i].second, second))
            return &table[i];
    }
    return NULL;
}
