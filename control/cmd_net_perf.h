/* Registers itself: SCHEMA_COMMANDS in cmd_net_perf.c. */
#pragma once
