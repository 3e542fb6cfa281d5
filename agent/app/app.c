// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Every boot of the app side. A device that is not stamped or not secured runs all the same and says so in its report;
// it does not connect, as its key may still lie readable in flash.
#include "agent/app/internal.h"
#include "agent/app/stamp.h"

enum { POLL_MS = 1000, POLLS_PER_TRY = 60 };

static ds_status secure_stamp(ds_agent *a)
{
    ds_status s = ds_app_migrate(a);
    if (s == DS_STATUS_OK)
        s = ds_stamp_reset_resume(a);
    if (s == DS_STATUS_OK)
        s = ds_app_close_download(a);
    a->last_status = s;
    return s;
}

void ds_app_run(ds_agent *a)
{
    if (secure_stamp(a) == DS_STATUS_OK)
        ds_app_hello(a);
    for (uint32_t polls = 1; ds_agent_poll(a, POLL_MS); polls++) {
        a->port->alive(a->port->ctx);
        if (polls % POLLS_PER_TRY == 0 && !a->endpoint_reached && secure_stamp(a) == DS_STATUS_OK)
            ds_app_hello_once(a);
    }
}
