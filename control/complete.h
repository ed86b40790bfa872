/* Tab completion from the schema.  Pure. */
#ifndef BULKHEAD_CONTROL_COMPLETE_H
#define BULKHEAD_CONTROL_COMPLETE_H

#include "control/line_edit.h"

/* Candidates for the word that ends text[0..len): nouns, verbs, objects, keys, values, filters. */
void complete_line(const char *text, u32 len, struct completion *out);

#endif
