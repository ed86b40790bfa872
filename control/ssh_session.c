/* One SSH connection; called by control/remote.c in a fiber.  RFC 4252, RFC 4254. */
#include "control/ssh_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>

#include "control/refusal.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/shell.h"
#include "control/shell_parse.h"
#include "control/ssh_keys.h"
#include "control/users.h"

#define OUT_BYTES (16 * KIB)
#define GOODBYE_MS 2000
#define STUCK_MS 30000 /* what a session that ends still says has to be taken within it */
#define TICK_MS 1000

struct connection {
    ssh_session ssh;
    ssh_event event;
    ssh_channel channel;
    int fd;
    const struct ssh_session_options *options;
    u32 refusals;          /* of whatever was tried */
    u32 passwords, keys;   /* of these that were looked at */
    u32 nones;             /* asked what there is to try */
    char last_key[80];     /* fingerprint of the one that was refused last */
    char name[USERS_NAME]; /* that the client gives, cut */
    bool offered;          /* a key that would do; it was not refused */
    bool told;             /* a refusal is an event already */
    bool logged_in, shell_wanted, failed;
    char user[USERS_NAME];
    u64 id;                    /* the user's */
    char line[SHELL_LINE_MAX]; /* the one command to run; "": a shell */
    u32 rows, columns;
    struct terminal terminal;
    struct shell *shell;
    bool shell_ended;
    u64 active; /* TSC when something was typed or said last */
    int status;
    u8 out_bytes[OUT_BYTES];
    struct ring out; /* from the shell, not yet in the channel */
    struct event room;
    struct ssh_server_callbacks_struct server;
    struct ssh_channel_callbacks_struct on_channel;
};

/* ---- logging in -------------------------------------------------------------------------------
 */
static void tell(struct connection *c, const char *user, const char *why)
{
    refusal_login(user, c->options->peer, why);
    c->told = true;
}

/* False: nothing is looked at any more.  Names of others may not be tried on one connection, so
 * each connection has one name in events. */
static bool may_try(struct connection *c, const char *user)
{
    char name[USERS_NAME];

    snprintf(name, sizeof(name), "%s", user);
    if (!c->name[0])
        strcpy(c->name, name);
    if (!c->failed && !strcmp(c->name, name))
        return true;
    tell(c, user, c->failed ? "too many tries" : "another name was tried");
    c->failed = true;
    return false;
}

static int refused(struct connection *c)
{
    if (++c->refusals == SSH_SESSION_REFUSALS || c->passwords == SSH_SESSION_TRIES)
        c->failed = true;
    return SSH_AUTH_DENIED;
}

static int welcome(struct connection *c, const char *user, u64 id)
{
    if (c->options->logged_in && !c->options->logged_in(c->options->owner)) {
        tell(c, user, "too many sessions");
        c->failed = true;
        return SSH_AUTH_DENIED;
    }
    snprintf(c->user, sizeof(c->user), "%s", user);
    c->id = id;
    c->logged_in = true;
    return SSH_AUTH_SUCCESS;
}

/* Clients ask with it, once, what they may try. */
static int on_none(ssh_session s, const char *user, void *owner)
{
    struct connection *c = owner;

    (void)s;
    return may_try(c, user) && c->nones++ ? refused(c) : SSH_AUTH_DENIED;
}

static int on_password(ssh_session s, const char *user, const char *password, void *owner)
{
    struct connection *c = owner;

    (void)s;
    if (!may_try(c, user))
        return SSH_AUTH_DENIED;
    if (!c->options->passwords) {
        tell(c, user, "passwords are not let in");
        return refused(c);
    }
    u64 id = users_check(user, password, c->options->peer);
    if (id)
        return welcome(c, user, id);
    c->passwords++;
    c->told = true;
    return refused(c);
}

/* What has no function of its own: libssh answers it as one that is refused. */
static int on_other(ssh_session s, ssh_message m, void *owner)
{
    struct connection *c = owner;

    (void)s;
    if (ssh_message_type(m) == SSH_REQUEST_AUTH && !c->logged_in &&
        may_try(c, ssh_message_auth_user(m)))
        refused(c);
    return 1;
}

static u64 check_key(struct connection *c, const char *user, ssh_key key, bool proved)
{
    char *base64 = NULL, text[USERS_KEY];
    u64 id = 0;

    if (ssh_pki_export_pubkey_base64(key, &base64) == SSH_OK) {
        snprintf(text, sizeof(text), "%s %s", ssh_key_type_to_char(ssh_key_type(key)), base64);
        if (ssh_key_type(key) >= SSH_KEYTYPE_ECDSA_P256 && ssh_pki_key_ecdsa_name(key))
            snprintf(text, sizeof(text), "%s %s", ssh_pki_key_ecdsa_name(key), base64);
        id = users_check_key(user, text, c->options->peer, proved);
    }
    ssh_string_free_char(base64);
    return id;
}

/* First whether the key would do (RFC 4252 section 7), then with a signature. */
static int on_key(ssh_session s, const char *user, struct ssh_key_struct *key, char state,
                  void *owner)
{
    struct connection *c = owner;
    bool proved = state == SSH_PUBLICKEY_STATE_VALID;

    (void)s;
    if (!may_try(c, user))
        return SSH_AUTH_DENIED;
    u64 id = proved || state == SSH_PUBLICKEY_STATE_NONE ? check_key(c, user, key, proved) : 0;
    if (id && proved)
        return welcome(c, user, id);
    c->offered |= id != 0;
    if (id)
        return SSH_AUTH_SUCCESS;
    c->keys++;
    ssh_keys_fingerprint(key, c->last_key, sizeof(c->last_key));
    return refused(c);
}

/* Whatever was refused and is no event yet.  A connection that fails with keys alone is one failed
 * login: clients offer all the keys they have, and most are others'. */
static void tell_refused(struct connection *c)
{
    if (c->keys)
        users_refuse_keys(c->name, c->options->peer, c->keys, c->last_key,
                          !c->logged_in && !c->passwords && !c->offered);
    else if (!c->logged_in && !c->told && (c->refusals || c->offered))
        tell(c, c->name, c->refusals ? "nothing of that kind lets in" : "the key was not proved");
    else if (!c->logged_in && !c->told)
        refusal_connection(c->options->peer, "nobody tried to log in");
}

/* ---- the channel ------------------------------------------------------------------------------
 */
static int on_pty(ssh_session s, ssh_channel ch, const char *term, int columns, int rows, int px,
                  int py, void *owner)
{
    struct connection *c = owner;

    (void)s, (void)ch, (void)term, (void)px, (void)py;
    c->rows = rows > 0 ? (u32)rows : 0;
    c->columns = columns > 0 ? (u32)columns : 0;
    return 0;
}

static int on_resize(ssh_session s, ssh_channel ch, int columns, int rows, int px, int py,
                     void *owner)
{
    struct connection *c = owner;

    on_pty(s, ch, NULL, columns, rows, px, py, owner);
    if (c->shell && !c->shell_ended)
        shell_resize(c->shell, c->rows, c->columns);
    return 0;
}

static int on_shell(ssh_session s, ssh_channel ch, void *owner)
{
    struct connection *c = owner;

    (void)s, (void)ch;
    if (c->shell_wanted)
        return 1;
    c->shell_wanted = true;
    return 0;
}

static int on_command(ssh_session s, ssh_channel ch, const char *line, void *owner)
{
    struct connection *c = owner;

    (void)s, (void)ch;
    if (c->shell_wanted || strlen(line) >= sizeof(c->line) || !line[0])
        return 1;
    strcpy(c->line, line);
    c->shell_wanted = true;
    return 0;
}

static ssh_channel on_open(ssh_session s, void *owner)
{
    struct connection *c = owner;

    if (c->channel || !c->logged_in) /* one a connection */
        return NULL;
    c->channel = ssh_channel_new(s);
    if (c->channel)
        ssh_set_channel_callbacks(c->channel, &c->on_channel);
    return c->channel;
}

/* ---- the terminal -----------------------------------------------------------------------------
 */
static void wake(struct connection *c)
{
    if (c->options->wake)
        c->options->wake(c->fd);
}

static u32 terminal_out(void *owner, const char *text, u32 len)
{
    struct connection *c = owner;
    u32 n = ring_put(&c->out, text, len);

    if (n)
        wake(c);
    return n;
}

static struct event *terminal_room(void *owner)
{
    return &((struct connection *)owner)->room;
}

static const struct terminal_ops terminal_ops = {.write = terminal_out, .room = terminal_room};

static void on_shell_ended(void *owner, int status)
{
    struct connection *c = owner;

    c->shell_ended = true;
    c->status = status;
    wake(c);
}

/* What the shell said goes into the channel as far as the client's window lets it. */
static void pump_out(struct connection *c)
{
    char buf[2048];
    u32 n = 1, window;

    while (n && ring_used(&c->out) && ssh_channel_is_open(c->channel)) {
        window = ssh_channel_window_size(c->channel);
        n = ring_get(&c->out, buf, MIN(window, (u32)sizeof(buf)));
        if (n && ssh_channel_write(c->channel, buf, n) < 0)
            return;
        if (n)
            c->active = clock_tsc();
    }
    if (ring_room(&c->out) >= OUT_BYTES / 2)
        event_signal(&c->room);
}

static void pump_in(struct connection *c)
{
    u8 buf[512];
    int n = 1;

    while (n > 0) {
        u32 room = MIN(terminal_key_room(&c->terminal), (u32)sizeof(buf));

        n = room ? ssh_channel_read_nonblocking(c->channel, buf, room, 0) : 0;
        if (n > 0) {
            c->active = clock_tsc();
            terminal_input(&c->terminal, buf, (u32)n);
        }
    }
}

static bool gone(const struct connection *c)
{
    return !ssh_is_connected(c->ssh) || !c->channel || ssh_channel_is_closed(c->channel);
}

/* A session that was forgotten: it is told, and ends. */
static bool idle_for_too_long(struct connection *c)
{
    static const char text[] = "\r\nNothing was typed for too long: the session ends.\r\n";
    u32 most = c->options->idle_seconds;

    if (!most || c->line[0] || clock_tsc() - c->active < clock_ticks(most * CLOCK_SECOND))
        return false;
    log_notice("ssh: session of %s from %s ends, idle for %u s", c->user, c->options->peer, most);
    (void)ssh_channel_write(c->channel, text, sizeof(text) - 1);
    return true;
}

/* The client is gone, or takes nothing any more. */
static bool lost(const struct connection *c)
{
    return gone(c) ||
           (ring_used(&c->out) && clock_tsc() - c->active > clock_ticks(STUCK_MS * CLOCK_MS));
}

/* A command may take its time to notice that nobody types any more. */
static void wait_for_shell(struct connection *c)
{
    while (!c->shell_ended) {
        fiber_yield();
        pump_out(c);
        bool over = lost(c);

        if (over || ssh_event_dopoll(c->event, 100) == SSH_ERROR) {
            terminal_end(&c->terminal);
            fiber_wait(&c->room, clock_after(50 * CLOCK_MS));
        }
    }
}

/* Until the shell has ended; the client may end before it. */
static void carry(struct connection *c)
{
    c->active = clock_tsc();
    while (!c->shell_ended && !c->terminal.dismissed) {
        fiber_yield();
        pump_out(c);
        pump_in(c);
        if (gone(c) ||
            (c->line[0] == 0 && ssh_channel_is_eof(c->channel) &&
             ssh_channel_poll(c->channel, 0) <= 0) ||
            idle_for_too_long(c))
            break;
        /* Keys that found no room wait in the channel. */
        bool full = !terminal_key_room(&c->terminal);
        if (ssh_event_dopoll(c->event, full ? 20 : TICK_MS) == SSH_ERROR)
            break;
    }
    if (!c->shell_ended && gone(c))
        terminal_end(&c->terminal);
    else if (!c->shell_ended)
        terminal_hang_up(&c->terminal);
    wait_for_shell(c);
}

static void say_goodbye(struct connection *c)
{
    u64 end = clock_after(GOODBYE_MS * CLOCK_MS);

    while (ring_used(&c->out) && !gone(c) && clock_tsc() < end) {
        pump_out(c);
        if (ring_used(&c->out) && ssh_event_dopoll(c->event, 100) == SSH_ERROR)
            return;
    }
    if (gone(c))
        return;
    ssh_channel_request_send_exit_status(c->channel, c->status);
    ssh_channel_send_eof(c->channel);
    ssh_channel_close(c->channel);
    while (ssh_is_connected(c->ssh) && clock_tsc() < end) { /* the client hangs up first */
        if (ssh_event_dopoll(c->event, 100) == SSH_ERROR)
            return;
    }
}

/* ---- one connection ---------------------------------------------------------------------------
 */
static const struct {
    enum ssh_bind_options_e option;
    const char *value;
} algorithms[] = {
    {SSH_BIND_OPTIONS_KEY_EXCHANGE, "curve25519-sha256,curve25519-sha256@libssh.org"},
    {SSH_BIND_OPTIONS_HOSTKEY_ALGORITHMS, "ssh-ed25519"},
    {SSH_BIND_OPTIONS_CIPHERS_C_S,
     "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr"},
    {SSH_BIND_OPTIONS_CIPHERS_S_C,
     "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr"},
    {SSH_BIND_OPTIONS_HMAC_C_S, "hmac-sha2-256-etm@openssh.com,hmac-sha2-256"},
    {SSH_BIND_OPTIONS_HMAC_S_C, "hmac-sha2-256-etm@openssh.com,hmac-sha2-256"},
    {SSH_BIND_OPTIONS_PUBKEY_ACCEPTED_KEY_TYPES,
     "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,rsa-sha2-256,rsa-sha2-512"},
};

static ssh_bind make_bind(const char *key_text)
{
    ssh_bind b = ssh_bind_new();
    ssh_key key = b ? ssh_keys_host(key_text) : NULL;
    bool no = false, fine = key != NULL;

    fine = fine && ssh_bind_options_set(b, SSH_BIND_OPTIONS_PROCESS_CONFIG, &no) == SSH_OK &&
           ssh_bind_options_set(b, SSH_BIND_OPTIONS_BANNER, "Bulkhead") == SSH_OK;
    for (u32 i = 0; fine && i < ARRAY_LEN(algorithms); i++)
        fine = ssh_bind_options_set(b, algorithms[i].option, algorithms[i].value) == SSH_OK;
    if (fine && ssh_bind_options_set(b, SSH_BIND_OPTIONS_IMPORT_KEY, key) == SSH_OK)
        return b; /* the key is its own now */
    ssh_key_free(key);
    if (b)
        ssh_bind_free(b);
    return NULL;
}

static void set_callbacks(struct connection *c)
{
    ssh_callbacks_init(&c->server);
    c->server.userdata = c;
    c->server.auth_none_function = on_none;
    c->server.auth_password_function = on_password;
    c->server.auth_pubkey_function = on_key;
    c->server.channel_open_request_session_function = on_open;
    ssh_callbacks_init(&c->on_channel);
    c->on_channel.userdata = c;
    c->on_channel.channel_pty_request_function = on_pty;
    c->on_channel.channel_pty_window_change_function = on_resize;
    c->on_channel.channel_shell_request_function = on_shell;
    c->on_channel.channel_exec_request_function = on_command;
    ssh_set_server_callbacks(c->ssh, &c->server);
    ssh_set_message_callback(c->ssh, on_other, c);
    ssh_set_auth_methods(c->ssh, SSH_AUTH_METHOD_PUBLICKEY |
                                     (c->options->passwords ? SSH_AUTH_METHOD_PASSWORD : 0));
}

/* Key exchange and login.  True: a shell is wanted. */
static bool negotiate(struct connection *c)
{
    u64 end = clock_after(SSH_SESSION_LOGIN_MS * CLOCK_MS);

    ssh_set_blocking(c->ssh, 0);
    set_callbacks(c);
    int status = ssh_handle_key_exchange(c->ssh);
    if (status == SSH_ERROR || ssh_event_add_session(c->event, c->ssh) != SSH_OK)
        return false;
    while (!c->shell_wanted && !c->failed && ssh_is_connected(c->ssh) && clock_tsc() < end) {
        fiber_yield(); /* a stranger who has always more to say holds up nobody */
        if (status == SSH_AGAIN)
            status = ssh_handle_key_exchange(c->ssh);
        if (status == SSH_ERROR || ssh_event_dopoll(c->event, TICK_MS) == SSH_ERROR)
            return false;
    }
    return c->shell_wanted && ssh_is_connected(c->ssh);
}

static void run_shell(struct connection *c)
{
    ring_init(&c->out, c->out_bytes, sizeof(c->out_bytes));
    terminal_init(&c->terminal, &terminal_ops, c);
    c->shell = shell_open(&c->terminal, c->user, c->id, c->options->peer,
                          c->line[0] ? c->line : NULL, on_shell_ended, c);
    if (!c->shell) {
        log_warn("no memory for a remote shell");
        return;
    }
    shell_resize(c->shell, c->rows, c->columns);
    carry(c);
    say_goodbye(c);
}

void ssh_session_serve(int fd, const struct ssh_session_options *o)
{
    struct connection *c = calloc(1, sizeof(*c));
    ssh_bind b = c ? make_bind(o->key) : NULL;

    if (!b || !(c->ssh = ssh_new()) || !(c->event = ssh_event_new()) ||
        ssh_bind_accept_fd(b, c->ssh, fd) != SSH_OK) {
        log_warn("no memory for the connection of %s", o->peer);
        if (!b || !c->event)
            close(fd); /* else it is libssh's already */
    } else {
        c->fd = fd;
        c->options = o;
        bool wanted = negotiate(c);
        tell_refused(c);
        if (wanted)
            run_shell(c);
        ssh_disconnect(c->ssh);
    }
    if (c && c->event)
        ssh_event_free(c->event);
    if (c && c->ssh)
        ssh_free(c->ssh);
    if (b)
        ssh_bind_free(b);
    free(c);
}
