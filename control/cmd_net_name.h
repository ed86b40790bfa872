/* `net dns` and `net ntp`; entered through the schema and cmd_net_resolve() (control/cmd_net.h). */
#pragma once
