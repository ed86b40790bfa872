/* links: drivers/pci_bridge.c */
/* Who an IOMMU takes a function for, behind every kind of bridge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/sys.h"
#include "drivers/pci.h"
#include "drivers/pci_bridge.h"

#define F(bus, device, function) ((bus) << 8 | (device) << 3 | (function))
enum { SECONDARY = 0x19 };

static u8 space[4][256 * 8][256]; /* buses 0 to 3 */

i64 sys_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    u64 value = 0;

    (void)e;
    assert_true(number == SYS_PCI_CONFIG && !d);
    assert_true(b + c <= 256);
    if (a >> 8 > 3)
        return (i64)BITS(8 * c - 1, 0);
    memcpy(&value, &space[a >> 8][a & 0xff][b], c);
    return (i64)value;
}

static void device(u32 function, u8 header)
{
    u8 *f = space[function >> 8][function & 0xff];

    memset(f, 0, 256);
    f[PCI_ID] = 1;
    f[PCI_HEADER] = header;
}

/* type: of a port or bridge of PCI Express; -1: none of it. */
static void bridge(u32 function, u8 header, u8 bus, int type)
{
    u8 *f = space[function >> 8][function & 0xff];

    device(function, header | 1);
    f[SECONDARY] = bus;
    f[PCI_STATUS] = 0x10;
    f[PCI_CAPABILITIES] = 0x40;
    f[0x40] = PCI_CAP_MSI;
    f[0x41] = 0x50;
    f[0x50] = type < 0 ? PCI_CAP_VENDOR : 0x10;
    f[0x51] = 0x40; /* a ring */
    f[0x52] = (u8)(type < 0 ? 0 : type << 4 | 2);
}

static int nothing(void **state)
{
    (void)state;
    memset(space, 0xff, sizeof(space));
    return 0;
}

static void at_the_root_it_is_itself(void **state)
{
    (void)state;
    device(F(0, 31, 2), 0);
    assert_int_equal(pci_bridge_source(F(0, 31, 2)), F(0, 31, 2));
    assert_int_equal(pci_bridge_source(F(3, 0, 0)), F(3, 0, 0)); /* a second root */
}

static void ports_of_express_change_nothing(void **state)
{
    (void)state;
    bridge(F(0, 28, 0), 0x80, 1, 4);
    bridge(F(1, 0, 0), 0, 2, 5);
    bridge(F(2, 3, 0), 0, 3, 6);
    assert_int_equal(pci_bridge_source(F(3, 0, 1)), F(3, 0, 1));
}

static void the_outermost_bridge_of_pci_speaks(void **state)
{
    (void)state;
    device(F(0, 30, 0), 0x80);
    bridge(F(0, 30, 5), 0, 1, -1);
    assert_int_equal(pci_bridge_source(F(1, 18, 0)), F(0, 30, 5));
    bridge(F(1, 4, 0), 0, 3, -1);
    assert_int_equal(pci_bridge_source(F(3, 1, 0)), F(0, 30, 5));
    /* A function that a device without more of them seems to have is none. */
    device(F(0, 2, 0), 0);
    bridge(F(0, 2, 1), 0, 1, -1);
    assert_int_equal(pci_bridge_source(F(1, 18, 0)), F(0, 30, 5));
}

static void from_express_to_pci_it_is_slot_0_behind(void **state)
{
    (void)state;
    bridge(F(0, 28, 0), 0, 1, 4);
    bridge(F(1, 0, 0), 0, 2, 7);
    bridge(F(2, 9, 0), 0, 3, -1);
    assert_int_equal(pci_bridge_source(F(2, 5, 0)), F(2, 0, 0));
    assert_int_equal(pci_bridge_source(F(3, 5, 0)), F(2, 0, 0));
}

static void bus_numbers_that_make_no_sense_end(void **state)
{
    (void)state;
    bridge(F(1, 0, 0), 0, 1, -1); /* to itself */
    bridge(F(2, 0, 0), 0, 1, -1); /* to a lower one */
    bridge(F(0, 0, 0), 0, 0, -1);
    assert_int_equal(pci_bridge_source(F(1, 3, 0)), F(1, 3, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(at_the_root_it_is_itself, nothing),
        cmocka_unit_test_setup(ports_of_express_change_nothing, nothing),
        cmocka_unit_test_setup(the_outermost_bridge_of_pci_speaks, nothing),
        cmocka_unit_test_setup(from_express_to_pci_it_is_slot_0_behind, nothing),
        cmocka_unit_test_setup(bus_numbers_that_make_no_sense_end, nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
