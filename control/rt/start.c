/* Hands over to musl's start-up with a made-up program stack; called once by start.S. */
#include "control/rt/start.h"

#include <elf.h>

#include "control/rt/fault.h"
#include "control/rt/sys.h"

int main(void);
int __libc_start_main(int (*main_fn)(void), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void));

extern const Elf64_Ehdr __ehdr_start; /* linker.ld keeps the ELF header in the first segment */

/* musl looks behind argv for the environment, and behind that for the auxiliary vector: program
 * headers (for thread-local storage), page size, and 16 random bytes. */
static struct {
    char *argv[2], *envp[1];
    u64 aux[5][2];
} stack_image;
static u64 random_bytes[2];

void start_c(void)
{
    const Elf64_Ehdr *eh = &__ehdr_start;
    const u64 aux[5][2] = {
        {AT_PHDR, (u64)eh + eh->e_phoff},
        {AT_PHNUM, eh->e_phnum},
        {AT_PAGESZ, PAGE_SIZE},
        {AT_RANDOM, (u64)random_bytes},
        {AT_NULL, 0},
    };
    static char name[] = "control";

    fault_init();
    random_bytes[0] = sys_tsc() * 0x9e3779b97f4a7c15ull;
    random_bytes[1] = ~random_bytes[0] ^ sys_tsc();
    for (u32 i = 0; i < ARRAY_LEN(aux); i++) {
        stack_image.aux[i][0] = aux[i][0];
        stack_image.aux[i][1] = aux[i][1];
    }
    stack_image.argv[0] = name;
    __libc_start_main(main, 1, stack_image.argv, 0, 0, 0);
    sys_exit(0);
}
