/* Entry point of the loader, called by gnu-efi's start-up code. */
#pragma once

#include <efi.h>

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);
