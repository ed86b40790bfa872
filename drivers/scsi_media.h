/* Looks after drives whose media come and go.  Called by scsi.c. */
#pragma once

#include "drivers/scsi.h"

/* A registered drive, from now on. */
void scsi_media_watch(struct scsi_disk *d);
/* There is a reason to look soon. */
void scsi_media_look(void);
