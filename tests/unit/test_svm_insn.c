/* links: kernel/svm_insn.c */
/* Lengths of intercepted instructions: prefixes, what is cut off, what is not ours. */
#include "kernel/svm_insn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name, *bytes;
    u32 count, length, reg; /* length 0: refused */
    bool mode64;
} rows[] = {
    {"cpuid", "\x0f\xa2", 2, 2, 0, true},
    {"rex.w cpuid", "\x48\x0f\xa2", 3, 3, 0, true},
    {"48 outside 64-bit mode is DEC", "\x48\x0f\xa2", 3, 0, 0, false},
    {"hlt", "\xf4", 1, 1, 0, false},
    {"rep hlt", "\xf3\xf4", 2, 2, 0, true},
    {"pause", "\xf3\x90", 2, 2, 0, true},
    {"rdmsr", "\x0f\x32", 2, 2, 0, true},
    {"wrmsr with segment prefix", "\x2e\x0f\x30", 3, 3, 0, true},
    {"vmmcall", "\x0f\x01\xd9", 3, 3, 0, true},
    {"xsetbv", "\x0f\x01\xd1", 3, 3, 0, true},
    {"mov cr4, rbx", "\x0f\x22\xe3", 3, 3, 3, true},
    {"mov cr4, r11", "\x41\x0f\x22\xe3", 4, 4, 11, true},
    {"mov cr8, rax", "\x44\x0f\x22\xc0", 4, 4, 0, true},
    {"mov cr8, r9 the other way", "\xf0\x41\x0f\x22\xc1", 5, 5, 9, true},
    {"wbinvd", "\x0f\x09", 2, 2, 0, true},
    {"a REX that another prefix cancels", "\x41\x66\x0f\x22\xe0", 5, 5, 0, true},
    {"nothing", "", 0, 0, 0, true},
    {"cut off", "\x0f", 1, 0, 0, true},
    {"cut off in the third byte", "\x0f\x22", 2, 0, 0, true},
    {"only prefixes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66", 15, 0, 0,
     true},
    {"15 bytes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2", 15, 15, 0, true},
    {"16 bytes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2", 16, 0, 0,
     true},
    {"not intercepted", "\x89\xc0", 2, 0, 0, true},
};

static void lengths(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        u8 *exact = malloc(rows[i].count + 1u); /* the sanitizer sees what is read too far */
        u32 reg = 99;
        memcpy(exact + 1, rows[i].bytes, rows[i].count);
        u32 length = svm_insn_length(exact + 1, rows[i].count, rows[i].mode64, &reg);
        if (length != rows[i].length || (length && reg != rows[i].reg))
            fail_msg("%s: %u bytes, register %u", rows[i].name, length, reg);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
