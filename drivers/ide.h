/* IDE controllers, found by the driver table. */
#pragma once
