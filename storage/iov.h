/* Arithmetic on lists of memory pieces.  Pure; the lists were checked at disk_submit(). */
#pragma once

#include "storage/disk.h"

/* How many pieces the `len` bytes from `skip` touch. */
u32 iov_pieces(const struct disk_iov *iov, u32 count, u64 skip, u64 len);
/* Writes those pieces to out (iov_pieces() of them) and returns their number. */
u32 iov_slice(const struct disk_iov *iov, u32 count, u64 skip, u64 len, struct disk_iov *out);
void iov_read(const struct disk_iov *iov, u32 count, u64 skip, void *dst, u64 len);
void iov_write(const struct disk_iov *iov, u32 count, u64 skip, const void *src, u64 len);
void iov_zero(const struct disk_iov *iov, u32 count, u64 skip, u64 len);
