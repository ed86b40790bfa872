/* The remote shell's door: `host ssh`; entered through the schema. */
#ifndef BULKHEAD_CONTROL_REMOTE_H
#define BULKHEAD_CONTROL_REMOTE_H
#endif
