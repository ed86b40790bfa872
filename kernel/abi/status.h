/* The one error enumeration of kernel and control partition. */
#pragma once

enum hv_status {
    HV_OK = 0,
    HV_EINVAL = -1, /* an argument is out of range or malformed */
    HV_ENOMEM = -2, /* no frame left, or the partition's quota is used up */
    HV_EPERM = -3,  /* the caller does not hold that grant */
    HV_EBUSY = -4,  /* the object is in use or in the wrong state */
    HV_EIO = -5,    /* hardware did not answer as it must */
    HV_ENOSYS = -6, /* no such call, or this machine cannot do it */
    HV_EEXIST = -7, /* already there */
    HV_ENOENT = -8, /* not there */
    HV_EFAULT = -9, /* a pointer is not the caller's memory */
    HV_E2BIG = -10, /* does not fit */
    HV_ETIMEDOUT = -11,
    HV_ENOHVM = -12,   /* no usable hardware virtualisation on this machine */
    HV_ENOSPC = -13,   /* no room left on a disk */
    HV_ECORRUPT = -14, /* what is on a disk contradicts itself */
};
