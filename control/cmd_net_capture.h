/* `net capture`: frames of a port as text, or into a pcapng file on a datastore.  The command
 * registers itself. */
#pragma once
