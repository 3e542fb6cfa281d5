// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Messages that wait for the broker; see outbox.h.
#include "src/cloud/outbox.h"

#include "src/base/buf.h"

#include <stdlib.h>

struct ds_outbox_item {
    struct ds_outbox_item *next;
    char *topic, *payload;
};

static void drop_first(ds_outbox *o)
{
    struct ds_outbox_item *item = o->first;
    o->first = item->next;
    if (!o->first)
        o->last = NULL;
    o->count--;
    free(item->topic);
    free(item->payload);
    free(item);
}

static void keep(ds_outbox *o, const char *topic, const char *payload)
{
    struct ds_outbox_item *item = ds_alloc(sizeof *item);
    item->topic = ds_strdup(topic);
    item->payload = ds_strdup(payload);
    if (o->last)
        o->last->next = item;
    else
        o->first = item;
    o->last = item;
    o->count++;
}

void ds_outbox_retry(ds_outbox *o, ds_outbox_publish publish)
{
    while (o->first && publish(o->first->topic, o->first->payload))
        drop_first(o);
}

bool ds_outbox_send(ds_outbox *o, ds_outbox_publish publish, const char *topic, const char *payload)
{
    ds_outbox_retry(o, publish);
    if (!o->first && publish(topic, payload))
        return true;
    if (o->count >= DS_OUTBOX_MAX)
        return false;
    keep(o, topic, payload);
    return true;
}

void ds_outbox_clear(ds_outbox *o)
{
    while (o->first)
        drop_first(o);
}
