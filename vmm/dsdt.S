/* The guests' DSDT, compiled from vmm/dsdt.asl: acpi_dsdt..acpi_dsdt_end. */
    .section .rodata
    .globl acpi_dsdt, acpi_dsdt_end
    .balign 4
acpi_dsdt:
    .incbin "build/vmm/dsdt.aml"
acpi_dsdt_end:
    .section .note.GNU-stack, "", @progbits
