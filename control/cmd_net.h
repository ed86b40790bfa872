/* What the files of `net` commands share: names to objects, values to numbers, errors in words. */
#pragma once

#include <lwip/ip_addr.h>

#include "control/schema.h"
#include "net/switches.h"

/* An action of a verb, found by the first word after it: `net switch add`. */
struct cmd_net_action {
    const char *name;
    enum hv_status (*run)(const struct schema_args *args, struct out *out);
};
enum hv_status cmd_net_act(const struct cmd_net_action *actions, u32 count,
                           const struct schema_args *args, struct out *out);

/* The object that the argument names; NULL: an error was printed. */
struct net_switch *cmd_net_switch(const struct schema_args *args, const char *name,
                                  struct out *out);
struct switch_port *cmd_net_port(const struct schema_args *args, const char *name, struct out *out);
/* A switch beside the others, whose ports are found first; NULL: none. */
void cmd_net_stand_in(struct net_switch *sw);
/* A port by its name, without an error. */
struct switch_port *cmd_net_port_named(const char *name);
/* "E_VALUE: NAME: 'x' is not WHAT. Try: EXAMPLE." */
enum hv_status cmd_net_bad(struct out *out, const char *name, const char *value, const char *what,
                           const char *example);
/* "10mbit", "10M", "1.5gbit": bits a second.  "256k": with 1,000s. */
MUST_CHECK bool cmd_net_rate(const char *text, u64 *value);
/* "50ms", "2s", "500us": ns. */
MUST_CHECK bool cmd_net_time(const char *text, u64 *ns);
/* "1%", "0.05%": parts in a million. */
MUST_CHECK bool cmd_net_percent(const char *text, u32 *ppm);

/* An address or a name; waits for the answer.  False: an error was printed. */
bool cmd_net_resolve(const char *text, struct out *out, ip_addr_t *to);
