/* `host user`; entered through the schema alone. */
#pragma once
