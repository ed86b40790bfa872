#include "kernel/hvm.h"
