/* `net auto`, and what of switches and their ports survives a reboot; entered through the schema.
 */
#pragma once
