/* Random numbers for mbedTLS, which asks for them under this name (MBEDTLS_ENTROPY_HARDWARE_ALT).
 */
#pragma once

#include <stddef.h>

int mbedtls_hardware_poll(void *owner, unsigned char *out, size_t len, size_t *given);
