/* Asks drives every two seconds whether they have a medium, in one fiber for all: none tells by
 * itself. Called by scsi.c. */
#include "drivers/scsi_media.h"

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"

#define LOOK_EVERY (2 * CLOCK_SECOND)
#define SETTLE_NS (50 * CLOCK_MS)

static struct scsi_disk *drives;
static struct event reason;

static void look_after(void *arg)
{
    (void)arg;
    for (;;) {
        if (fiber_wait(&reason, clock_after(LOOK_EVERY)) == HV_OK)
            fiber_sleep_until(clock_after(SETTLE_NS));
        event_clear(&reason);
        for (struct scsi_disk *d = drives; d; d = d->next)
            scsi_refresh(d);
    }
}

void scsi_media_watch(struct scsi_disk *d)
{
    static bool running;

    d->next = drives;
    drives = d;
    if (running)
        return;
    running = fiber_spawn("media", look_after, NULL);
    if (!running)
        log_warn("no memory to look for media");
}

void scsi_media_look(void)
{
    event_signal(&reason);
}
