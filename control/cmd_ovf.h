/* `vm import`, `vm export`: machines as OVF packages.  The commands register themselves. */
#pragma once
