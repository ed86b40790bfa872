/* links: storage/ovf.c storage/ovf_write.c storage/xml.c storage/digest.c storage/disk_wait.c storage/disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Any bytes as an OVF descriptor and as a manifest; what was understood is written and read again.
 */
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/digest.h"
#include "storage/ovf.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct ovf first, second;
    static char text[256 * KIB];
    char error[OVF_ERROR];
    const char *at = (const char *)data, *end = at + size;
    struct digest_line line;

    enum hv_status status;
    while ((status = digest_read_line(&at, end, &line)) != HV_ENOENT)
        if (status == HV_OK && strlen(line.hex) < 40)
            abort();
    if (ovf_read((const char *)data, size, &first, error) != HV_OK)
        return 0;
    u32 n = ovf_write(text, sizeof(text), &first);
    if (n >= sizeof(text) || ovf_read(text, n, &second, error) != HV_OK)
        abort();
    if (second.disk_count != first.disk_count || second.cpus != first.cpus)
        abort();
    return 0;
}
