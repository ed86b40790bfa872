/* The remote shell's door: `host ssh`; entered through the schema. */
#pragma once
