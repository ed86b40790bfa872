/* Descriptors of OVF packages (DSP0243): what of the described machine we can make, and back.
 *
 * Pure.  The text is hostile; names of files in it are only compared with those of the package. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define OVF_TEXT_MAX (1 * MIB)
#define OVF_DISKS 8u
#define OVF_NOTES 16u
#define OVF_NAME 128u
#define OVF_ERROR 200u
#define OVF_SETTINGS 4096u

struct ovf_disk {
    char file[OVF_NAME];
    u64 capacity;  /* bytes */
    u64 file_size; /* bytes; 0: does not say */
    bool empty;    /* it has no file */
};

struct ovf {
    char name[OVF_NAME];
    u32 cpus;
    u64 memory; /* bytes */
    u32 disk_count;
    struct ovf_disk disk[OVF_DISKS]; /* in the order of the machine's items */
    u32 nics;
    u32 note_count;
    char note[OVF_NOTES][96];    /* hardware that is left out: "CD drive 1: CD or DVD drive" */
    char nvram[OVF_NAME];        /* the file of the package that becomes NAME.nvram; "": none */
    u64 nvram_size;              /* bytes, for ovf_write() */
    char settings[OVF_SETTINGS]; /* lines "key: value" that ovf_write() put there */
};

/* HV_ECORRUPT: it is no descriptor; HV_ENOSYS: it asks for what we do not have.  `error` names the
 * line, or the hardware. */
enum hv_status ovf_read(const char *text, u64 len, struct ovf *out, char error[OVF_ERROR]);
/* ovf_write.c.  Returns the length, as snprintf; disks as streamOptimized VMDK. */
u32 ovf_write(char *buf, u32 len, const struct ovf *o);
