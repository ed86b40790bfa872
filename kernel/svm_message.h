/* Exit messages of AMD-V vCPUs to the control partition. */
#ifndef BULKHEAD_KERNEL_SVM_MESSAGE_H
#define BULKHEAD_KERNEL_SVM_MESSAGE_H

#include "kernel/exit.h"
#include "kernel/svm_vcpu.h"

void svm_message_fill(struct vcpu *v); /* what every message says */
enum exit_action svm_message_io(struct vcpu *v);
enum exit_action svm_message_npf(struct vcpu *v);

#endif
