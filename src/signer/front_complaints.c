// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Warnings within bounds; see front_complaints.h.
#include "src/signer/front_complaints.h"

#include "src/base/clock.h"
#include "src/base/log.h"

enum { COMPLAINTS = 20, COMPLAINTS_MS = 60000 };

void ds_front_complain(ds_front_complaints *c, const char *who, const char *what, const char *text)
{
    pthread_mutex_lock(&c->lock);
    int64_t now = ds_now_ms();
    if (!c->count || now - c->since_ms > COMPLAINTS_MS) {
        c->count = 0;
        c->since_ms = now;
    }
    unsigned n = c->count < COMPLAINTS + 1 ? ++c->count : c->count;
    pthread_mutex_unlock(&c->lock);
    if (n <= COMPLAINTS)
        ds_log(DS_LOG_WARN, "%s%s%s%s: %s%s", who ? "station " : "", who ? who : "", who ? ": " : "", what, text,
               n == COMPLAINTS ? " (others are not told of for a while)" : "");
}
