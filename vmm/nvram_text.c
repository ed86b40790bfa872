/* Writing and reading NAME.nvram; called by vm_nvram.c. */
#include "vmm/nvram_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD                                                                                       \
    "# What the battery of this VM's clock keeps: ns between its time and the host's, CMOS "       \
    "memory\n"
#define CLOCK "clock: "
#define CMOS "\ncmos: "

void nvram_text_write(const struct rtc *r, char text[NVRAM_TEXT])
{
    u32 n = (u32)snprintf(text, NVRAM_TEXT, HEAD CLOCK "%lld" CMOS, (long long)r->offset);
    for (u32 i = RTC_KEPT; i < sizeof(r->ram); i++)
        n += (u32)snprintf(text + n, NVRAM_TEXT - n, "%02x", r->ram[i]);
    snprintf(text + n, NVRAM_TEXT - n, "\n");
}

static u32 digit(char c)
{
    return c >= '0' && c <= '9' ? (u32)(c - '0') : c >= 'a' && c <= 'f' ? (u32)(c - 'a' + 10) : 16;
}

bool nvram_text_read(const char *text, struct rtc *r, const char **rest)
{
    const char *at = strstr(text, CLOCK);
    u8 ram[sizeof(r->ram)];
    char *end;
    if (!at)
        return false;
    at += strlen(CLOCK);
    long long offset = strtoll(at, &end, 10);
    if (end == at || strncmp(end, CMOS, strlen(CMOS)) != 0)
        return false;
    at = end + strlen(CMOS);
    for (u32 i = RTC_KEPT; i < sizeof(ram); i++, at += 2) {
        if (digit(at[0]) > 15 || digit(at[1]) > 15)
            return false;
        ram[i] = (u8)(digit(at[0]) << 4 | digit(at[1]));
    }
    if (*at != '\n')
        return false;
    *rest = at + 1;
    memcpy(r->ram + RTC_KEPT, ram + RTC_KEPT, sizeof(ram) - RTC_KEPT);
    r->offset = MIN(MAX(offset, -RTC_OFFSET_MAX), RTC_OFFSET_MAX);
    return true;
}
