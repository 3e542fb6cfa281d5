// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Messages the broker could not publish yet (it was at its memory limit): kept in their order, bounded, and tried
// again. Not for threads.
#ifndef DS_CLOUD_OUTBOX_H
#define DS_CLOUD_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

// Publish now; false: not this time.
typedef bool (*ds_outbox_publish)(const char *topic, const char *payload);

enum { DS_OUTBOX_MAX = 4096 }; // messages

typedef struct ds_outbox {
    struct ds_outbox_item *first, *last;
    size_t count;
} ds_outbox;

// Publish, after everything that waits. False where it was given up, because too many wait already.
bool ds_outbox_send(ds_outbox *o, ds_outbox_publish publish, const char *topic, const char *payload);
// Publish what waits, until one fails.
void ds_outbox_retry(ds_outbox *o, ds_outbox_publish publish);
void ds_outbox_clear(ds_outbox *o);

#endif
