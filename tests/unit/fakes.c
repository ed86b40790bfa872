/* Stand-ins for physical memory, panic and the log, linked into unit tests that ask for them. */
#include "tests/unit/fakes.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/log.h"
#include "kernel/mem.h"

static i64 fail_after = -1;
static u64 live, live_bytes, next = GIB;
static u8 *fresh, *end; /* frames that were never used */
static void *free_frames;

struct quota quota_kernel = {.limit = ~0ull};

void fakes_mem_reset(void)
{
    fail_after = -1;
    live = live_bytes = 0;
    quota_kernel.used = 0;
}

void fakes_mem_forget(void)
{
    void *first = phys_to_virt(HPA(GIB));

    ASAN_UNPOISON_MEMORY_REGION(first, next - GIB);
    if (next > GIB && munmap(first, next - GIB))
        panic("fakes: memory stays");
    next = GIB;
    fresh = end = free_frames = NULL;
    fakes_mem_reset();
}

void fakes_mem_fail_after(i64 count)
{
    fail_after = count;
}

i64 fakes_mem_left(void)
{
    return fail_after;
}

u64 fakes_mem_live(void)
{
    return live;
}

u64 fakes_mem_live_bytes(void)
{
    return live_bytes;
}

static void *map(u64 len)
{
    next = ROUND_UP(next, len);
    void *memory = phys_to_virt(HPA(next));
    if (mmap(memory, len, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) != memory)
        panic("mem_alloc: no memory at %p", memory);
    next += len;
    return memory;
}

/* Frames come by the MiB; those that were given back are used again, the last one first. */
static void *frame(void)
{
    void *memory = free_frames;

    if (memory) {
        ASAN_UNPOISON_MEMORY_REGION(memory, PAGE_SIZE);
        free_frames = *(void **)memory;
        return memset(memory, 0, PAGE_SIZE);
    }
    if (fresh == end) {
        fresh = map(MIB);
        end = fresh + MIB;
    }
    fresh += PAGE_SIZE;
    return fresh - PAGE_SIZE;
}

hpa_t mem_alloc(struct quota *q, u64 len)
{
    if (len != PAGE_SIZE && len != PAGE_2M && len != PAGE_1G)
        panic("mem_alloc of %llu bytes", (unsigned long long)len);
    if (q->used + len > q->limit || fail_after == 0)
        return HPA_NONE;
    if (fail_after > 0)
        fail_after--;
    void *memory = len == PAGE_SIZE ? frame() : map(len);
    q->used += len;
    live++;
    live_bytes += len;
    return virt_to_phys(memory);
}

void mem_free(struct quota *q, hpa_t at, u64 len)
{
    void *memory = phys_to_virt(at);
    if (len != PAGE_SIZE) {
        munmap(memory, len);
    } else {
        memset(memory, 0xdd, PAGE_SIZE);
        *(void **)memory = free_frames;
        free_frames = memory;
        ASAN_POISON_MEMORY_REGION(memory, PAGE_SIZE);
    }
    if (q->used < len || live == 0)
        panic("mem_free of more than was allocated");
    q->used -= len;
    live--;
    live_bytes -= len;
}

u64 fakes_mem_broken;

void mem_break(hpa_t at)
{
    (void)at;
    fakes_mem_broken++;
    live += PAGE_2M / PAGE_SIZE - 1;
}

jmp_buf fakes_panic_target;
bool fakes_panic_expected;
char fakes_panic_text[256];

bool fakes_no_panic(int ignored)
{
    (void)ignored;
    fakes_panic_expected = false;
    return false;
}

void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(fakes_panic_text, sizeof(fakes_panic_text), fmt, args);
    va_end(args);
    if (fakes_panic_expected) {
        fakes_panic_expected = false;
        longjmp(fakes_panic_target, 1);
    }
    fprintf(stderr, "panic: %s\n", fakes_panic_text);
    abort();
}

char fakes_log_text[512];
u64 fakes_log_count;

void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    va_list args;
    va_start(args, fmt);
    vsnprintf(fakes_log_text, sizeof(fakes_log_text), fmt, args);
    va_end(args);
    fakes_log_count++;
}
