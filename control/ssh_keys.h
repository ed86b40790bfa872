/* Keys of SSH as text: the host's own, in OpenSSH's form without its first and last line, and those
 * that let users in, "ssh-ed25519 BASE64".  One thread. */
#pragma once

#include <libssh/libssh.h>

#include "kernel/abi/types.h"

#define SSH_KEYS_HOST 512u /* of a host key's text, with NUL */

/* Once, before anything else of libssh; again does nothing. */
void ssh_keys_start(void);
/* A new host key (Ed25519).  False: no memory. */
MUST_CHECK bool ssh_keys_new_host(char text[SSH_KEYS_HOST]);
bool ssh_keys_is_host(const char *text);
/* The host's key, to be freed; NULL: the text is none. */
ssh_key ssh_keys_host(const char *text);
/* "SHA256:..." of a key, as ssh-keygen -l prints it. */
void ssh_keys_fingerprint(ssh_key key, char *buf, u32 len);
/* Of the public half of the host's.  False: the text is none. */
bool ssh_keys_host_fingerprint(const char *text, char *buf, u32 len);
/* Of a user's public key, of a kind that lets in.  False: it is none. */
MUST_CHECK bool ssh_keys_user_fingerprint(const char *text, char *buf, u32 len);
