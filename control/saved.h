/* The configuration that survives: made into command lines, kept on the boot disk, run at start.
 *
 * Every object that commands make has a function (SCHEMA_SAVES) that prints the commands which make
 * it again.  After each command that may have changed something all of them are collected and, if
 * the text differs from what is kept, written (storage/slots.h) before the prompt comes back.  One
 * fiber reads and writes; docs/configuration.md tells the rest. */
#pragma once

#include "control/out.h"
#include "control/schema.h"

/* At start: once the devices are there, finds the disk, runs what is kept, and then starts what
 * waits for it: the network of a first boot, VMs with autostart. */
void saved_start(void);
/* In a fiber: until the kept configuration is in force, or it takes too long. */
void saved_wait(void);
/* In a fiber, after a command: returns when what it changed is durable, or after some seconds. */
void saved_touch(void);
/* In a fiber: writes also when nothing has changed.  HV_ENOENT: no disk has a place for it; else
 * the disk's error. */
enum hv_status saved_save(void);
/* Writes an empty configuration and keeps nothing more until the next start. */
enum hv_status saved_reset(void);
void saved_set_autosave(bool on);
/* Forgets the lines that failed at start. */
void saved_forget(void);

/* All of it as it would be kept; to be freed.  NULL: no memory, or too long. */
char *saved_text(void);
/* What `host config status` says. */
void saved_status(struct out *out);
/* For net/first_boot.c: the network is what it set up by itself, and need not be kept. */
void saved_network_is_default(void);
/* It still is. */
bool saved_network_untouched(void);
