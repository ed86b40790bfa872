/* Ports: nothing there reads as all ones, sizes and string forms work, and so do the old chips. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define NOBODY 0x0e80 /* no device of any machine we run on */

static void unclaimed(void)
{
    u64 rax;
    outb(NOBODY, 0x12);
    outw(NOBODY, 0x1234);
    outl(NOBODY, 0x12345678);
    asm volatile("inb %%dx, %%al" : "=a"(rax) : "a"(0x1122334455667788), "d"(NOBODY));
    check_equal(rax, 0x11223344556677ff, "RAX after INB");
    asm volatile("inw %%dx, %%ax" : "=a"(rax) : "a"(0x1122334455667788), "d"(NOBODY));
    check_equal(rax, 0x112233445566ffff, "RAX after INW");
    asm volatile("inl %%dx, %%eax" : "=a"(rax) : "a"(0x1122334455667788), "d"(NOBODY));
    check_equal(rax, 0xffffffff, "RAX after INL");
}

static void strings(void)
{
    static u8 to[64], from[] = "\nstring output\n";
    void *at = to;
    u64 count = 5;
    asm volatile("rep insb" : "+D"(at), "+c"(count) : "d"(NOBODY) : "memory");
    check_equal(count, 0, "RCX after REP INSB");
    check_equal((u64)at, (u64)(to + 5), "RDI after REP INSB");
    check_equal(to[4], 0xff, "fifth byte");
    check_equal(to[5], 0, "sixth byte");
    at = to + 40;
    asm volatile("std; insl; cld" : "+D"(at) : "d"(NOBODY) : "memory");
    check_equal((u64)at, (u64)(to + 36), "RDI after INSL downwards");
    check_equal(*(u32 *)(to + 40), 0xffffffff, "dword from INSL");
    at = from;
    count = sizeof(from) - 1;
    asm volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(0x3f8) : "memory");
    check_equal(count, 0, "RCX after REP OUTSB");
    check_equal((u64)at, (u64)(from + sizeof(from) - 1), "RSI after REP OUTSB");
    count = 0;
    asm volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(0x3f8) : "memory");
    check_equal((u64)at, (u64)(from + sizeof(from) - 1), "RSI after REP OUTSB of nothing");
}

static void pic(void)
{
    outb(0x20, 0x11);
    outb(0x21, 0x20);
    outb(0x21, 0x04);
    outb(0x21, 0x01);
    outb(0xa0, 0x11);
    outb(0xa1, 0x28);
    outb(0xa1, 0x02);
    outb(0xa1, 0x01);
    outb(0x21, 0xa5);
    outb(0xa1, 0x5a);
    check_equal(inb(0x21), 0xa5, "mask of the first PIC");
    check_equal(inb(0xa1), 0x5a, "mask of the second PIC");
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

static void pit(void)
{
    outb(0x43, 0x34); /* channel 0, both bytes, rate generator */
    outb(0x40, 0xff);
    outb(0x40, 0xff);
    u32 previous = 0x10000, falls = 0;
    for (unsigned i = 0; i < 1000; i++) {
        outb(0x43, 0x00); /* latch */
        u32 now = inb(0x40);
        now |= (u32)inb(0x40) << 8;
        falls += now < previous;
        previous = now;
    }
    check(falls > 3, "PIT channel 0 does not count");
}

static void rtc(void)
{
    outb(0x70, 0x0b);
    u8 b = inb(0x71);
    outb(0x70, 0x0d);
    check(inb(0x71) & 0x80, "RTC says that its time is not valid");
    outb(0x70, 0x08);
    u8 month = inb(0x71);
    if (!(b & 4))
        month = (u8)((month >> 4) * 10 + (month & 15));
    check(month >= 1 && month <= 12, "month %u", month);
    outb(0x70, 0x0a);
    check_equal(inb(0x71) & 0x70, 0x20, "divider of the RTC");
}

void guest_main(void)
{
    unclaimed();
    strings();
    pic();
    pit();
    rtc();
    /* From ring 0 the permission map in the TSS does not matter; the UART's scratch register. */
    outb(0x3ff, 0x5a);
    check_equal(inb(0x3ff), 0x5a, "scratch register of the UART");
}
