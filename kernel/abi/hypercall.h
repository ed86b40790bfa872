/* Hypercalls of a guest: VMCALL (VMMCALL on AMD) at CPL 0 with the number in RAX; the answer comes
 * back in RAX, no other register changes.  At CPL 3 the instruction raises #UD. */
#pragma once

#define HYPERCALL_VERSION 0ull /* returns HYPERCALL_ABI; the null call that `make bench` times */

#define HYPERCALL_ABI 1ull       /* version of this interface */
#define HYPERCALL_ENOSYS (-38ll) /* any other number */
