/* `net kif`, `net ping`: the host's own addresses, and who answers. */
#pragma once
