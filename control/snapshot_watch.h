/* Looks every ten minutes for snapshots that have grown old, and says so in the log: alarm
 * snapshot.old, once for each. */
#pragma once

void snapshot_watch_start(void);
