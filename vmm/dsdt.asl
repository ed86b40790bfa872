// What a guest is told beyond the fixed tables: soft-off, the console UART, the clock.
// Compiled by iasl at build time; acpi_tables.c hands it out unchanged.
DefinitionBlock ("dsdt.aml", "DSDT", 2, "BULKHD", "GUEST", 1)
{
    // SLP_TYP values of S5: ACPI_S5_TYPE in vmm/acpi_pm.h
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_GPE)
    {
        Method (_E01, 0, Serialized) // ACPI_GPE_HOTPLUG in vmm/acpi_pm.h
        {
            \_SB.PCI0.LOOK (\_SB.PCI0.CAME, 1)
            \_SB.PCI0.LOOK (\_SB.PCI0.LEAV, 3)
        }
    }

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Method (_STA, 0) { Return (0x0F) }
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                IRQNoFlags () { 4 }
            })
        }

        // Bus 0, as vmm/pci.h lays it out: INTA# of slot n is I/O APIC pin 16 + n modulo 4.
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_SEG, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0xC000, 0xFFFF, 0, 0x4000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
            })
            Name (_PRT, Package ()
            {
                Package () { 0x0001FFFF, 0, 0, 17 },
                Package () { 0x0002FFFF, 0, 0, 18 },
                Package () { 0x0003FFFF, 0, 0, 19 },
                Package () { 0x0004FFFF, 0, 0, 16 },
                Package () { 0x0005FFFF, 0, 0, 17 },
                Package () { 0x0006FFFF, 0, 0, 18 },
                Package () { 0x0007FFFF, 0, 0, 19 },
                Package () { 0x0008FFFF, 0, 0, 16 },
                Package () { 0x0009FFFF, 0, 0, 17 },
                Package () { 0x000AFFFF, 0, 0, 18 },
                Package () { 0x000BFFFF, 0, 0, 19 },
                Package () { 0x000CFFFF, 0, 0, 16 },
                Package () { 0x000DFFFF, 0, 0, 17 },
                Package () { 0x000EFFFF, 0, 0, 18 },
                Package () { 0x000FFFFF, 0, 0, 19 },
                Package () { 0x0010FFFF, 0, 0, 16 },
                Package () { 0x0011FFFF, 0, 0, 17 },
                Package () { 0x0012FFFF, 0, 0, 18 },
                Package () { 0x0013FFFF, 0, 0, 19 },
                Package () { 0x0014FFFF, 0, 0, 16 },
                Package () { 0x0015FFFF, 0, 0, 17 },
                Package () { 0x0016FFFF, 0, 0, 18 },
                Package () { 0x0017FFFF, 0, 0, 19 },
                Package () { 0x0018FFFF, 0, 0, 16 },
                Package () { 0x0019FFFF, 0, 0, 17 },
                Package () { 0x001AFFFF, 0, 0, 18 },
                Package () { 0x001BFFFF, 0, 0, 19 },
                Package () { 0x001CFFFF, 0, 0, 16 },
                Package () { 0x001DFFFF, 0, 0, 17 },
                Package () { 0x001EFFFF, 0, 0, 18 },
                Package () { 0x001FFFFF, 0, 0, 19 }
            })

            // Slots whose device may come and go: vmm/pci_hotplug.c.  Bit n is slot n.
            OperationRegion (HPLG, SystemIO, 0x0630, 0x0C)
            Field (HPLG, DWordAcc, NoLock, WriteAsZeros)
            {
                CAME, 32, // slots with a new device; reading clears
                LEAV, 32, // slots whose device is to be let go; reading clears
                EJCT, 32  // written: the device may be taken out
            }
            Device (S04)
            {
                Name (_ADR, 0x00040000)
                Name (_SUN, 4)
                Method (_EJ0, 1) { EJCT = 0x10 }
            }
            Device (S05)
            {
                Name (_ADR, 0x00050000)
                Name (_SUN, 5)
                Method (_EJ0, 1) { EJCT = 0x20 }
            }
            Device (S06)
            {
                Name (_ADR, 0x00060000)
                Name (_SUN, 6)
                Method (_EJ0, 1) { EJCT = 0x40 }
            }
            Device (S07)
            {
                Name (_ADR, 0x00070000)
                Name (_SUN, 7)
                Method (_EJ0, 1) { EJCT = 0x80 }
            }
            // Disks.  Slot 8, which disk0 boots from, has no _EJ0: a guest does not let it go.
            Device (S09)
            {
                Name (_ADR, 0x00090000)
                Name (_SUN, 9)
                Method (_EJ0, 1) { EJCT = 0x0200 }
            }
            Device (S0A)
            {
                Name (_ADR, 0x000A0000)
                Name (_SUN, 10)
                Method (_EJ0, 1) { EJCT = 0x0400 }
            }
            Device (S0B)
            {
                Name (_ADR, 0x000B0000)
                Name (_SUN, 11)
                Method (_EJ0, 1) { EJCT = 0x0800 }
            }
            Device (S0C)
            {
                Name (_ADR, 0x000C0000)
                Name (_SUN, 12)
                Method (_EJ0, 1) { EJCT = 0x1000 }
            }
            Device (S0D)
            {
                Name (_ADR, 0x000D0000)
                Name (_SUN, 13)
                Method (_EJ0, 1) { EJCT = 0x2000 }
            }
            Device (S0E)
            {
                Name (_ADR, 0x000E0000)
                Name (_SUN, 14)
                Method (_EJ0, 1) { EJCT = 0x4000 }
            }
            Device (S0F)
            {
                Name (_ADR, 0x000F0000)
                Name (_SUN, 15)
                Method (_EJ0, 1) { EJCT = 0x8000 }
            }
            // Notify: 1 look at the slot, 3 let its device go (ACPI 6.4, table 5.166).
            Method (LOOK, 2, Serialized)
            {
                If (Arg0 & 0x10) { Notify (S04, Arg1) }
                If (Arg0 & 0x20) { Notify (S05, Arg1) }
                If (Arg0 & 0x40) { Notify (S06, Arg1) }
                If (Arg0 & 0x80) { Notify (S07, Arg1) }
                If (Arg0 & 0x0200) { Notify (S09, Arg1) }
                If (Arg0 & 0x0400) { Notify (S0A, Arg1) }
                If (Arg0 & 0x0800) { Notify (S0B, Arg1) }
                If (Arg0 & 0x1000) { Notify (S0C, Arg1) }
                If (Arg0 & 0x2000) { Notify (S0D, Arg1) }
                If (Arg0 & 0x4000) { Notify (S0E, Arg1) }
                If (Arg0 & 0x8000) { Notify (S0F, Arg1) }
            }
        }

        // The memory of ECAM belongs to nobody else (PCI Firmware Specification 3.2, 4.1.2).
        Device (ECAM)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                IRQNoFlags () { 8 }
            })
        }

        Device (TIMR)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                IRQNoFlags () { 0 }
            })
        }
    }
}
