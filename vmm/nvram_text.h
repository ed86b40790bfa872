/* A clock's CMOS memory as the text of NAME.nvram.  Pure. */
#pragma once

#include "vmm/rtc.h"

#define NVRAM_TEXT 512u

void nvram_text_write(const struct rtc *r, char text[NVRAM_TEXT]);
/* False: it does not begin with such a text, and *r is as it was.  *rest: what comes behind it. */
MUST_CHECK bool nvram_text_read(const char *text, struct rtc *r, const char **rest);
