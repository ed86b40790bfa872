/* A byte of the CMOS memory of a Linux guest's clock, by its ports: written, if a value is given,
 * and shown.
 *
 *   cmos INDEX [VALUE]      hexadecimal; says "cmos: VALUE" */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
    if (argc < 2 || ioperm(0x70, 2, 1)) {
        printf("cmos: WRONG use, or no right\n");
        return 1;
    }
    outb((unsigned char)strtoul(argv[1], NULL, 16), 0x70);
    if (argc > 2)
        outb((unsigned char)strtoul(argv[2], NULL, 16), 0x71);
    printf("cmos: %02x\n", inb(0x71));
    return 0;
}
