/* Listens for SSH on the management interface, one fiber a connection; `host ssh` in a shell's
 * fiber, connections come on the loop. */
#include "control/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/refusal.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/schema.h"
#include "control/sockets.h"
#include "control/ssh_keys.h"
#include "control/ssh_session.h"
#include "control/users.h"
#include "net/kif.h"
#include "net/net.h"

typedef unsigned long long ull;

#define SESSIONS 6u /* that have logged in */
#define WAITING 9u  /* that have not: strangers, who shall not keep the others out */
#define OF_ONE 6u   /* of these, from one address */
#define PORT 22u
#define IDLE 900u
#define IDLE_MOST 86400u

static struct {
    struct tcp_door *door; /* NULL: off */
    u16 port, listening;   /* as set; where the door is */
    bool passwords;
    u32 idle;           /* seconds; 0: sessions may be idle for ever */
    char kif[KIF_NAME]; /* "": the first interface */
    char key[SSH_KEYS_HOST];
    u32 sessions;
    struct guest *waiting;
    u64 accepted, refused;
} remote = {.port = PORT, .passwords = true, .idle = IDLE};

struct guest { /* a connection, in its fiber or on its way into it */
    int fd;
    char peer[TCP_PEER_TEXT];
    bool logged_in;
    struct guest *next; /* of those that wait */
};

static void no_more_waiting(struct guest *g)
{
    struct guest **at = &remote.waiting;

    while (*at && *at != g)
        at = &(*at)->next;
    if (*at)
        *at = g->next;
}

static bool logged_in(void *owner)
{
    struct guest *g = owner;

    if (remote.sessions == SESSIONS)
        return false;
    no_more_waiting(g);
    remote.sessions++;
    g->logged_in = true;
    return true;
}

static void serve(void *arg)
{
    struct guest *g = arg;
    struct ssh_session_options o = {.key = remote.key,
                                    .peer = g->peer,
                                    .passwords = remote.passwords,
                                    .idle_seconds = remote.idle,
                                    .wake = sockets_wake,
                                    .logged_in = logged_in,
                                    .owner = g};

    ssh_session_serve(g->fd, &o);
    if (g->logged_in)
        remote.sessions--;
    else
        no_more_waiting(g);
    free(g);
}

bool remote_is_on(void)
{
    return remote.door != NULL;
}

static bool on_management(const char *kif)
{
    const struct kif *first = kif_first();

    return !strcmp(kif, remote.kif[0] ? remote.kif : first ? first->name : "");
}

/* All but the port, "10.0.2.2:4711". */
static bool same_address(const char *a, const char *b)
{
    const char *port = strrchr(a, ':');
    u64 n = port ? (u64)(port - a) + 1 : strlen(a);

    return !strncmp(a, b, n) && !strchr(b + n, ':');
}

static u32 waiting(const char *peer)
{
    u32 n = 0;

    for (const struct guest *g = remote.waiting; g; g = g->next)
        n += !peer || same_address(peer, g->peer);
    return n;
}

/* NULL: it is welcome. */
static const char *why_not(const char *kif, const char *peer)
{
    if (!on_management(kif))
        return "not the interface that SSH is offered on";
    if (waiting(NULL) == WAITING)
        return "too many that have not logged in";
    return waiting(peer) == OF_ONE ? "too many of that address that have not logged in" : NULL;
}

static bool on_link(void *owner, struct tcp_link *l, const char *kif)
{
    struct guest *g = calloc(1, sizeof(*g));

    (void)owner;
    remote.refused += !g;
    if (!g)
        return false;
    tcp_link_peer(l, g->peer);
    const char *why = why_not(kif, g->peer);
    g->fd = why ? -1 : sockets_add(l);
    if (g->fd < 0 || !fiber_spawn("ssh", serve, g)) {
        if (g->fd >= 0)
            sockets_forget(g->fd);
        refusal_connection(g->peer, why ? why : "no memory, or no socket is left");
        free(g);
        remote.refused++;
        return false;
    }
    g->next = remote.waiting;
    remote.waiting = g;
    remote.accepted++;
    return true;
}

/* ---- host ssh ---------------------------------------------------------------------------------
 */
static enum hv_status show(struct out *out)
{
    char text[80] = "none yet; one is made when it is switched on";

    out_field(out, "state", "%s", remote.door ? "on" : "off");
    out_field(out, "port", "%u", remote.port);
    out_field(out, "interface", "%s", remote.kif[0] ? remote.kif : "the first one");
    out_field(out, "passwords", "%s", remote.passwords ? "yes" : "no, keys alone");
    if (remote.idle)
        out_field(out, "idle sessions", "end after %u s", remote.idle);
    else
        out_field(out, "idle sessions", "stay");
    if (remote.key[0])
        ssh_keys_host_fingerprint(remote.key, text, sizeof(text));
    out_field(out, "host key", "%s", text);
    out_field(out, "sessions", "%u of %u", remote.sessions, SESSIONS);
    out_field(out, "logging in", "%u of %u, %u of one address", waiting(NULL), WAITING, OF_ONE);
    out_field(out, "connections", "%llu accepted, %llu refused", (ull)remote.accepted,
              (ull)remote.refused);
    out_end_object(out);
    return HV_OK;
}

static bool anyone_may(void)
{
    for (const struct user *u = users_first(); u; u = u->next) {
        if (!u->barred && (u->key[0] || (u->hash[0] && remote.passwords)))
            return true;
    }
    return false;
}

static void switch_off(void)
{
    if (remote.door)
        tcp_door_close(remote.door);
    remote.door = NULL;
}

static enum hv_status switch_on(struct out *out)
{
    if (!anyone_may())
        return out_error(out, HV_EINVAL, "E_NO_USER", "host user add NAME; host user passwd NAME",
                         "no user could log in");
    if (!remote.key[0] && !ssh_keys_new_host(remote.key))
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory for a host key");
    if (remote.door && remote.listening == remote.port)
        return HV_OK; /* its port would be in use by connections that have ended */
    switch_off();
    remote.listening = remote.port;
    enum hv_status status = tcp_door_open(remote.port, on_link, NULL, &remote.door);
    net_wake();
    if (status != HV_OK)
        return out_error(out, status, "E_PORT", "host ssh port=2222", "port %u cannot be used",
                         remote.port);
    return HV_OK;
}

static bool take_settings(const struct schema_args *args, struct out *out)
{
    const char *kif = args_text(args, "kif"), *passwords = args_text(args, "passwords"),
               *key = args_text(args, "key");
    u64 port = args_number(args, "port", remote.port);
    u64 idle = args_number(args, "idle", remote.idle);

    if (!port || port > 65535) {
        out_error(out, HV_EINVAL, "E_VALUE", "port=22", "a port is 1 to 65535");
        return false;
    }
    if (idle > IDLE_MOST) {
        out_error(out, HV_EINVAL, "E_VALUE", "idle=900", "idle= is at most a day, in seconds");
        return false;
    }
    if (kif && strlen(kif) >= sizeof(remote.kif)) {
        out_error(out, HV_EINVAL, "E_VALUE", "net kif list", "no interface has such a name");
        return false;
    }
    if (key && strcmp(key, "new") && !ssh_keys_is_host(key)) {
        out_error(out, HV_EINVAL, "E_VALUE", "key=new", "that is no host key");
        return false;
    }
    remote.port = (u16)port;
    remote.idle = (u32)idle;
    if (kif)
        strcpy(remote.kif, strcmp(kif, "first") ? kif : "");
    if (passwords)
        remote.passwords = !strcmp(passwords, "yes");
    if (key && strcmp(key, "new"))
        strcpy(remote.key, key);
    else if (key)
        remote.key[0] = 0;
    return true;
}

static enum hv_status run_ssh(const struct schema_args *args, struct out *out)
{
    const char *what = args_text(args, "state");

    if (!args->count)
        return show(out);
    if (!take_settings(args, out))
        return HV_EINVAL;
    if (what && !strcmp(what, "off")) {
        switch_off();
        return HV_OK;
    }
    return what || remote.door ? switch_on(out) : HV_OK;
}

static void save_ssh(struct schema_text *t)
{
    if (remote.kif[0])
        schema_put(t, "host ssh kif=%s", remote.kif);
    if (remote.port != PORT || !remote.passwords)
        schema_put(t, "host ssh port=%u passwords=%s", remote.port,
                   remote.passwords ? "yes" : "no");
    if (remote.idle != IDLE)
        schema_put(t, "host ssh idle=%u", remote.idle);
    if (remote.key[0])
        schema_put(t, "host ssh key=%s", remote.key);
    if (remote.door)
        schema_put(t, "host ssh on");
}
SCHEMA_SAVES(save_ssh, SAVES_SERVICE);

static const struct schema_arg ssh_args[] = {
    {"state", PLACE_OPTIONAL, ARG_ENUM, .values = "on|off", .help = "without it: show"},
    {"port", PLACE_KEY, ARG_NUMBER, .help = "TCP port; 22 at first"},
    {"kif", PLACE_KEY, ARG_WORD, .help = "the interface it is offered on; first: the first one"},
    {"passwords", PLACE_KEY, ARG_ENUM, .values = "yes|no", .help = "no: keys alone let in"},
    {"idle", PLACE_KEY, ARG_NUMBER,
     .help = "seconds after which a silent session ends, 0: never; 900 at first"},
    {"key", PLACE_KEY, ARG_WORD, .help = "host key; new: another is made when it is switched on"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "ssh", "the shell over SSH, for users with a password or key",
     "host user add anna role=admin; host user passwd anna; host ssh on", ROLE_ADMIN, ssh_args,
     NULL, run_ssh},
};
SCHEMA_COMMANDS(commands);
