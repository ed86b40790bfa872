/* `vm export`: a machine as an OVA package.  The command registers itself. */
#pragma once
