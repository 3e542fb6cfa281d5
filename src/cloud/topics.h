// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device's topics: a list of patterns in which the level {name} stands for the device's own name. Patterns are
// separated by commas; a pattern is levels between slashes, one of them {name}, and at the end perhaps #:
//   devstamp/{name}/#,$aws/things/{name}/shadow/update
// A list is good only where no device can reach another's topics by it, whatever the two are called.
#ifndef DS_CLOUD_TOPICS_H
#define DS_CLOUD_TOPICS_H

#include "src/base/err.h"

#include <stdbool.h>

#define DS_TOPICS_DEFAULT "devstamp/{name}/#"

enum { DS_TOPICS_MAX = 16, DS_TOPICS_TEXT = 1024, DS_TOPICS_LEVELS = 16 }; // patterns, bytes with the end, levels

typedef struct ds_topics {
    unsigned count;
    struct ds_topic {
        char before[128]; // "devstamp/": the levels before {name}, never empty
        char after[128];  // "/" or "/shadow/update": what follows the name
        bool all_below;   // ended in #: everything that begins so
    } pattern[DS_TOPICS_MAX];
} ds_topics;

// DS_USAGE: says which pattern, and why not.
enum ds_class ds_topics_parse(const char *text, ds_topics *ret, ds_err *e) DS_MUST;

// Is the topic (or filter) one of this device's?
bool ds_topics_own(const ds_topics *t, const char *name, const char *topic);
// Does it lie where any device's topics do?
bool ds_topics_any(const ds_topics *t, const char *topic);

#endif
