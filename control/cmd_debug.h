/* Commands that tests and benchmarks need: faults on purpose and raw costs.  Nothing calls in. */
#ifndef BULKHEAD_CONTROL_CMD_DEBUG_H
#define BULKHEAD_CONTROL_CMD_DEBUG_H
#endif
