/* What the guests secret and seeker agree on. */
#ifndef BULKHEAD_TESTS_GUESTS_SECRET_H
#define BULKHEAD_TESTS_GUESTS_SECRET_H

#include "kernel/abi/types.h"

#define SECRET 0x5ec2e75ec2e70000ull /* each word: this and its number */
#define SECRET_FROM (4 * MIB)
#define SECRET_TO (30 * MIB)
#define SECRET_NUMBERS BITS(23, 0)

#endif
