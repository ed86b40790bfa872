/* `net kif`, `net ping`, `net route`, `net dns`, `net ntp`: the host's own place in the network. */
#pragma once
