/* Start-up of the control partition: a table of steps, then the event loop. */
#include "control/main.h"

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"

int main(void)
{
    clock_init();
    log_info("control partition %s", BULKHEAD_VERSION);
    loop_run();
}
