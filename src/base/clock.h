// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Time: a monotonic clock for intervals and deadlines, UTC for the record. Never the wall clock for an interval.
#ifndef DS_BASE_CLOCK_H
#define DS_BASE_CLOCK_H

#include <stdint.h>

// Milliseconds of a monotonic clock of arbitrary start.
int64_t ds_now_ms(void);

// Seconds since 1970-01-01 UTC.
int64_t ds_utc_now(void);

// RFC 3339 with seconds, "2026-01-31T12:34:56Z" and the terminating zero: 21 bytes.
void ds_utc_format(int64_t utc, char ret[21]);

// The same date and time of day so many years later; of 29 February, 1 March where there is none.
int64_t ds_utc_add_years(int64_t utc, int years);

void ds_sleep_ms(int64_t ms);

// Milliseconds left until deadline_ms (of ds_now_ms), never negative, at most INT32_MAX: what poll() takes.
int ds_ms_left(int64_t deadline_ms);

#endif
