/* A clock's CMOS memory as the text of NAME.nvram.  Pure. */
#pragma once

#include "vmm/rtc.h"

#define NVRAM_TEXT 512u

void nvram_text_write(const struct rtc *r, char text[NVRAM_TEXT]);
/* False: it is not such a text, and *r is as it was. */
MUST_CHECK bool nvram_text_read(const char *text, struct rtc *r);
