// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The service's limits on calls, and how long to wait before one is tried again. Pure: time comes in, waiting time goes
// out. Source: AWS General Reference, "AWS IoT Core endpoints and quotas", API throttling limits (defaults of an
// account, per region).
#ifndef DS_AWS_LIMIT_H
#define DS_AWS_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { DS_AWS_ACTIONS = 40 };

typedef struct ds_aws_limiter {
    unsigned per_second;             // one rate for all actions; 0: each its own
    int64_t next_ms[DS_AWS_ACTIONS]; // when the next call of this action may go
} ds_aws_limiter;

// Calls a second that the service takes of this action; 10 of one that is not listed.
unsigned ds_aws_rate(const char *action);

// Milliseconds to wait before this call, which is counted as made then. now_ms: of a monotonic clock.
int64_t ds_aws_limit(ds_aws_limiter *l, const char *action, int64_t now_ms);

// Milliseconds to wait after the failure number attempt (0 is the first): doubling from 500 up to 20,000, of which a
// part is random, so that several who were refused together do not come back together. told_s: what the service asked
// for (0: nothing), kept up to 60 s.
int64_t ds_aws_back_off(unsigned attempt, long told_s, uint32_t random);

#endif
