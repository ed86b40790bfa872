/* TCP links as socket numbers, for library code that knows nothing else. */
#pragma once

#include "net/tcp.h"

#define SOCKETS_MAX 16

/* A number for the link, which is closed with it; -1: none is left. */
int sockets_add(struct tcp_link *l);
/* Undoes that; the link stays the caller's. */
void sockets_forget(int fd);
/* The link's event ends a poll(), too, when nothing has come: for those who want its fiber back. */
void sockets_wake(int fd);
