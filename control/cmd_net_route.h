/* `net route`; entered through the schema. */
#pragma once
