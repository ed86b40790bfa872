# Builds Bulkhead.  `make help` lists the targets.
#
#   build/obj/kernel/   kernel.elf   kernel/ and kernel/lib/, freestanding
#   build/obj/control/  control.elf  control/ vmm/ drivers/ net/ storage/ and kernel/lib/, on musl
#   build/obj/boot/     BOOTX64.EFI  boot/ and the part of kernel/lib/ it needs, on gnu-efi
#
# Sources are found by wildcard: a new file needs no change here.  Tests and tools add their
# targets in tests/tests.mk and tools/tools.mk.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
SAY = $(if $(V),@:,@printf '  %-5s %s\n')

B := build
CC := gcc
HOSTCC := gcc

WARN := -Wall -Wextra -Werror -Wimplicit-fallthrough -Wshadow -Wvla -Wundef -Wstrict-prototypes \
        -Wmissing-prototypes
# -MD: net/lwip/lwipopts.h, which has the layout of lwIP's structures, comes by -isystem.
CFLAGS_ALL := -std=gnu11 -O2 -g -I. -I$(B) $(WARN) -fno-common -fno-strict-aliasing \
        -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -ffile-prefix-map=$(CURDIR)/= -MD -MP
NO_PIC := -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -ffunction-sections \
        -fdata-sections

# What a fresh machine lacks.  tools/tools.mk sets these: a stamp that the needed packages are
# there (SETUP), and what the image takes along beside our own programs (IMAGE_DEPS).
SETUP :=
IMAGE_DEPS :=
-include tools/tools.mk
-include tests/tests.mk

# ---- kernel ------------------------------------------------------------------------------------
KERNEL_SRC := $(filter-out kernel/asm_offsets.c,$(wildcard kernel/*.c kernel/*.S kernel/lib/*.c))
KERNEL_OBJ := $(KERNEL_SRC:%=$(B)/obj/kernel/%.o)
KERNEL_CFLAGS := $(CFLAGS_ALL) $(NO_PIC) -ffreestanding -mno-red-zone -mgeneral-regs-only \
        -mcmodel=kernel
# No indirect branch but those of kernel/branches.S.
KERNEL_CFLAGS += -mindirect-branch=thunk-extern -mindirect-branch-register -fno-jump-tables
KERNEL_BASE := 0xffffffff80000000
KERNEL_ENTRY := kernel_entry

# Offsets of struct members for the .S files, computed by the compiler: asm_offsets.c leaves
# "#define NAME value" lines in its assembler output.
OFFSETS := $(B)/kernel/asm_offsets.h

$(B)/kernel/asm_offsets.h: kernel/asm_offsets.c | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) GEN $@
	$(Q)$(CC) $(KERNEL_CFLAGS) -MT $@ -MF $(@:.h=.d) -S -o $(@:.h=.s) $<
	$(Q)sed -n 's/^[[:space:]]*\(#define .*\)/\1/p' $(@:.h=.s) >$@

$(B)/obj/kernel/%.c.o: %.c | $(SETUP) $(OFFSETS)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(KERNEL_CFLAGS) -c -o $@ $<

$(B)/obj/kernel/%.S.o: %.S $(OFFSETS) | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(KERNEL_CFLAGS) -c -o $@ $<

# ---- control partition -------------------------------------------------------------------------
CONTROL_DIRS := control/rt control vmm drivers net storage
CONTROL_SRC := $(foreach d,$(CONTROL_DIRS),$(wildcard $(d)/*.c $(d)/*.S)) $(wildcard kernel/lib/*.c)
CONTROL_OBJ := $(CONTROL_SRC:%=$(B)/obj/control/%.o)
MUSL := $(B)/musl
# This and LIBGCC are not `:=`: on a fresh machine the compiler arrives only with `setup`.
CONTROL_CFLAGS = $(CFLAGS_ALL) $(NO_PIC) -nostdinc -isystem $(MUSL)/include \
        -isystem $(shell $(CC) -print-file-name=include) -isystem $(B)/lib/include \
        -isystem $(B)/lwip/include -isystem net/lwip -isystem $(B)/ssh/include
# Exits are served without the FPU: its registers stay the guest's (kernel/fpu.h).
NO_FPU := -mgeneral-regs-only
$(B)/obj/control/storage/store_vfs.c.o: NO_FPU := # SQLite asks for the time as a fraction
CONTROL_BASE := 0x400000
CONTROL_ENTRY := _start
STORAGE_LIB := $(B)/lib/control/libstorage.a
LWIP_LIB := $(B)/lwip/control/liblwip.a
SSH_LIB := $(B)/ssh/control/libssh.a
CONTROL_LIBS := $(SSH_LIB) $(LWIP_LIB) $(STORAGE_LIB) $(MUSL)/lib/libc.a
LIBGCC = $(shell $(CC) -print-libgcc-file-name)

$(MUSL)/lib/libc.a: tools/build-musl.sh control/rt/musl/syscall_arch.h | $(SETUP)
	$(Q)tools/build-musl.sh

# zlib, zstd and SQLite, for storage/; $(B)/lib/host has the same for the host tests.
$(STORAGE_LIB) $(B)/lib/host/libstorage.a &: tools/build-libs.sh $(MUSL)/lib/libc.a | $(SETUP)
	$(Q)tools/build-libs.sh

# lwIP, for net/; $(B)/lwip/host has the same for the host tests.
$(LWIP_LIB) $(B)/lwip/host/liblwip.a &: tools/build-lwip.sh net/lwip/lwipopts.h \
        net/lwip/arch/cc.h $(MUSL)/lib/libc.a | $(SETUP)
	$(Q)tools/build-lwip.sh

# libssh and mbedTLS, for control/; $(B)/ssh/host has the same for the host tests.
$(SSH_LIB) $(B)/ssh/host/libssh.a &: tools/build-ssh.sh control/ssh/config.h \
        control/ssh/mbedtls_config.h $(MUSL)/lib/libc.a | $(SETUP)
	$(Q)tools/build-ssh.sh

$(B)/obj/control/%.c.o: %.c | $(MUSL)/lib/libc.a $(STORAGE_LIB) $(LWIP_LIB) $(SSH_LIB)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CONTROL_CFLAGS) $(NO_FPU) -c -o $@ $<

$(B)/obj/control/%.S.o: %.S | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CONTROL_CFLAGS) -c -o $@ $<

# The guests' DSDT, which vmm/dsdt.S includes.
$(B)/vmm/dsdt.aml: vmm/dsdt.asl | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) ASL $<
	$(Q)iasl -vs -p $(basename $@) $< >$(basename $@).log || { cat $(basename $@).log; false; }

$(B)/obj/control/vmm/dsdt.S.o: $(B)/vmm/dsdt.aml

# ---- both images: link, embed the symbol table, link again --------------------------------------
LINK := ld -nostdlib -static --gc-sections --build-id=sha1 -z max-page-size=4096 -z noexecstack \
        --no-warn-rwx-segments --fatal-warnings -T linker.ld

# $(call link_image,NAME,BASE,ENTRY,OBJECTS,LIBS)
# With a C library its allocator is counted by control/rt/heap.c.
HEAP_WRAP := --wrap=malloc --wrap=calloc --wrap=realloc --wrap=free
define link_image
$(B)/$(1).pass1.elf: $(4) $(5) $(B)/obj/$(1).pass1.sym.o linker.ld
	$(Q)$(LINK) $(if $(5),$(HEAP_WRAP)) --defsym=IMAGE_BASE=$(2) -e $(3) -o $$@ $(4) $(B)/obj/$(1).pass1.sym.o \
	    $(5) $$(if $(5),$$(LIBGCC))

$(B)/$(1).elf: $(B)/$(1).pass1.elf $(B)/obj/$(1).sym.o
	$$(SAY) LD $$@
	$(Q)$(LINK) $(if $(5),$(HEAP_WRAP)) --defsym=IMAGE_BASE=$(2) -e $(3) -Map=$(B)/$(1).map -o $$@ \
	    $(4) $(B)/obj/$(1).sym.o $(5) $$(if $(5),$$(LIBGCC))
	$(Q)nm -n $$@ >$(B)/$(1).sym

$(B)/obj/$(1).pass1.sym.S: $(B)/tools/gensyms
	@mkdir -p $$(@D)
	$(Q)$$< </dev/null >$$@

$(B)/obj/$(1).sym.S: $(B)/$(1).pass1.elf $(B)/tools/gensyms
	$(Q)nm -n $$< | $(B)/tools/gensyms >$$@
endef
$(eval $(call link_image,kernel,$(KERNEL_BASE),$(KERNEL_ENTRY),$(KERNEL_OBJ),))
$(eval $(call link_image,control,$(CONTROL_BASE),$(CONTROL_ENTRY),$(CONTROL_OBJ),$(CONTROL_LIBS)))

$(B)/obj/%.sym.o: $(B)/obj/%.sym.S
	$(Q)$(CC) -c -o $@ $<

$(B)/tools/%: tools/%.c | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) HOST $@
	$(Q)$(HOSTCC) $(filter-out -fno-asynchronous-unwind-tables,$(CFLAGS_ALL)) -o $@ $<

$(B)/image/%.elf: $(B)/%.elf
	@mkdir -p $(@D)
	$(Q)strip -s -o $@ $<

$(B)/%.asm: $(B)/%.elf
	$(Q)objdump -d --no-show-raw-insn $< >$@

# ---- loader ------------------------------------------------------------------------------------
BOOT_SRC := $(wildcard boot/*.c boot/*.S) kernel/lib/elf.c
BOOT_OBJ := $(BOOT_SRC:%=$(B)/obj/boot/%.o)
BOOT_CFLAGS := $(CFLAGS_ALL) -ffreestanding -fpic -fshort-wchar -fno-stack-protector \
        -fcf-protection=none -mno-red-zone -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi \
        -isystem /usr/include/efi/x86_64
EFI_LIB := /usr/lib

$(B)/obj/boot/%.o: % | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(BOOT_CFLAGS) -c -o $@ $<

$(B)/boot.so: $(BOOT_OBJ)
	$(Q)ld -nostdlib -znocombreloc -shared -Bsymbolic --no-undefined -z noexecstack \
	    -T $(EFI_LIB)/elf_x86_64_efi.lds -o $@ $(EFI_LIB)/crt0-efi-x86_64.o $^ -L$(EFI_LIB) \
	    -lefi -lgnuefi

$(B)/BOOTX64.EFI: $(B)/boot.so
	$(SAY) EFI $@
	$(Q)objcopy -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j .rel -j .rela -j '.rel.*' \
	    -j '.rela.*' -j .reloc --target efi-app-x86_64 --subsystem=10 $< $@

# ---- disk image --------------------------------------------------------------------------------
IMAGE_FILES := $(B)/BOOTX64.EFI $(B)/image/kernel.elf $(B)/image/control.elf \
        boot/bulkhead.conf

$(B)/bulkhead.img: tools/mkimage.sh $(IMAGE_FILES) $(IMAGE_DEPS) $(wildcard $(B)/guests/* \
        $(B)/guests/*/*) | $(SETUP)
	$(Q)tools/mkimage.sh $@ $(B)/guests $(IMAGE_FILES)
# For the tests: other guests.
$(B)/third-party.img: tools/mkimage.sh $(IMAGE_FILES) $(TEST_IMAGES)
	$(Q)tools/mkimage.sh $@ $(B)/third-party $(IMAGE_FILES)

# ---- targets -----------------------------------------------------------------------------------
.PHONY: all image asm format clean help
all: $(B)/kernel.elf $(B)/control.elf $(B)/BOOTX64.EFI ## kernel, control partition and loader
image: $(B)/bulkhead.img ## build/bulkhead.img: GPT disk for a USB stick
asm: $(B)/kernel.asm $(B)/control.asm ## disassembly beside .map and .sym
format: ## clang-format every source file in place
	git ls-files '*.c' '*.h' | xargs clang-format -i
clean: ## remove build/
	rm -rf $(B)
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | sort | \
	    while IFS=$$'\t' read -r t h; do printf '  make %-14s %s\n' "$$t" "$$h"; done

-include $(shell find $(B)/obj $(B)/kernel $(B)/tools -name '*.d' 2>/dev/null)
