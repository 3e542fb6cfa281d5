// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Time; see clock.h.
#include "src/base/clock.h"

#include <errno.h>
#include <time.h>

int64_t ds_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t ds_utc_now(void)
{
    return (int64_t)time(NULL);
}

void ds_utc_format(int64_t utc, char ret[21])
{
    time_t t = (time_t)utc;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(ret, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        ret[0] = '\0';
}

int64_t ds_utc_add_years(int64_t utc, int years)
{
    time_t t = (time_t)utc;
    struct tm tm;
    if (!gmtime_r(&t, &tm))
        return utc;
    tm.tm_year += years;
    return (int64_t)timegm(&tm);
}

void ds_sleep_ms(int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

int ds_ms_left(int64_t deadline_ms)
{
    int64_t left = deadline_ms - ds_now_ms();
    if (left < 0)
        return 0;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}
