/* One line of QEMU's guest agent, as JSON.  Pure; the guest is hostile. */
#pragma once

#include "kernel/abi/types.h"

#define GUEST_AGENT_LINE 1024u /* longer ones are none of ours */

enum guest_agent_kind {
    GUEST_AGENT_RETURN, /* {"return": NUMBER} or any other value */
    GUEST_AGENT_ERROR,  /* {"error": {..., "desc": TEXT}} */
    GUEST_AGENT_OTHER,  /* not understood: noise, an event */
};

struct guest_agent_reply {
    enum guest_agent_kind kind;
    bool is_number;
    i64 number;
    char text[120]; /* of an error; printable */
};

void guest_agent_read_reply(const char *line, u32 len, struct guest_agent_reply *out);
