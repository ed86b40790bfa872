/* Sends the log to a syslog server; `host syslog` runs in a shell's fiber, the rest in one of its
 * own. */
#include "control/syslog.h"

#include <stdio.h>
#include <string.h>

#include <lwip/dns.h>
#include <lwip/udp.h>

#include "control/address.h"
#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "control/schema.h"
#include "net/kif.h"
#include "net/net.h"
#include "net/stack.h"

typedef unsigned long long ull;

#define PORT 514u
#define FACILITY 16u /* local0 */
#define EVERY (CLOCK_SECOND / 10)
#define RESOLVE_EVERY 100u /* looks */
#define BURST_MOST 32u

static struct {
    char server[64]; /* "": off */
    ip_addr_t address;
    bool resolved, running;
    u16 port;
    u32 level, facility, sequence;
    u32 burst; /* records of one look: few, until the server's address is known on the wire */
    struct udp_pcb *pcb;
    struct log_cursor at;
    char text[256];
    bool held; /* `text` has not been sent */
    u64 sent, failed;
} syslog = {.port = PORT, .level = LOG_NOTICE, .facility = FACILITY};

static u32 severity(u32 level) /* RFC 5424 table 2 */
{
    static const u8 severities[LOG_LEVELS] = {
        [LOG_PANIC] = 2,  [LOG_ERROR] = 3, [LOG_WARN] = 4,
        [LOG_NOTICE] = 5, [LOG_INFO] = 6,  [LOG_DEBUG] = 7,
    };

    return level < LOG_LEVELS ? severities[level] : 7;
}

u32 syslog_format(char buf[SYSLOG_MOST], const struct syslog_record *r)
{
    char stamp[CLOCK_TEXT] = "-";
    u32 n;

    if (r->unix_ns)
        clock_text(r->unix_ns, stamp);
    n = (u32)snprintf(buf, SYSLOG_MOST, "<%u>1 %s %s bulkhead - - [meta sequenceId=\"%u\"] ",
                      (r->facility % 24) * 8 + severity(r->level), stamp,
                      r->host[0] ? r->host : "-", r->sequence);
    for (const char *p = r->text; *p && n < SYSLOG_MOST; p++)
        buf[n++] = (u8)*p < ' ' || *p == 0x7f ? '?' : *p;
    return n;
}

/* ---- sending ----------------------------------------------------------------------------------
 */
static void on_found(const char *name, const ip_addr_t *address, void *owner)
{
    (void)owner;
    if (!address || strcmp(name, syslog.server)) /* another was set meanwhile */
        return;
    syslog.address = *address;
    syslog.resolved = true;
}

static void resolve(void)
{
    if (address_parse(syslog.server, &syslog.address) ||
        dns_gethostbyname(syslog.server, &syslog.address, on_found, NULL) == ERR_OK)
        syslog.resolved = true;
}

static bool send_held(void)
{
    u64 now = clock_unix_ns(), ago = clock_ticks_to_ns(clock_tsc() - syslog.at.tsc);
    char buf[SYSLOG_MOST];
    const struct syslog_record r = {.facility = syslog.facility,
                                    .level = syslog.at.level,
                                    .unix_ns = now > ago ? now - ago : 0,
                                    .sequence = syslog.sequence + 1,
                                    .host = stack_host_name(),
                                    .text = syslog.text};
    u32 len = syslog_format(buf, &r);
    struct pbuf *p = pbuf_alloc(PBUF_TRANSPORT, (u16)len, PBUF_RAM);

    if (!p)
        return false;
    memcpy(p->payload, buf, len);
    bool sent = udp_sendto(syslog.pcb, p, &syslog.address, syslog.port) == ERR_OK;
    pbuf_free(p);
    if (!sent) {
        syslog.failed++;
        return false;
    }
    syslog.sequence = syslog.sequence % 0x7fffffff + 1; /* RFC 5424 7.3.1 */
    syslog.sent++;
    return true;
}

/* What cannot be sent now waits in the kernel's ring. */
static void send_some(void)
{
    for (u32 left = syslog.burst; left; left--) {
        while (!syslog.held) {
            if (sys_log_read(&syslog.at, syslog.text, sizeof(syslog.text)) <= 0)
                return;
            syslog.held = syslog.at.level <= syslog.level;
        }
        if (!send_held()) {
            syslog.burst = 1;
            return;
        }
        syslog.held = false;
    }
    syslog.burst = MIN(2 * syslog.burst, BURST_MOST);
    net_wake();
}

static void fiber_main(void *arg)
{
    (void)arg;
    for (u32 looks = 0; syslog.server[0]; looks++) {
        if (!syslog.resolved && looks % RESOLVE_EVERY == 0)
            resolve();
        if (syslog.resolved && kif_first())
            send_some();
        fiber_sleep_until(clock_after(EVERY));
    }
    udp_remove(syslog.pcb);
    syslog.pcb = NULL;
    syslog.running = false;
}

/* ---- host syslog ------------------------------------------------------------------------------
 */
static enum hv_status show(const struct schema_args *args, struct out *out)
{
    (void)args;
    out_field(out, "state", "%s",
              !syslog.server[0]  ? "off"
              : !syslog.resolved ? "looks up the server's address"
              : syslog.held      ? "waits for the network"
                                 : "sends");
    if (syslog.server[0])
        out_field(out, "server", "%s port %u", syslog.server, syslog.port);
    out_field(out, "level", "%s", log_level_name(syslog.level));
    out_field(out, "facility", "%u", syslog.facility);
    out_field(out, "records", "%llu sent, %llu failed, %llu overwritten before they were sent",
              (ull)syslog.sent, (ull)syslog.failed, (ull)syslog.at.lost);
    out_end_object(out);
    return HV_OK;
}

static u32 level_of(const char *name)
{
    u32 level = 0;

    while (level < LOG_DEBUG && strcmp(log_level_name(level), name))
        level++;
    return level;
}

static bool start(void)
{
    syslog.resolved = syslog.held = false;
    syslog.burst = 1;
    if (syslog.running)
        return true;
    syslog.pcb = udp_new_ip_type(IPADDR_TYPE_ANY);
    if (syslog.pcb && fiber_spawn("syslog", fiber_main, NULL)) {
        syslog.running = true;
        return true;
    }
    if (syslog.pcb)
        udp_remove(syslog.pcb);
    syslog.pcb = NULL;
    return false;
}

static enum hv_status set(const struct schema_args *args, struct out *out)
{
    const char *server = args_text(args, "server"), *level = args_text(args, "level");
    u64 port = args_number(args, "port", syslog.port);
    u64 facility = args_number(args, "facility", syslog.facility);

    if (!server || !server[0] || strlen(server) >= sizeof(syslog.server))
        return cmd_net_bad(out, "server", server ? server : "", "an address or a name",
                           "host syslog set 10.0.0.1");
    if (!port || port > 65535 || facility > 23)
        return out_error(out, HV_EINVAL, "E_VALUE", "port=514 facility=16",
                         "a port is 1 to 65535, a facility 0 to 23");
    syslog.port = (u16)port;
    syslog.facility = (u32)facility;
    if (level)
        syslog.level = level_of(level);
    strcpy(syslog.server, server);
    if (start())
        return HV_OK;
    syslog.server[0] = 0;
    return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory");
}

static enum hv_status off(const struct schema_args *args, struct out *out)
{
    (void)args, (void)out;
    syslog.server[0] = 0; /* its fiber ends at the next look */
    return HV_OK;
}

static enum hv_status run_syslog(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {{"show", show}, {"set", set}, {"off", off}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

static void save_syslog(struct schema_text *t)
{
    char word[2 * sizeof(syslog.server)];

    if (syslog.server[0])
        schema_put(t, "host syslog set %s port=%u level=%s facility=%u",
                   schema_quote(syslog.server, word, sizeof(word)), syslog.port,
                   log_level_name(syslog.level), syslog.facility);
}
SCHEMA_SAVES(save_syslog, SAVES_SERVICE);

static const struct schema_arg syslog_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "show|set|off", .help = "what to do"},
    {"server", PLACE_OPTIONAL, ARG_WORD, .help = "address or name of the server"},
    {"port", PLACE_KEY, ARG_NUMBER, .help = "its UDP port; 514 at first"},
    {"level", PLACE_KEY, ARG_ENUM, .values = "error|warn|notice|info|debug",
     .help = "least important level that is sent; notice at first"},
    {"facility", PLACE_KEY, ARG_NUMBER, .help = "0 to 23; 16, local0, at first"},
    {0},
};
static const struct schema_command commands[] = {
    {"host", "syslog", "the log to a syslog server (RFC 5424 over UDP)",
     "host syslog set 10.0.0.1 level=info", ROLE_ADMIN, syslog_args, NULL, run_syslog},
};
SCHEMA_COMMANDS(commands);
