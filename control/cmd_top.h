/* Registers itself: SCHEMA_COMMANDS in cmd_top.c. */
#pragma once
