/* What libssh 0.11 finds on musl and mbedTLS, in place of its configure step: a server without
 * compression, files, agents or commands of its own.  Included by libssh alone. */
#pragma once

#define PACKAGE "libssh"
#define VERSION "0.11"
#define SYSCONFDIR "/etc"
#define BINARYDIR "/"
#define SOURCEDIR "/"
#define GLOBAL_BIND_CONFIG "/none"
#define GLOBAL_CONF_DIR "/none"
#define USR_GLOBAL_CONF_DIR "/none"
#define GLOBAL_CLIENT_CONFIG "/none"
#define USR_GLOBAL_BIND_CONFIG "/none"
#define USR_GLOBAL_CLIENT_CONFIG "/none"

#define HAVE_ARPA_INET_H 1
#define HAVE_CFMAKERAW 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_COMPILER__FUNC__ 1
#define HAVE_ECC 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_FALLTHROUGH_ATTRIBUTE 1
#define HAVE_GCC_THREAD_LOCAL_STORAGE 1
#define HAVE_GCC_VOLATILE_MEMORY_PROTECTION 1
#define HAVE_GETADDRINFO 1
#define HAVE_ISBLANK 1
#define HAVE_LIBMBEDCRYPTO 1
#define HAVE_MBEDTLS_CHACHA20_H 1
#define HAVE_MBEDTLS_POLY1305_H 1
#define HAVE_MBEDTLS_CURVE25519 1
#define HAVE_POLL 1
#define HAVE_SNPRINTF 1
#define HAVE_STDINT_H 1
#define HAVE_STRNCPY 1
#define HAVE_STRNDUP 1
#define HAVE_STRTOULL 1
#define HAVE_SYS_TIME_H 1
#define HAVE_TERMIOS_H 1
#define HAVE_UNISTD_H 1
#define HAVE_UNUSED_ATTRIBUTE 1
#define HAVE_VSNPRINTF 1
#define HAVE_WEAK_ATTRIBUTE 1
#define WITH_SERVER 1
