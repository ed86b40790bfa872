/* A guest's UEFI variables, the writable part of its flash memory, as lines of NAME.nvram: what is
 * not erased, 32 bytes a line.  Pure; the text may be anything. */
#pragma once

#include "kernel/abi/types.h"

/* Most that the lines of so many bytes take, with the NUL. */
#define FLASH_TEXT(bytes) ((bytes) / 32 * 80 + 64)

/* Lines and a NUL; out[] has FLASH_TEXT(len) bytes, len is a multiple of 32. */
void flash_text_write(const u8 *bytes, u32 len, char *out);
/* `text` begins with such lines for `len` bytes and ends with them.  False: it does not, and
 * bytes[] is as it was. */
MUST_CHECK bool flash_text_read(const char *text, u8 *bytes, u32 len);
