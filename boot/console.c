/* The loader's few lines of text, on the firmware's console and on COM1.  Boot CPU only. */
#include "boot/console.h"

#include <stdarg.h>

#include <efi.h>
#include <efilib.h>

#define LINE_LEN 400
#define UART_SPINS 100000 /* then the port is taken for dead */

static bool firmware_present;
static bool firmware_on_serial;

struct text {
    char chars[LINE_LEN];
    u32 len;
};

static void outb(u16 port, u8 value)
{
    asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static u8 inb(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* Does the variable ConOut name a UART?  Then what we print through the firmware already goes to
 * the serial line, and once is enough (UEFI 2.9 section 3.3, 10.3.4.13). */
static bool conout_has_uart(void)
{
    static u8 path[2048];
    UINTN size = sizeof(path), at = 0;

    if (EFI_ERROR(RT->GetVariable(L"ConOut", &gEfiGlobalVariableGuid, NULL, &size, path)))
        return false;
    while (at + sizeof(EFI_DEVICE_PATH_PROTOCOL) <= size) {
        EFI_DEVICE_PATH_PROTOCOL *node = (EFI_DEVICE_PATH_PROTOCOL *)(path + at);
        if (DevicePathType(node) == MESSAGING_DEVICE_PATH && node->SubType == MSG_UART_DP)
            return true;
        UINTN len = (UINTN)DevicePathNodeLength(node);
        if (len < sizeof(*node))
            return false;
        at += len;
    }
    return false;
}

void console_init(void)
{
    firmware_present = true;
    firmware_on_serial = conout_has_uart();
}

void console_firmware_gone(void)
{
    firmware_present = false;
}

static void serial_char(char c)
{
    enum { DATA = 0, LINE_STATUS = 5, TRANSMIT_EMPTY = 0x20 };

    /* A missing UART reads as ff, which says empty: nothing waits for it. */
    for (int i = 0; i < UART_SPINS && !(inb(CONSOLE_PORT + LINE_STATUS) & TRANSMIT_EMPTY); i++)
        asm volatile("pause");
    outb(CONSOLE_PORT + DATA, (u8)c);
}

static void text_add(struct text *t, char c)
{
    if (t->len < LINE_LEN)
        t->chars[t->len++] = c;
}

static void text_number(struct text *t, u64 value, u32 base)
{
    char digits[24];
    u32 count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count)
        text_add(t, digits[--count]);
}

static void text_format(struct text *t, const char *format, va_list *args)
{
    for (; *format; format++) {
        if (*format != '%') {
            text_add(t, *format);
            continue;
        }
        switch (*++format) {
        case 's':
            for (const char *s = va_arg(*args, const char *); *s; s++)
                text_add(t, *s);
            break;
        case 'u':
            text_number(t, va_arg(*args, u64), 10);
            break;
        default:
            text_number(t, va_arg(*args, u64), 16);
            break;
        }
    }
}

void console_line(const char *format, ...)
{
    static CHAR16 wide[LINE_LEN + 3];
    struct text t = {.len = 0};
    va_list args;
    u32 len = 0;

    va_start(args, format);
    text_format(&t, format, &args);
    va_end(args);
    for (; len < t.len; len++)
        wide[len] = (CHAR16)t.chars[len];
    wide[len++] = '\r';
    wide[len++] = '\n';
    wide[len] = 0;
    if (firmware_present && ST->ConOut)
        ST->ConOut->OutputString(ST->ConOut, wide);
    if (firmware_present && firmware_on_serial && ST->ConOut)
        return;
    for (u32 i = 0; i < len; i++)
        serial_char((char)wide[i]);
}
