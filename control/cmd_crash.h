/* The record of a panic before this boot. */
#pragma once

void crash_boot_event(void); /* at the start: to log and console, if there is a record */
