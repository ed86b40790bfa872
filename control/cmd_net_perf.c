/* `net perf`: how fast TCP is between this host and another; runs in the shell's fiber. */
#include "control/cmd_net_perf.h"

#include <string.h>

#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/schema.h"
#include "net/perf.h"

typedef unsigned long long ull;

static void on_done(void *owner)
{
    event_signal(owner);
}

static void report(const struct perf *p, struct out *out)
{
    u64 ns = MAX(p->ended - p->began, 1ull);
    u64 bits = (u64)((unsigned __int128)p->bytes * 8 * CLOCK_SECOND / ns);

    out_field(out, p->send ? "sent" : "received", "%llu bytes in %llu.%03llu s", (ull)p->bytes,
              (ull)(ns / CLOCK_SECOND), (ull)(ns / CLOCK_MS % 1000));
    out_field(out, "rate", "%llu.%03llu Mbit/s", (ull)(bits / 1000000), (ull)(bits / 1000 % 1000));
    out_end_object(out);
}

static enum hv_status run_perf(const struct schema_args *args, struct out *out)
{
    u64 port = args_number(args, "port", 0), seconds = args_number(args, "seconds", 0);
    struct event done = {0};
    struct perf p = {.port = (u16)port,
                     .send = !strcmp(args_text(args, "mode"), "send"),
                     .size = args_number(args, "size", 0),
                     .done = on_done,
                     .owner = &done};

    if (!port || port > 65535 || !p.size)
        return out_error(out, HV_EINVAL, "E_VALUE", "port=5001 size=64M",
                         "a port is 1 to 65535, a size at least one byte");
    if (!cmd_net_resolve(args_text(args, "host"), out, &p.to))
        return HV_ENOENT;
    enum hv_status status = perf_start(&p);
    u64 end = clock_after(MIN(seconds, 3600ull) * CLOCK_SECOND);
    while (status == HV_OK && !p.over && clock_tsc() < end && !out_cancelled(out))
        fiber_wait(&done, clock_after(CLOCK_SECOND / 10));
    bool failed = status != HV_OK || (p.over && p.status != HV_OK) || !p.began;
    perf_stop(&p);
    if (failed)
        return out_error(out, status == HV_OK ? HV_EIO : status, "E_CONNECTION",
                         "net ping, and a program that listens at that port",
                         "there is no connection to port %llu, or it broke after %llu bytes",
                         (ull)port, (ull)p.bytes);
    report(&p, out);
    return HV_OK;
}

static const struct schema_arg perf_args[] = {
    {"host", PLACE_OBJECT, ARG_WORD, .help = "address or name"},
    {"port", PLACE_KEY, ARG_NUMBER, NULL, "5001",
     "TCP port of a program that drops or sends bytes"},
    {"mode", PLACE_KEY, ARG_ENUM, "send|receive", "send", "who sends: this host, or the other"},
    {"size", PLACE_KEY, ARG_SIZE, NULL, "64M", "bytes to send"},
    {"seconds", PLACE_KEY, ARG_NUMBER, NULL, "60", "end it after that time"},
    {0},
};
static const struct schema_command commands[] = {
    {"net", "perf", "measure TCP between this host and another", "net perf 10.0.0.1 port=5001",
     ROLE_OPERATE, perf_args, NULL, run_perf},
};
SCHEMA_COMMANDS(commands);
