// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How much somebody can cause to be written: so many warnings a minute, and no more, so that nobody fills a disk.
#ifndef DS_SIGNER_FRONT_COMPLAINTS_H
#define DS_SIGNER_FRONT_COMPLAINTS_H

#include <pthread.h>
#include <stdint.h>

typedef struct ds_front_complaints {
    pthread_mutex_t lock; // to be initialized
    unsigned count;
    int64_t since_ms;
} ds_front_complaints;

// "station WHO: WHAT: TEXT" (who NULL: "WHAT: TEXT") as a warning, unless there were too many; the last one says that
// others follow unsaid.
void ds_front_complain(ds_front_complaints *c, const char *who, const char *what, const char *text);

#endif
