/* A reader of XML for descriptors of packages: one item after the other, without a tree.
 *
 * Names come without their prefix.  No document types, so no entities but the five and numbers;
 * bounded depth, names and values.  Pure; the text is hostile and not terminated. */
#pragma once

#include "kernel/abi/types.h"

#define XML_NAME 64u
#define XML_VALUE 1024u
#define XML_ATTRIBUTES 24u
#define XML_DEPTH 24u

enum xml_item {
    XML_OPEN,  /* name, attributes, depth: of this element, the root has 1 */
    XML_CLOSE, /* name, depth */
    XML_TEXT,  /* value: a piece of text between tags, cut if it is longer */
    XML_END,
    XML_BAD, /* why */
};

struct xml {
    const char *begin, *at, *end;
    char name[XML_NAME], value[XML_VALUE];
    u32 count;
    struct {
        char name[XML_NAME], value[XML_VALUE];
    } attribute[XML_ATTRIBUTES];
    u32 depth;
    char open[XML_DEPTH][XML_NAME]; /* names on the way down */
    bool closing;                   /* "<a/>": its end comes next */
    bool closed;                    /* the last item was an end */
    bool had_root;
    const char *why;
};

void xml_begin(struct xml *x, const char *text, u64 len);
enum xml_item xml_next(struct xml *x);
const char *xml_attribute(const struct xml *x, const char *name); /* NULL: it has none */
u32 xml_line(const struct xml *x);                                /* where the reader is, from 1 */
