/* /init of `make bench`: says when it was reached, "BENCH boot TSC ENTRY IDLE", and waits for ever.
 * ENTRY is the number behind bare_entry= on the command line, 0 if there is none; IDLE the
 * hundredths of seconds in which the kernel had nothing to do. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include <x86intrin.h>

static void read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");

    text[0] = 0;
    if (f) {
        text[fread(text, 1, size - 1, f)] = 0;
        fclose(f);
    }
}

int main(void)
{
    uint64_t now = __rdtsc();
    char line[4096], uptime[64];
    unsigned long long entry = 0;
    double idle = 0;

    mount("proc", "/proc", "proc", 0, NULL);
    read_text("/proc/cmdline", line, sizeof(line));
    read_text("/proc/uptime", uptime, sizeof(uptime));
    char *at = strstr(line, "bare_entry=");
    if (at)
        sscanf(at, "bare_entry=%llu", &entry);
    sscanf(uptime, "%*f %lf", &idle);
    printf("BENCH boot %llu %llu %.0f\n", (unsigned long long)now, entry, 100 * idle);
    fflush(stdout);
    for (;;)
        pause();
}
