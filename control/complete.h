/* Tab completion from the schema.  Pure. */
#pragma once

#include "control/line_edit.h"

/* Candidates for the word that ends text[0..len): nouns, verbs, objects, keys, values, filters. */
void complete_line(const char *text, u32 len, struct completion *out);
