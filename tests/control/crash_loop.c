/* A control partition that dies at once, each time: the kernel must give up, and say why. */
void _start(void);

void _start(void)
{
    asm volatile("ud2");
}
