/* Memory and string functions of the kernel image (the control partition has musl's).  Called
 * from anywhere; no state. */
#include "kernel/string.h"

/* "rep" forms: fast strings on every CPU with VT-x, and no vector registers, which belong to
 * ring 3 and the guests. */
void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    size_t words = n / 8;
    n &= 7;
    asm volatile("rep movsq\n\tmov %3, %2\n\trep movsb"
                 : "+D"(d), "+S"(from), "+c"(words)
                 : "r"(n)
                 : "memory");
    return to;
}

void *memset(void *at, int value, size_t n)
{
    void *d = at;
    size_t words = n / 8;
    n &= 7;
    asm volatile("rep stosq\n\tmov %3, %1\n\trep stosb"
                 : "+D"(d), "+c"(words)
                 : "a"(0x0101010101010101ull * (u8)value), "r"(n)
                 : "memory");
    return at;
}
