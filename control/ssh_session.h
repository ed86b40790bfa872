/* One SSH connection, from its first byte to the end of its shell: libssh on one side, a terminal
 * on the other.  All of libssh runs in the connection's fiber; the shell has a fiber of its own. */
#pragma once

#include "kernel/abi/types.h"

#define SSH_SESSION_LOGIN_MS 60000 /* until a shell is asked for */
#define SSH_SESSION_TRIES 3u       /* passwords a connection */
#define SSH_SESSION_REFUSALS 6u    /* of keys, passwords and whatever else; then it is closed */

struct ssh_session_options {
    const char *key;      /* the host's, as ssh_keys_new_host() gives it */
    const char *peer;     /* for events */
    bool passwords;       /* let passwords in, not keys alone */
    u32 idle_seconds;     /* a shell ends in which nothing is typed or said for so long; 0: never */
    void (*wake)(int fd); /* ends a poll() of the connection's fiber; NULL: there is none */
    /* Somebody has logged in.  False: there is no room for him.  NULL: there always is. */
    bool (*logged_in)(void *owner);
    void *owner;
};

/* Serves the socket until it ends, and closes it.  In a fiber. */
void ssh_session_serve(int fd, const struct ssh_session_options *o);
