/* Stand-ins until the VT-x backend is there: weak, so that the real ones win. */
#include "kernel/hvm.h"
