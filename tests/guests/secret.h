/* What the guests secret and seeker agree on. */
#pragma once

#include "kernel/abi/types.h"

#define SECRET 0x5ec2e75ec2e70000ull /* each word: this and its number */
#define SECRET_FROM (4 * MIB)
#define SECRET_TO (30 * MIB)
#define SECRET_NUMBERS BITS(23, 0)
