/* `disk ...`: disk images, and copies of disks.  The commands register themselves. */
#pragma once
