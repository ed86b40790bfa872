/* At which addresses the host is; called by sessions, and by lwIP when an address has come. */
#include "control/banner.h"

#include <stdio.h>
#include <string.h>

#include "control/address.h"
#include "control/console.h"
#include "control/remote.h"
#include "control/saved.h"
#include "net/kif.h"

#define LINE_MOST 400u

/* Of a network that the administrator has set up, the log's notice is enough. */
static void on_address(const struct kif *k)
{
    static bool told;
    char address[ADDRESS_TEXT];

    if (told || !saved_network_untouched())
        return;
    told = true;
    ip4addr_ntoa_r(netif_ip4_addr(&k->netif), address, sizeof(address));
    if (remote_is_on())
        console_notice("Bulkhead is at %s (%s, by DHCP); `ssh USER@%s` gives this shell", address,
                       k->name, address);
    else
        console_notice("Bulkhead is at %s (%s, by DHCP); this shell over SSH: `help host ssh`",
                       address, k->name);
}

void banner_start(void)
{
    kif_has_address = on_address;
}

static u32 add(char *line, u32 n, const char *text)
{
    return MIN(n + (u32)snprintf(line + n, LINE_MOST - n, "%s", text), LINE_MOST - 1);
}

static u32 add_addresses(char *line, u32 n, const struct kif *k)
{
    char text[ADDRESS_TEXT];
    bool some = !ip4_addr_isany(netif_ip4_addr(&k->netif));

    if (some) {
        kif_address_text(k, text, sizeof(text));
        n = add(line, n, " ");
        n = add(line, n, text);
        n = add(line, n, k->mode == KIF_DHCP ? " by DHCP" : "");
    }
    for (u32 i = 1; i < LWIP_IPV6_NUM_ADDRESSES; i++) { /* the first is link-local */
        if (!ip6_addr_isvalid(netif_ip6_addr_state(&k->netif, i)))
            continue;
        n = add(line, n, some ? ", " : " ");
        n = add(line, n, address_text6(netif_ip6_addr(&k->netif, i), text));
        some = true;
    }
    return some ? n : add(line, n, k->mode == KIF_DHCP ? " asks DHCP" : " none");
}

void banner_session(struct terminal *t)
{
    char line[LINE_MOST + 1];
    u32 n = add(line, 0, "Addresses:");

    if (!kif_first())
        return;
    for (const struct kif *k = kif_first(); k; k = k->next) {
        n = add(line, n, k == kif_first() ? " " : "; ");
        n = add(line, n, k->name);
        n = add_addresses(line, n, k);
    }
    strcpy(line + n, "\n");
    terminal_print(t, line);
}
