/* Help out of the schema: for `help`, for `?` and for the reference in README.  Pure. */
#pragma once

#include "control/schema.h"

void help_all(struct out *out);
void help_noun(struct out *out, const char *noun);
void help_command(struct out *out, const struct schema_command *c);
void help_reference(struct out *out); /* Markdown, every command */
