/* Commands about VMs that have a home on a datastore: entered through the schema alone. */
#ifndef BULKHEAD_CONTROL_CMD_VM_HOME_H
#define BULKHEAD_CONTROL_CMD_VM_HOME_H
#endif
