/* Exit messages of AMD-V vCPUs to the control partition, and the answers. */
#ifndef BULKHEAD_KERNEL_SVM_MESSAGE_H
#define BULKHEAD_KERNEL_SVM_MESSAGE_H

#include "kernel/exit.h"
#include "kernel/svm_vcpu.h"

void svm_message_fill(struct vcpu *v); /* what every message says */
enum exit_action svm_message_io(struct vcpu *v);
enum exit_action svm_message_npf(struct vcpu *v);
/* It cannot go on, until a reset. */
enum exit_action svm_message_stop(struct vcpu *v, enum exit_kind kind, const char *format, ...)
    PRINTF_LIKE(3, 4);
enum exit_action svm_message_entry_failed(struct vcpu *v);
void svm_complete_exit(struct vcpu *v);

#endif
