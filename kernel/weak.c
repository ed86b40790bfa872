/* Stand-ins until the VT-x backend is there: weak, so that the real ones win. */
#include "kernel/fpu.h"
#include "kernel/hvm.h"
#define W __attribute__((weak))
W const struct hvm_ops *hvm;
W void hvm_detect(struct host_info *hi)
{
    (void)hi;
}
W void fpu_cpu_init(void)
{
}
W void fpu_area_init(void *area)
{
    (void)area;
}
W void fpu_load_user(void *area)
{
    (void)area;
}
W void fpu_release(void *area)
{
    (void)area;
}
