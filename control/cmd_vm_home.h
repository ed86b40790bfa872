/* Commands about VMs that have a home on a datastore: entered through the schema alone. */
#pragma once
