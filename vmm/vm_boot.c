/* Makes a fresh or reset VM ready to run; called by vm.c. */
#include "vmm/vm_boot.h"

#include <string.h>

#include "control/rt/sys.h"
#include "kernel/abi/vmx_bits.h"
#include "vmm/acpi_tables.h"
#include "vmm/cpuid.h"
#include "vmm/features.h"
#include "vmm/firmware.h"
#include "vmm/load_guest.h"
#include "vmm/mitigations.h"
#include "vmm/msr.h"

const struct host_module *vm_boot_module(const char *path)
{
    const struct host_info *hi = sys_host_info();
    for (u32 i = 0; i < hi->module_count && i < BOOT_MODULES; i++) {
        if (strncmp(hi->modules[i].name, path, BOOT_NAME_LEN) == 0)
            return &hi->modules[i];
    }
    return NULL;
}

bool vm_boot_on_bochs(void)
{
    const struct host_info *hi = sys_host_info();
    return hi->offered[VMX_BASIC] && !(hi->offered[VMX_MISC] & 0x1f);
}

void vm_boot_policy(const struct vm_config *c, struct vm_policy *p)
{
    const struct host_info *h = sys_host_info();
    struct cpuid_host host = {.read = cpuid_native,
                              .tsc_hz = h->tsc_hz,
                              .speculation = mitigations_used() & SPECULATION_GUEST_CTRL,
                              .capabilities = h->arch_capabilities != 0,
                              .pv_clock = h->hvm == HOST_HVM_SVM,
                              .hide_rdtscp = !features_control_used(h, VMX_PROC2, PROC2_RDTSCP)};
    memset(p, 0, sizeof(*p));
    /* Bochs (2.7, 3.0) delivers a virtual interrupt that waits into a guest with IF=0 when a
     * physical one arrives: Linux dies of it sooner or later. */
    if (c->apicv == VM_APICV_OFF || (c->apicv == VM_APICV_AUTO && vm_boot_on_bochs()))
        p->flags |= POLICY_NO_APICV;
    cpuid_policy(p, &host, c->cpu_count);
    u64 capable = mitigations_guest_capabilities(h->arch_capabilities);
    msr_policy(p, cpuid_native(0x80000008, 0).eax & 0xff, host.capabilities ? &capable : NULL,
               host.pv_clock);
}

static bool find(const char *path, const struct host_module **out, struct vm_error *e)
{
    *out = vm_boot_module(path);
    if (*out)
        return true;
    return vm_error(e, HV_ENOENT, "E_NOENT",
                    "put it below \\bulkhead\\guests on the boot medium and boot again",
                    "%s is not on the boot medium", path);
}

static bool put_acpi_tables(struct vm *vm, struct vm_error *e)
{
    struct acpi_tables_config c = {.cpu_count = vm->config.cpu_count,
                                   .dsdt = acpi_dsdt,
                                   .dsdt_len = (u32)(acpi_dsdt_end - acpi_dsdt)};
    u8 *at = guest_ptr(&vm->mem, GPA(ACPI_TABLES_GPA), ACPI_TABLES_MAX);
    if (at && acpi_tables_build(at, ACPI_TABLES_MAX, ACPI_TABLES_GPA, &c))
        return true;
    return vm_error(e, HV_E2BIG, "E_INTERNAL", "host log", "the ACPI tables do not fit");
}

static void reset_devices(struct vm *vm)
{
    vm->hold = false;
    vm->power = POWER_NONE;
    vm->state->held = 0;
    platform_timer(vm, VM_TIMER_HOLD, PLATFORM_NEVER);
    uart_reset(vm);
    rtc_reset(vm);
    pit_reset(vm);
    pic_reset(vm);
    ioapic_reset(vm);
    acpi_pm_reset(vm);
    pci_reset(vm);
    firmware_reset(vm);
}

static bool boot_kernel(struct vm *vm, struct vm_error *e)
{
    const struct host_module *kernel, *initrd = NULL;
    const struct vm_config *c = &vm->config;
    struct vcpu_page *p = vm_vcpu(vm, 0);
    if (!find(c->kernel, &kernel, e) || (c->initrd[0] && !find(c->initrd, &initrd, e)))
        return false;
    if (sys_vcpu_get(vm->slot, 0) != HV_OK)
        return vm_error(e, HV_EIO, "E_INTERNAL", "host log", "cannot read the state of vCPU 0");
    if (!put_acpi_tables(vm, e))
        return false;
    struct load_request r = {.mem = &vm->mem,
                             .protocol = (enum load_protocol)c->protocol,
                             .kernel_name = c->kernel,
                             .initrd_name = c->initrd,
                             .kernel = (const u8 *)kernel->vaddr,
                             .kernel_len = kernel->len,
                             .initrd = initrd ? (const u8 *)initrd->vaddr : NULL,
                             .initrd_len = initrd ? initrd->len : 0,
                             .cmdline = c->cmdline,
                             .rsdp = ACPI_TABLES_GPA};
    const char *why = load_guest(&r, &(struct load_result){&p->full, p->regs});
    if (why)
        return vm_error(e, HV_EINVAL, "E_IMAGE", "vm show, and check kernel, initrd and mem",
                        "%s: %s", c->kernel, why);
    if (sys_vcpu_set(vm->slot, 0) != HV_OK)
        return vm_error(e, HV_EIO, "E_INTERNAL", "host log", "vCPU 0 refuses its entry state");
    return true;
}

/* Firmware begins where a reset leaves vCPU 0.  It takes kernel and initrd, if they are named, from
 * the configuration device: fw_cfg_items.c. */
static bool boot_firmware(const struct vm *vm, struct vm_error *e)
{
    const struct vm_config *c = &vm->config;
    const struct host_module *m;
    return (!c->kernel[0] || find(c->kernel, &m, e)) && (!c->initrd[0] || find(c->initrd, &m, e));
}

bool vm_boot(struct vm *vm, struct vm_error *e)
{
    reset_devices(vm);
    return vm->firmware ? boot_firmware(vm, e) : boot_kernel(vm, e);
}
