/* Events of logins and connections that were refused.
 *
 * A stranger decides how many there are, and the log has an end: of each kind there are so many at
 * once, then one each REFUSAL_REFILL seconds.  What is more is counted, and one event a while later
 * tells how many they were and what the last one was. */
#pragma once

#include "kernel/abi/types.h"

#define REFUSAL_BURST 20u
#define REFUSAL_REFILL 10u  /* seconds */
#define REFUSAL_SUMMARY 30u /* seconds from the first that was only counted to the event */

/* The name as it came: it is shown in part, and printable. */
void refusal_login(const char *name, const char *from, const char *why);
/* Of one in which nobody tried to log in. */
void refusal_connection(const char *from, const char *why);
