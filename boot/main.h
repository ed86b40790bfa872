/* Entry point of the loader, called by gnu-efi's start-up code. */
#ifndef BULKHEAD_BOOT_MAIN_H
#define BULKHEAD_BOOT_MAIN_H

#include <efi.h>

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

#endif
