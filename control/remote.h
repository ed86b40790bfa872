/* The remote shell's door: `host ssh`; entered through the schema. */
#pragma once

#include "kernel/abi/types.h"

bool remote_is_on(void);
