# Set-up, emulators and test tiers; included by the Makefile.  Each target here does its own set-up
# first and then builds, so that it works on a fresh machine.

PYTHON := /usr/bin/python3
DEMO_FILES := build/guests/demo/vmlinuz build/guests/demo/initrd.img

.PHONY: setup run debug test test-qemu test-bochs

setup:
	@tools/setup.sh

run: setup
	@$(MAKE) --no-print-directory image
	@tools/fetch-bochs.sh
	@$(PYTHON) tools/run.py

debug: setup
	@$(MAKE) --no-print-directory image
	@$(if $(BOCHS_DEBUG),tools/fetch-bochs.sh --debugger)
	@$(PYTHON) tools/run.py --debug $(if $(BOCHS_DEBUG),--bochs)

test: setup
	@$(PYTHON) tests/tiers.py

test-qemu: setup
	@$(MAKE) --no-print-directory image test-images
	@$(PYTHON) tests/emu/run.py qemu $(CASES)

test-bochs: setup
	@$(MAKE) --no-print-directory image test-images
	@tools/fetch-bochs.sh
	@$(PYTHON) tests/emu/run.py bochs $(CASES)

$(DEMO_FILES) &: tools/fetch-guests.sh tools/mkinitrd.py tools/demo-init | setup
	@tools/fetch-guests.sh
