/* Turns `nm -n` output into the symbol table of kernel/abi/symbols.h, as assembler source.
 * Run by the Makefile between the two links of an image; empty input gives an empty table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/abi/symbols.h"

struct symbol {
    u64 address;
    char *name;
};

static struct symbol *symbols;
static size_t symbol_count;

static void add_symbol(u64 address, const char *name)
{
    /* nm -n sorts by address; of several names for one address the first is kept. */
    if (symbol_count && symbols[symbol_count - 1].address == address)
        return;
    symbols = realloc(symbols, (symbol_count + 1) * sizeof(*symbols));
    char *copy = strdup(name);
    if (!symbols || !copy) {
        fprintf(stderr, "E_NO_MEMORY: gensyms: out of memory. Try: free some.\n");
        exit(1);
    }
    symbols[symbol_count++] = (struct symbol){address, copy};
}

static void read_symbols(FILE *in)
{
    char line[1024], name[900];
    unsigned long long address;
    char type;

    while (fgets(line, sizeof(line), in)) {
        if (sscanf(line, "%llx %c %899s", &address, &type, name) != 3)
            continue;
        /* Functions only: text symbols, global, local or weak, but no labels of the script. */
        if (strchr("tTwW", type) && name[0] != '.' && strncmp(name, "image_", 6) != 0)
            add_symbol(address, name);
    }
}

static void write_table(FILE *out)
{
    u64 base = symbol_count ? symbols[0].address : 0;
    size_t strings = 0;

    for (size_t i = 0; i < symbol_count; i++)
        strings += strlen(symbols[i].name) + 1;
    fprintf(out, "    .section .image_symbols, \"a\", @progbits\n    .balign 8\n"
                 "    .globl image_symbols\n    .type image_symbols, @object\nimage_symbols:\n");
    fprintf(out, "    .long %#x, %zu\n    .quad %#llx\n    .long %zu, 0\n", IMAGE_SYMBOLS_MAGIC,
            symbol_count, (unsigned long long)base, strings);
    for (size_t i = 0; i < symbol_count; i++)
        fprintf(out, "    .long %#llx\n", (unsigned long long)(symbols[i].address - base));
    size_t offset = 0;
    for (size_t i = 0; i < symbol_count; i++) {
        fprintf(out, "    .long %zu\n", offset);
        offset += strlen(symbols[i].name) + 1;
    }
    for (size_t i = 0; i < symbol_count; i++)
        fprintf(out, "    .asciz \"%s\"\n", symbols[i].name);
    fprintf(out, "    .size image_symbols, . - image_symbols\n"
                 "    .section .note.GNU-stack, \"\", @progbits\n");
}

int main(void)
{
    read_symbols(stdin);
    write_table(stdout);
    return 0;
}
