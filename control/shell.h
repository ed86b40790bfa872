/* Shells: each reads lines from a terminal, runs commands in a fiber of its own and pages what they
 * say.  One is at the console, others belong to remote sessions. */
#pragma once

#include "control/out.h"
#include "control/schema.h"
#include "control/terminal.h"
#include "kernel/abi/types.h"

#define SHELL_USER 32

struct shell;

/* One at a console, which `from` names in events, for as long as the terminal does not end; prints
 * the first prompt when the saved configuration is in force. */
void shell_start(struct terminal *t, const char *from);
/* One for a remote session, of the user with this id, `user`; `from` is told in events.  `line`:
 * runs that and ends; NULL: reads lines.  ended(owner, the last command's status) is called in its
 * fiber when it is over.  NULL: no memory. */
struct shell *shell_open(struct terminal *t, const char *user, u64 id, const char *from,
                         const char *line, void (*ended)(void *owner, int status), void *owner);
/* The size that the terminal's owner was told. */
void shell_resize(struct shell *s, u32 rows, u32 columns);
/* A user was removed, barred or has another role: sessions of who is no more end, and a command
 * that the new role may not run is broken off. */
void shell_users_changed(void);
u32 shell_sessions(u64 id); /* that a user has open */
/* Runs one line with the rights of ROLE_ADMIN, without a terminal: questions are answered yes.  In
 * a fiber.  The last command's status. */
enum hv_status shell_execute(const char *line, struct out_sink *sink);

/* About the shell whose fiber runs; each works, with nobody there, in any other fiber, too. */
struct terminal *shell_terminal(void);    /* NULL: none */
const char *shell_user(void);             /* "root", "config", a name */
const char *shell_history(u32 i);         /* 0 the oldest kept; NULL past the end */
bool shell_break(void);                   /* Ctrl-C was typed since the command began */
bool shell_confirm(const char *question); /* asks "question [y/N] " */
/* Asks for text, shown or not.  False: Ctrl-C, Ctrl-D, or nobody is there. */
bool shell_ask(const char *question, bool shown, char *buf, u32 len);
/* Ends it behind the running command.  False: it is one that does not end. */
bool shell_leave(void);
