/* `store ...`: datastores.  The commands register themselves. */
#pragma once
