/* A small stand-in for qemu-guest-agent, run in a Linux guest: answers, on the port of that name,
 * guest-sync-delimited, guest-fsfreeze-freeze and guest-fsfreeze-thaw for the mount points given.
 *
 *   agent MOUNTPOINT...
 *
 * Says "agent: frozen N" and "agent: thawed N". */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"

static int open_port(void)
{
    DIR *d = opendir(PORTS);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600], name[64] = "";
        snprintf(path, sizeof(path), PORTS "/%s/name", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        if (fgets(name, sizeof(name), f) && !strcmp(name, "org.qemu.guest_agent.0\n")) {
            fclose(f);
            snprintf(path, sizeof(path), "/dev/%s", e->d_name);
            return open(path, O_RDWR);
        }
        fclose(f);
    }
    return -1;
}

static int each(unsigned long request, char **points)
{
    int count = 0;
    for (; *points; points++) {
        int fd = open(*points, O_RDONLY);
        if (fd >= 0 && ioctl(fd, request, 0) == 0)
            count++;
        if (fd >= 0)
            close(fd);
    }
    return count;
}

static void answer(int port, const char *line, char **points)
{
    char text[200];
    int n;
    if (strstr(line, "\"guest-sync-delimited\"")) {
        const char *id = strstr(line, "\"id\":");
        n = snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n", id ? atoll(id + 5) : 0);
    } else if (strstr(line, "\"guest-fsfreeze-freeze\"")) {
        int count = each(FIFREEZE, points);
        printf("agent: frozen %d\n", count);
        n = snprintf(text, sizeof(text), "{\"return\": %d}\n", count);
    } else if (strstr(line, "\"guest-fsfreeze-thaw\"")) {
        int count = each(FITHAW, points);
        printf("agent: thawed %d\n", count);
        n = snprintf(text, sizeof(text), "{\"return\": %d}\n", count);
    } else {
        n = snprintf(
            text, sizeof(text),
            "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}}\n");
    }
    fflush(stdout);
    if (write(port, text, (size_t)n) != n)
        exit(1);
}

int main(int argc, char **argv)
{
    static char line[1024];
    size_t len = 0;
    int port = open_port();
    (void)argc;
    if (port < 0) {
        printf("agent: no port\n");
        return 1;
    }
    printf("agent: ready\n");
    fflush(stdout);
    for (char c; read(port, &c, 1) == 1;) {
        if (c == '\n' && len) {
            line[len] = 0;
            answer(port, line, argv + 1);
        }
        if (c == '\n' || len == sizeof(line) - 1)
            len = 0;
        else
            line[len++] = c;
    }
    return 1;
}
