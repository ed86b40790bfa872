/* The control partition's program: version and start-up. */
#ifndef BULKHEAD_CONTROL_MAIN_H
#define BULKHEAD_CONTROL_MAIN_H

#define BULKHEAD_VERSION "0.1"

int main(void); /* never returns */

#endif
