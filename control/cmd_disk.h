/* Registers itself: SCHEMA_COMMANDS in cmd_disk.c. */
#pragma once
