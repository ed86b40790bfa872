/* `host config`: entered through the schema alone. */
#pragma once
