// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Token buckets; see limit.h.
#include "src/cloud/limit.h"

#include <stddef.h>
#include <sys/random.h>

static void drain(ds_bucket *b, ds_rate rate, int64_t now_ms)
{
    int64_t passed = now_ms - b->at_ms;
    b->at_ms = now_ms;
    if (passed <= 0)
        return;
    int64_t full = ((int64_t)rate.burst + 1) * 1000;
    if (passed > full) // also keeps the product below small
        passed = full;
    b->spent -= passed * rate.per_s;
    if (b->spent < 0)
        b->spent = 0;
}

bool ds_bucket_open(ds_bucket *b, ds_rate rate, int64_t now_ms)
{
    drain(b, rate, now_ms);
    return b->spent + 1000 <= (int64_t)rate.burst * 1000;
}

void ds_bucket_count(ds_bucket *b, ds_rate rate, int64_t now_ms)
{
    int64_t full = ((int64_t)rate.burst + 1) * 1000;
    drain(b, rate, now_ms);
    b->spent += 1000;
    if (b->spent > full) // what comes while it is full does not keep it full for longer
        b->spent = full;
}

// FNV-1a from a secret beginning, mixed at the end.
ds_bucket *ds_sources_of(ds_sources *s, const char *address)
{
    if (!s->seed && getrandom(&s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
        s->seed = (uint64_t)(uintptr_t)s;
    s->seed |= 1;
    uint64_t h = UINT64_C(14695981039346656037) ^ s->seed;
    for (const char *p = address; *p; p++)
        h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
    h ^= h >> 33;
    h *= s->seed;
    h ^= h >> 29;
    return &s->bucket[h % DS_SOURCES];
}
