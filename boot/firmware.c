/* Collects tables, clock, screen and serial port.  Called by main.c on the boot CPU, before
 * ExitBootServices.  Everything here is optional: the kernel copes without. */
#include "boot/firmware.h"

#include <efi.h>
#include <efilib.h>

#include "boot/acpi.h"
#include "boot/console.h"
#include "boot/physical.h"

static u64 config_table(EFI_GUID guid)
{
    for (UINTN i = 0; i < ST->NumberOfTableEntries; i++)
        if (CompareGuid(&ST->ConfigurationTable[i].VendorGuid, &guid) == 0)
            return (u64)ST->ConfigurationTable[i].VendorTable;
    return 0;
}

static void collect_tables(struct boot_info *bi)
{
    static const EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID;
    static const EFI_GUID smbios3 = SMBIOS3_TABLE_GUID, smbios = SMBIOS_TABLE_GUID;

    bi->rsdp = config_table(acpi2);
    if (!bi->rsdp)
        bi->rsdp = config_table(acpi1);
    bi->smbios = config_table(smbios3);
    if (!bi->smbios)
        bi->smbios = config_table(smbios);
}

static void collect_name(struct boot_info *bi)
{
    const CHAR16 *vendor = ST->FirmwareVendor;
    u32 len = 0, revision = ST->FirmwareRevision;

    for (; vendor && vendor[len] && len < sizeof(bi->firmware) - 8; len++)
        bi->firmware[len] = vendor[len] >= ' ' && vendor[len] <= '~' ? (char)vendor[len] : '?';
    bi->firmware[len++] = ' ';
    for (int shift = 20; shift >= 0; shift -= 4)
        if (revision >> shift || shift == 0)
            bi->firmware[len++] = "0123456789abcdef"[revision >> shift & 15];
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. */
static i64 days_from_epoch(i64 year, i64 month, i64 day)
{
    /* Years that begin in March put the leap day last. */
    if (month <= 2)
        year--;
    i64 from_march = (month + 9) % 12;
    i64 leap_days = year / 4 - year / 100 + year / 400;

    return 365 * year + leap_days + (153 * from_march + 2) / 5 + day - 1 - 719468;
}

static void collect_time(struct boot_info *bi)
{
    enum { SECONDS_A_DAY = 86400, ZONE_LIMIT = 1440 }; /* zone in minutes; 2047: none stated */
    EFI_TIME t;

    if (EFI_ERROR(RT->GetTime(&t, NULL)) || t.Year < 1998 || t.Month < 1 || t.Month > 12)
        return;
    bi->unix_time = days_from_epoch(t.Year, t.Month, t.Day) * SECONDS_A_DAY + t.Hour * 3600 +
                    t.Minute * 60 + t.Second;
    if (t.TimeZone >= -ZONE_LIMIT && t.TimeZone <= ZONE_LIMIT)
        bi->unix_time += t.TimeZone * 60;
}

static void collect_framebuffer(struct boot_info *bi)
{
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;

    if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&gop)) || !gop->Mode || !gop->Mode->Info)
        return;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = gop->Mode->Info;
    if (mode->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
        mode->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
        return;
    bi->framebuffer = (struct boot_framebuffer){
        .paddr = gop->Mode->FrameBufferBase,
        .width = mode->HorizontalResolution,
        .height = mode->VerticalResolution,
        .stride = mode->PixelsPerScanLine,
        .format = mode->PixelFormat == PixelBlueGreenRedReserved8BitPerColor,
    };
}

/* The console UART by the Serial Port Console Redirection table, if that names an I/O port. */
static void collect_serial(struct boot_info *bi)
{
    enum { SPACE = 40, ADDRESS = 44, SPACE_IO = 1 };
    u32 len;
    const u8 *spcr = acpi_find(physical_map, bi->rsdp, "SPCR", &len);

    bi->serial_port = CONSOLE_PORT;
    if (spcr && acpi_u8(spcr, len, SPACE) == SPACE_IO && acpi_u64(spcr, len, ADDRESS) >= 0x100 &&
        acpi_u64(spcr, len, ADDRESS) <= 0xfff8)
        bi->serial_port = acpi_u64(spcr, len, ADDRESS);
}

void firmware_collect(struct boot_info *bi)
{
    collect_name(bi);
    collect_tables(bi);
    collect_time(bi);
    collect_framebuffer(bi);
    collect_serial(bi);
}
