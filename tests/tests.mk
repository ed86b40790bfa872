# Host tests, checks and guests; included by the Makefile.
#
#   make test-host   checks, unit tests and short fuzz runs; ends in "N passed, N failed"
#   make check       the checks alone
#   make fuzz        every fuzz target for FUZZ_SECONDS (600) each, or FUZZ=name only
#   make guests-tests       tests/guests/*.c and *.S to build/test-guests/NAME.elf
#   make guests-reference   run them on QEMU, the reference machine they are checked against
#   build/test-control/*.elf  tests/control/*.c: images in place of the control partition
#   make bench       the table of costs, and build/bench.tsv

WARNINGS := -Wall -Wextra -Werror -Wimplicit-fallthrough -Wshadow -Wvla -Wundef \
            -Wstrict-prototypes -Wmissing-prototypes
HOST_CC ?= gcc
FUZZ_CC ?= clang-14
HOST_FLAGS := -std=gnu11 $(WARNINGS) -fno-common -fno-strict-aliasing -fno-omit-frame-pointer \
              -O1 -g -I. -isystem build/lib/include -isystem build/lwip/include \
              -isystem net/lwip -isystem build/ssh/include -MD -MP
# zlib, zstd, SQLite, lwIP, libssh and mbedTLS; only what a program uses is linked.
HOST_LIB := build/ssh/host/libssh.a build/lwip/host/liblwip.a build/lib/host/libstorage.a
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all

# ---- unit tests: each links the .c files that its first line names -------------------------------
links_of = $(shell sed -n '1s@^/\* links: *\(.*\) \*/.*@\1@p' $(1))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
FUZZ_TESTS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
UNIT_PROGRAMS := $(UNIT_TESTS:%=build/host/%)
FUZZ_PROGRAMS := $(FUZZ_TESTS:%=build/host/%)

build/host/obj/%.o: %.c | $(HOST_LIB)
	@mkdir -p $(@D)
	$(SAY) HCC $<
	$(Q)$(HOST_CC) $(HOST_FLAGS) $(SANITIZERS) -c $< -o $@

build/host/fuzzobj/%.o: %.c | $(HOST_LIB)
	@mkdir -p $(@D)
	$(SAY) FCC $<
	$(Q)$(FUZZ_CC) $(HOST_FLAGS) -O2 -Wno-gnu-variable-sized-type-not-at-end \
	    -fsanitize=fuzzer-no-link,address,undefined \
	    -fno-sanitize-recover=all $(FUZZ_MORE) -c $< -o $@

# These compare numbers of their own, not an input's: to note them all would take most of the time.
$(addprefix build/host/fuzzobj/,storage/engine.o storage/engine_map.o storage/engine_slow.o \
    storage/meta.o storage/disk.o storage/disk_wait.o storage/iov.o control/rt/%.o tests/fuzz/page_disk.o \
    tests/fuzz/image_fuzz.o): FUZZ_MORE := -fno-sanitize-coverage=trace-cmp

define unit_rule
build/host/$(1): build/host/obj/tests/unit/$(1).o \
        $(patsubst %.c,build/host/obj/%.o,$(call links_of,tests/unit/$(1).c))
	$$(SAY) HLD $$@
	$$(Q)$(HOST_CC) $(SANITIZERS) $$^ $(HOST_LIB) -lcmocka -lm -o $$@
endef
define fuzz_rule
build/host/$(1): build/host/fuzzobj/tests/fuzz/$(1).o \
        $(patsubst %.c,build/host/fuzzobj/%.o,$(call links_of,tests/fuzz/$(1).c))
	$$(SAY) FLD $$@
	$$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $$^ $(HOST_LIB) -lm -o $$@
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call unit_rule,$(t))))
$(foreach t,$(FUZZ_TESTS),$(eval $(call fuzz_rule,$(t))))
-include $(shell test -d build/host && find build/host -name '*.d')

.PHONY: host-build test-host check fuzz
host-build: $(UNIT_PROGRAMS) $(FUZZ_PROGRAMS) build/bench/switch

# A program that does not build counts as a failure: the runner looks for every one of them.
test-host: $(if $(wildcard tools/tools.mk),setup)
	@$(MAKE) -f $(firstword $(MAKEFILE_LIST)) -k --no-print-directory -s host-build build/kernel.elf \
	    guests-tests || true
	@tools/fetch-ovs.sh || echo "Open vSwitch's rate beside ours is left out"
	@tests/run_host.py --checks --unit $(UNIT_PROGRAMS) --fuzz $(FUZZ_PROGRAMS) --rates

check: build/kernel.elf | $(HOST_LIB)
	@tests/run_host.py --checks

FUZZ ?= $(FUZZ_TESTS:fuzz_%=%)
FUZZ_SECONDS ?= 600
fuzz: $(FUZZ_PROGRAMS)
	@tests/run_host.py --fuzz-seconds $(FUZZ_SECONDS) --fuzz $(FUZZ:%=build/host/fuzz_%)

# What `make test` does from fixed seeds, from another one: SEED, else a random number.
.PHONY: fuzz-guests
fuzz-guests: image guests-tests $(CONTROL_TESTS)
	@tools/fetch-bochs.sh
	@seed=$${SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}; \
	    echo "FUZZ_SEED=$$seed makes this run again"; export FUZZ_SEED=$$seed; \
	    $(PYTHON) tests/emu/run.py bochs fuzz fuzz-no-vid sysfuzz sysfuzz-2 crash-points && \
	    $(PYTHON) tests/emu/run.py qemu sysfuzz svm-sysfuzz

# ---- guests: one .c or .S each, on tests/guests/lib ----------------------------------------------
GUEST_TESTS := $(sort $(patsubst tests/guests/%,%,$(basename $(wildcard tests/guests/*.c tests/guests/*.S))))
GUEST_ELVES := $(GUEST_TESTS:%=build/test-guests/%.elf)
GUEST_LIB := $(wildcard tests/guests/lib/*.c tests/guests/lib/*.S)
# guest.c is compiled once a guest, with its name; the rest of the library once.
GUEST_LIB_OBJ := $(patsubst %,build/obj/%.o,$(filter-out tests/guests/lib/guest.c,$(GUEST_LIB)))
GUEST_FLAGS := -std=gnu11 $(WARNINGS) -O2 -g -I. -MMD -MP -ffreestanding -mno-red-zone \
        -mgeneral-regs-only -fno-pic -fno-pie -fno-stack-protector -fno-common \
        -fno-strict-aliasing -fno-omit-frame-pointer -fno-asynchronous-unwind-tables \
        -fcf-protection=none

build/obj/tests/guests/lib/%.o: tests/guests/lib/%
	@mkdir -p $(@D)
	$(SAY) GCC $<
	$(Q)$(CC) $(GUEST_FLAGS) -c -o $@ $<
build/obj/tests/guests/%.o: tests/guests/%
	@mkdir -p $(@D)
	$(SAY) GCC $@
	$(Q)$(CC) $(GUEST_FLAGS) -DGUEST_NAME='"$(basename $(<F))"' -c -o $@ $<
build/obj/tests/guests/name/%.o: tests/guests/lib/guest.c
	@mkdir -p $(@D)
	$(SAY) GCC $@
	$(Q)$(CC) $(GUEST_FLAGS) -DGUEST_NAME='"$*"' -c -o $@ $<
define guest_rule
build/test-guests/$(1).elf: build/obj/$(firstword $(wildcard tests/guests/$(1).c \
        tests/guests/$(1).S)).o build/obj/tests/guests/name/$(1).o $(GUEST_LIB_OBJ) \
        tests/guests/lib/guest.ld
	@mkdir -p $$(@D)
	$$(SAY) GLD $$@
	$$(Q)ld -nostdlib -static -S --no-warn-rwx-segments -z max-page-size=4096 -T tests/guests/lib/guest.ld \
	    -o $$@ $$(filter %.o,$$^)
	$(if $(filter $(1),$(GUESTS_ELF32)),$$(Q)objcopy -O elf32-i386 $$@)
endef
GUESTS_ELF32 := multiboot # what loaders of multiboot kernels but GRUB insist on
$(foreach t,$(GUEST_TESTS),$(eval $(call guest_rule,$(t))))
-include $(shell test -d build/obj/tests && find build/obj/tests -name '*.d')

# Programs for Linux guests.
build/linux/%: tests/linux/%.c
	@mkdir -p $(@D)
	$(SAY) LCC $@
	$(Q)$(HOST_CC) -std=gnu11 $(WARNINGS) -O2 -static -s -o $@ $<

.PHONY: guests-tests guests-reference
guests-tests: $(GUEST_ELVES) build/linux/blkload build/linux/agent build/linux/cmos
# The guests themselves are tested on a machine that is not ours.
guests-reference: guests-tests
	@$(EMUSLOT) tests/guests/reference.py $(GUESTS)

# Optimised and without sanitizers.
build/bench/switch: tests/bench/switch.c $(call links_of,tests/unit/test_lacp.c)
	@mkdir -p $(@D)
	$(SAY) HLD $@
	$(Q)$(HOST_CC) -std=gnu11 $(WARNINGS) -O2 -g -I. -fno-strict-aliasing $^ -o $@

# Linux on the bare machine: a UEFI application in the loader's place, of the loader's parts.
build/obj/tests/bare/%.o: tests/bare/% | $(SETUP)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(BOOT_CFLAGS) -c -o $@ $<
build/bench/linux.so: build/obj/tests/bare/linux.c.o $(B)/boot.so
	@mkdir -p $(@D)
	$(Q)ld -nostdlib -znocombreloc -shared -Bsymbolic --no-undefined -z noexecstack \
	    -T $(EFI_LIB)/elf_x86_64_efi.lds -o $@ $(EFI_LIB)/crt0-efi-x86_64.o $< \
	    $(filter-out %/main.c.o,$(BOOT_OBJ)) -L$(EFI_LIB) -lefi -lgnuefi
build/bench/linux.efi: build/bench/linux.so
	$(SAY) EFI $@
	$(Q)objcopy -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j .rel -j .rela -j '.rel.*' \
	    -j '.rela.*' -j .reloc --target efi-app-x86_64 --subsystem=10 $< $@

.PHONY: bench
bench: image guests-tests build/bench/switch build/bench/linux.efi build/linux/bootmark build/host/bench_images \
        build/bench/rate.img build/bench/rate-stock.img ## all figures with their targets, and build/bench.tsv
	@tools/fetch-bochs.sh
	@tools/fetch-ovs.sh || echo "Open vSwitch's rate beside ours is left out"
	@$(PYTHON) tests/bench.py $(TABLES)

# ---- images that take the control partition's place: one .c each, raw system calls ---------------
CONTROL_TESTS := $(patsubst tests/control/%.c,build/test-control/%.elf,$(wildcard tests/control/*.c))
build/obj/tests/control/%.o: tests/control/%.c
	@mkdir -p $(@D)
	$(SAY) GCC $<
	$(Q)$(CC) $(GUEST_FLAGS) -c -o $@ $<
build/test-control/%.elf: build/obj/tests/control/%.o linker.ld
	@mkdir -p $(@D)
	$(LINK) -S --defsym=IMAGE_BASE=$(CONTROL_BASE) -e _start -o $@ $<
.SECONDARY: $(CONTROL_TESTS:build/test-control/%.elf=build/obj/tests/control/%.o)
test-qemu: $(CONTROL_TESTS)

# ---- the control partition as a Linux program ----------------------------------------------------
# The same sources over control/rt/host/ in place of the kernel: `build/host/bulkhead` is the shell
# on this terminal, for tests and to try a change of the shell without an emulator.
HOST_PROGRAM_SRC := $(filter-out control/rt/start.c control/rt/fault.c control/rt/seam.c control/rt/heap.c \
        control/rt/stack.c, \
        $(foreach d,control/rt control vmm drivers net storage,$(wildcard $(d)/*.c)) \
        $(wildcard control/rt/host/*.c kernel/lib/*.c))
HOST_PROGRAM_ASM := $(filter-out control/rt/start.S,$(foreach d,control/rt control vmm,$(wildcard $(d)/*.S)))
build/host/bulkhead: $(HOST_PROGRAM_SRC:%.c=build/host/obj/%.o) $(HOST_PROGRAM_ASM) build/vmm/dsdt.aml
	$(SAY) HLD $@
	$(Q)$(HOST_CC) $(SANITIZERS) $(filter-out %.aml,$^) $(HOST_LIB) -lm -o $@
host-build: build/host/bulkhead
$(UNIT_PROGRAMS) $(FUZZ_PROGRAMS) build/host/bulkhead: $(HOST_LIB)

.PHONY: docs
docs: build/host/bulkhead ## the shell reference in README.md, from the schema
	@tools/gen-shell-reference.sh

# ---- image formats beside QEMU's drivers for them, on this machine --------------------------------
BENCH_IMAGES_SRC := tests/bench_images.c \
        $(filter-out tests/%,$(call links_of,tests/unit/test_snapshot.c))
build/host/bench_images: $(BENCH_IMAGES_SRC) | $(HOST_LIB)
	@mkdir -p $(@D)
	$(SAY) HLD $@
	$(Q)$(HOST_CC) -std=gnu11 $(WARNINGS) -fno-strict-aliasing -fno-omit-frame-pointer -O2 -g -I. \
	    -isystem build/lib/include $^ $(HOST_LIB) -lm -o $@

# Disks and TCP beside Debian's Linux on the same emulated machine.
build/bench/rate.img: build/linux/rate tools/mkinitrd.py
	@mkdir -p $(@D)
	$(Q)$(PYTHON) tools/mkinitrd.py $@ $< /bin/busybox $(or $(BULKHEAD_CACHE),.cache)/guests/modules/*.ko
STOCK := $(or $(BULKHEAD_CACHE),.cache)/stock-kernel
STOCK_MODULES := block/t10-pi drivers/ata/ahci drivers/ata/libahci drivers/ata/libata drivers/scsi/scsi_common \
        drivers/scsi/scsi_mod drivers/scsi/sd_mod crypto/crct10dif_common crypto/crct10dif_generic \
        crypto/crc64_rocksoft_generic lib/crc-t10dif lib/crc64 lib/crc64-rocksoft \
        drivers/net/ethernet/intel/e1000e/e1000e
build/bench/rate-stock.img: build/linux/rate tools/mkinitrd.py tools/binaries.lock tests/tests.mk
	@mkdir -p $(@D)
	$(Q)tools/fetch-deb.sh $$(sed -n 's/^\(linux-image-[^ ]*\) .*/\1/p' tools/binaries.lock) $(STOCK) \
	    'boot/vmlinuz-*' $(STOCK_MODULES:%='lib/modules/*/kernel/%.ko')
	$(Q)cp $(STOCK)/boot/vmlinuz-* build/bench/vmlinuz-stock
	$(Q)$(PYTHON) tools/mkinitrd.py $@ $< /bin/busybox $(STOCK_MODULES:%=$(STOCK)/lib/modules/*/kernel/%.ko)
