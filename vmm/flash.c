/* Commands of a guest's flash memory; called by firmware.c on the event loop.  Pure. */
#include "vmm/flash.h"

#include <string.h>

enum {
    CMD_PROGRAM_OLD = 0x10,
    CMD_ERASE = 0x20,
    CMD_PROGRAM = 0x40,
    CMD_CLEAR_STATUS = 0x50,
    CMD_READ_STATUS = 0x70,
    CMD_CONFIRM = 0xd0,
    CMD_BUFFER = 0xe8,
};
#define STATUS_READY 0x80

enum { COMMAND, PROGRAM, ERASE, BUFFER_COUNT, BUFFER_DATA, BUFFER_CONFIRM };

/* The array stays mapped while the status is to be read: it is seen where the command was written,
 * which is where drivers look, and nowhere else. */
static void show_status(struct flash *f, u8 *bytes, u32 at)
{
    f->shown = 1;
    f->shown_at = at;
    f->hidden = bytes[at];
    bytes[at] = f->status;
}

static void show_array(struct flash *f, u8 *bytes)
{
    if (f->shown)
        bytes[f->shown_at] = f->hidden;
    f->shown = 0;
}

void flash_reset(struct flash *f, u8 *bytes)
{
    show_array(f, bytes);
    f->mode = COMMAND;
    f->status = STATUS_READY;
}

static void command(struct flash *f, u8 *bytes, u32 at, u8 value)
{
    switch (value) {
    case CMD_PROGRAM_OLD:
    case CMD_PROGRAM:
        f->mode = PROGRAM;
        break;
    case CMD_ERASE:
        f->mode = ERASE;
        break;
    case CMD_BUFFER:
        f->mode = BUFFER_COUNT;
        break;
    case CMD_CLEAR_STATUS:
        f->status = 0;
        break;
    case CMD_READ_STATUS:
        show_status(f, bytes, at);
        break;
    default: /* read the array, and what is not known */
        break;
    }
}

static void program(struct flash *f, u8 *bytes, u32 at, u8 size, u64 value)
{
    f->status = STATUS_READY;
    if (at >= f->vars || size > f->vars - at || memcmp(bytes + at, &value, size) == 0)
        return;
    memcpy(bytes + at, &value, size);
    f->changed = 1;
}

static void erase(struct flash *f, u8 *bytes, u32 at)
{
    at = ROUND_DOWN(at, FLASH_BLOCK);
    f->status = STATUS_READY;
    if (at >= f->vars || FLASH_BLOCK > f->vars - at)
        return;
    memset(bytes + at, 0xff, FLASH_BLOCK);
    f->changed = 1;
}

void flash_write(struct flash *f, u8 *bytes, u32 at, u8 size, u64 value)
{
    u8 mode = f->mode;
    show_array(f, bytes);
    f->mode = COMMAND;
    switch (mode) {
    case PROGRAM:
        program(f, bytes, at, size, value);
        break;
    case ERASE:
        if ((u8)value == CMD_CONFIRM)
            erase(f, bytes, at);
        break;
    case BUFFER_COUNT:
        f->left = (u8)value + 1u;
        f->mode = BUFFER_DATA;
        break;
    case BUFFER_DATA:
        program(f, bytes, at, size, value);
        f->mode = --f->left ? BUFFER_DATA : BUFFER_CONFIRM;
        break;
    case BUFFER_CONFIRM:
        break;
    default:
        command(f, bytes, at, (u8)value);
        break;
    }
}
