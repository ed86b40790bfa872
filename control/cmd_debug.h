/* Commands that tests and benchmarks need: faults on purpose and raw costs.  Nothing calls in. */
#pragma once
