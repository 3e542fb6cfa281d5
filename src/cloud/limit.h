// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How many in a while: token buckets, one alone or one for each source address, in memory of a fixed size. Times are
// those of a monotonic clock, in milliseconds.
#ifndef DS_CLOUD_LIMIT_H
#define DS_CLOUD_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ds_bucket {
    int64_t spent; // thousandths; drains with time
    int64_t at_ms;
} ds_bucket;

// per_s drain away each second, and burst may stand at once.
typedef struct ds_rate {
    unsigned per_s, burst;
} ds_rate;

// Is there room for one more? Takes nothing.
bool ds_bucket_open(ds_bucket *b, ds_rate rate, int64_t now_ms);
// Put one in, room or not.
void ds_bucket_count(ds_bucket *b, ds_rate rate, int64_t now_ms);

// One bucket for each of the sources that were busy last. Sources whose hashes meet share one.
enum { DS_SOURCES = 1024 };
typedef struct ds_sources {
    ds_bucket bucket[DS_SOURCES];
    uint64_t seed; // not 0 once it was drawn, so that nobody can choose with whom he shares
} ds_sources;
ds_bucket *ds_sources_of(ds_sources *s, const char *address);

#endif
