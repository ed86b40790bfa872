/* Writing and reading the variables of NAME.nvram; called by vm_nvram.c.  Pure. */
#include "vmm/flash_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW 32u
#define HEAD "efi: "

static bool erased(const u8 *row)
{
    for (u32 i = 0; i < ROW; i++)
        if (row[i] != 0xff)
            return false;
    return true;
}

void flash_text_write(const u8 *bytes, u32 len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    char *to = out + sprintf(out, HEAD "%u\n", len);
    for (u32 at = 0; at < len; at += ROW) {
        if (erased(bytes + at))
            continue;
        to += sprintf(to, "%x ", at);
        for (u32 i = at; i < at + ROW; i++) {
            *to++ = hex[bytes[i] >> 4];
            *to++ = hex[bytes[i] & 15];
        }
        *to++ = '\n';
    }
    *to = 0;
}

static u32 digit(char c)
{
    return c >= '0' && c <= '9' ? (u32)(c - '0') : c >= 'a' && c <= 'f' ? (u32)(c - 'a' + 10) : 16;
}

/* One line; its end, or NULL: it is none. */
static const char *read_row(const char *text, u8 *bytes, u32 len)
{
    char *end;
    unsigned long at = strtoul(text, &end, 16);
    if (end == text || *end++ != ' ' || at % ROW || at >= len)
        return NULL;
    for (u32 i = 0; i < ROW; i++, end += 2) {
        if (digit(end[0]) > 15 || digit(end[1]) > 15)
            return NULL;
        bytes[at + i] = (u8)(digit(end[0]) << 4 | digit(end[1]));
    }
    return *end == '\n' ? end + 1 : NULL;
}

bool flash_text_read(const char *text, u8 *bytes, u32 len)
{
    char head[32];
    snprintf(head, sizeof(head), HEAD "%u\n", len);
    if (strncmp(text, head, strlen(head)) != 0)
        return false;
    u8 *copy = malloc(len);
    if (!copy)
        return false;
    memset(copy, 0xff, len);
    text += strlen(head);
    while (text && *text)
        text = read_row(text, copy, len);
    if (text)
        memcpy(bytes, copy, len);
    free(copy);
    return text;
}
