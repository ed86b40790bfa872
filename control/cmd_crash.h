/* The record of a panic before this boot. */
#ifndef BULKHEAD_CONTROL_CMD_CRASH_H
#define BULKHEAD_CONTROL_CMD_CRASH_H

void crash_boot_event(void); /* at the start: to log and console, if there is a record */

#endif
