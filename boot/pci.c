/* Ends DMA of whatever the firmware used to boot.  Called by main.c on the boot CPU. */
#include "boot/pci.h"

#include <efi.h>
#include <efilib.h>

#include <efipciio.h>

#include "kernel/abi/types.h"

/* Configuration header, PCI 3.0 section 6.1. */
enum {
    CONFIG_ID = 0x00,
    CONFIG_COMMAND = 0x04,
    CONFIG_CLASS = 0x08,
    CONFIG_HEADER = 0x0c,
    COMMAND_BUS_MASTER = 0x04,
    HEADER_MULTI = 0x80,
    CLASS_STORAGE = 1,
    CLASS_NETWORK = 2,
    CLASS_BRIDGE = 6,
    CLASS_SERIAL_BUS = 12,
};

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;

static void clear_bus_master(EFI_PCI_IO *io)
{
    UINT16 command;

    if (EFI_ERROR(io->Pci.Read(io, EfiPciIoWidthUint16, CONFIG_COMMAND, 1, &command)))
        return;
    command &= (UINT16)~COMMAND_BUS_MASTER;
    io->Pci.Write(io, EfiPciIoWidthUint16, CONFIG_COMMAND, 1, &command);
}

static void disconnect(EFI_HANDLE handle)
{
    EFI_PCI_IO *io;
    UINT32 class;
    UINTN segment, bus, device, function;

    if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (void **)&io)) ||
        EFI_ERROR(io->Pci.Read(io, EfiPciIoWidthUint32, CONFIG_CLASS, 1, &class)))
        return;
    /* Screens and bridges keep their drivers: behind them are the console and other devices. */
    class >>= 24;
    if (class != CLASS_STORAGE && class != CLASS_NETWORK && class != CLASS_SERIAL_BUS)
        return;
    BS->DisconnectController(handle, NULL, NULL);
    /* Configuration ports reach segment 0 only; others must be stopped while PciIo is there. */
    if (!EFI_ERROR(io->GetLocation(io, &segment, &bus, &device, &function)) && segment != 0)
        clear_bus_master(io);
}

void pci_disconnect_drivers(void)
{
    EFI_HANDLE *handles;
    UINTN count;

    if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &count, &handles)))
        return;
    for (UINTN i = 0; i < count; i++)
        disconnect(handles[i]);
    BS->FreePool(handles);
}

/* Configuration mechanism 1, PCI 3.0 section 3.2.2.3.2. */
static void select_config(u32 function, u32 reg)
{
    asm volatile("outl %0, %w1" ::"a"(0x80000000u | function << 8 | reg), "d"(0xcf8));
}

static u32 read_config(u32 function, u32 reg)
{
    u32 value;

    select_config(function, reg);
    asm volatile("inl %w1, %0" : "=a"(value) : "d"(0xcfc));
    return value;
}

/* `function` is bus:device:function as the address port has it.  False: nothing there. */
static bool stop_function(u32 function)
{
    if ((read_config(function, CONFIG_ID) & 0xffff) == 0xffff)
        return false;
    u32 type = read_config(function, CONFIG_HEADER) >> 16 & 0x7f;
    u32 class = read_config(function, CONFIG_CLASS) >> 24;
    u32 command = read_config(function, CONFIG_COMMAND);
    /* A bridge has no DMA of its own, and the devices behind it will want it open again. */
    if (type == 0 && class != CLASS_BRIDGE && (command & COMMAND_BUS_MASTER)) {
        select_config(function, CONFIG_COMMAND);
        asm volatile("outw %w0, %w1" ::"a"(command & ~(u32)COMMAND_BUS_MASTER), "d"(0xcfc));
    }
    return true;
}

void pci_stop_dma(void)
{
    enum { DEVICES = 256 * 32, FUNCTIONS = 8 };

    for (u32 device = 0; device < DEVICES; device++) {
        u32 first = device * FUNCTIONS;
        if (!stop_function(first))
            continue;
        if (!(read_config(first, CONFIG_HEADER) >> 16 & HEADER_MULTI))
            continue;
        for (u32 i = 1; i < FUNCTIONS; i++)
            stop_function(first + i);
    }
}
