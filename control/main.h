/* The control partition's program: version and start-up. */
#pragma once

#define BULKHEAD_VERSION "0.1"

int main(void); /* never returns */
