# Set-up, emulators and test tiers; included by the Makefile.  `setup` is cheap when nothing is
# missing, so it is an order-only prerequisite of whatever needs a package.

PYTHON := /usr/bin/python3
DEMO_FILES := $(B)/guests/demo/vmlinuz $(B)/guests/demo/initrd.img

# Kernels of others that the tests boot.
TEST_IMAGES := $(B)/third-party/xen $(B)/third-party/vmlinux # and $(B)/third-party.img with both

UEFI_DISKS := $(B)/uefi/disk.img $(B)/uefi/ipxe.img # of guests that start with firmware

SETUP := setup
IMAGE_DEPS := $(DEMO_FILES)

.PHONY: setup run debug console test test-qemu test-bochs test-ipxe

setup: ## install the Debian packages that are missing
	@tools/setup.sh

run: image ## start the image on KVM or QEMU (VTX=1: on Bochs), serial console on the terminal
	@$(if $(filter bochs,$(EMULATOR))$(VTX),tools/fetch-bochs.sh)
	@VTX=$(VTX) $(PYTHON) tools/run.py

debug: image ## gdb on QEMU; VTX=1: the debugger of Bochs
	@$(if $(VTX),tools/fetch-bochs.sh --debugger)
	@$(PYTHON) tools/run.py $(if $(VTX),--bochs-debug,--gdb)

console: ## the serial console of the machine that `make debug` runs
	@$(PYTHON) tools/run.py --console

test: setup ## all three tiers of tests
	@MAKE="$(MAKE)" $(PYTHON) tests/tiers.py

test-qemu: image guests-tests $(B)/third-party.img $(UEFI_DISKS) ## tests of the image in QEMU; CASES="name ..." for some of them
	@tools/fetch-qemu.sh || echo "the checks of devices that only a newer QEMU has are left out"
	@$(PYTHON) tests/emu/run.py qemu $(CASES)

test-bochs: image guests-tests $(TEST_IMAGES) $(UEFI_DISKS) ## tests that need VT-x, in Bochs; CASES="name ..." for some of them
	@tools/fetch-bochs.sh
	@$(PYTHON) tests/emu/run.py bochs $(CASES)

test-ipxe: image $(UEFI_DISKS) ## a guest's iPXE on VT-x gets an address and a script: a minute of Bochs, not in its tier
	@tools/fetch-bochs.sh
	@$(PYTHON) tests/emu/run.py bochs-ipxe

$(TEST_IMAGES) &: tools/fetch-images.sh $(DEMO_FILES) | setup
	@tools/fetch-images.sh

$(UEFI_DISKS) &: tools/fetch-uefi.sh $(DEMO_FILES) | setup
	@tools/fetch-uefi.sh

$(DEMO_FILES) &: tools/fetch-guests.sh tools/mkinitrd.py tools/demo-init | setup
	@tools/fetch-guests.sh
