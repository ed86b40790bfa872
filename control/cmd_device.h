/* `host pci`, `host disk`, `host nic`: rows in the schema. */
#pragma once
