/* A TCP connection as fast as it goes; called by `net perf`, by lwIP on the loop. */
#include "net/perf.h"

#include <lwip/tcp.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "net/net.h"

#define ZEROS (64 * KIB)

static u8 *zeros; /* where cards read them */

static void end(struct perf *p, enum hv_status status)
{
    if (p->over)
        return;
    p->over = true;
    p->status = status;
    p->done(p->owner);
}

static void detach(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
}

static void close_it(struct perf *p)
{
    struct tcp_pcb *pcb = p->pcb;

    p->pcb = NULL;
    if (!pcb)
        return;
    detach(pcb);
    if (tcp_close(pcb) != ERR_OK)
        tcp_abort(pcb);
}

/* lwIP keeps pointers to the zeros: nothing is copied on the way into its queue. */
static void fill(struct perf *p)
{
    struct tcp_pcb *pcb = p->pcb;

    while (p->queued < p->size) {
        u32 room = MIN((u32)tcp_sndbuf(pcb), (u32)ZEROS);
        u32 len = (u32)MIN(p->size - p->queued, (u64)MIN(room, 0xffffu));

        if (!len || tcp_write(pcb, zeros, (u16)len, 0) != ERR_OK)
            break; /* on_sent() goes on */
        p->queued += len;
    }
    tcp_output(pcb);
}

static err_t on_sent(void *owner, struct tcp_pcb *pcb, u16_t len)
{
    struct perf *p = owner;

    (void)pcb;
    p->bytes += len;
    p->ended = clock_ns();
    if (p->bytes < p->size) {
        fill(p);
        return ERR_OK;
    }
    close_it(p);
    end(p, HV_OK);
    return ERR_OK;
}

static err_t on_received(void *owner, struct tcp_pcb *pcb, struct pbuf *b, err_t e)
{
    struct perf *p = owner;

    (void)e;
    if (!b) { /* the other side has said all */
        close_it(p);
        end(p, p->send ? HV_EIO : HV_OK);
        return ERR_OK;
    }
    if (!p->send) {
        p->bytes += b->tot_len;
        p->ended = clock_ns();
    }
    tcp_recved(pcb, b->tot_len);
    pbuf_free(b);
    return ERR_OK;
}

static void on_error(void *owner, err_t e)
{
    struct perf *p = owner;

    (void)e;
    p->pcb = NULL; /* lwIP has freed it */
    end(p, HV_EIO);
}

static err_t on_connected(void *owner, struct tcp_pcb *pcb, err_t e)
{
    struct perf *p = owner;

    (void)pcb, (void)e;
    p->began = p->ended = clock_ns();
    if (p->send)
        fill(p);
    return ERR_OK;
}

enum hv_status perf_start(struct perf *p)
{
    zeros = zeros ? zeros : dma_alloc(ZEROS);
    struct tcp_pcb *pcb = zeros ? tcp_new_ip_type(IP_GET_TYPE(&p->to)) : NULL;

    p->bytes = p->began = p->ended = p->queued = 0;
    p->over = false;
    p->status = HV_OK;
    p->pcb = pcb;
    if (!pcb)
        return HV_ENOMEM;
    tcp_arg(pcb, p);
    tcp_recv(pcb, on_received);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_error);
    err_t e = tcp_connect(pcb, &p->to, p->port, on_connected);
    net_wake();
    if (e == ERR_OK)
        return HV_OK;
    detach(pcb);
    tcp_abort(pcb);
    p->pcb = NULL;
    return e == ERR_MEM || e == ERR_BUF ? HV_ENOMEM : HV_EIO;
}

void perf_stop(struct perf *p)
{
    struct tcp_pcb *pcb = p->pcb;

    p->over = true;
    p->pcb = NULL;
    if (!pcb)
        return;
    detach(pcb);
    tcp_abort(pcb);
}
