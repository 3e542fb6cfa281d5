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

// An update that cannot use the device, or read its stamp, is not kept. What the endpoint thinks of it is no reason: a
// network that is down would take back a sound update.
static void judge_self(ds_agent *a)
{
    int stage = 0;
    if (a->port->trial_end == NULL)
        return;
    bool good = a->port->self_test(a->port->ctx) == 0 && ds_store_stage(a, &stage) == DS_STATUS_OK;
    ds_status s = a->port->trial_end(a->port->ctx, good);
    if (a->last_status == DS_STATUS_OK)
        a->last_status = s;
}

void ds_app_run(ds_agent *a)
{
    bool secured = secure_stamp(a) == DS_STATUS_OK;
    judge_self(a);
    if (secured)
        ds_app_hello(a);
    for (uint32_t polls = 1; ds_agent_poll(a, POLL_MS); polls++) {
        a->port->alive(a->port->ctx);
        if (polls % POLLS_PER_TRY == 0 && !a->endpoint_reached && secure_stamp(a) == DS_STATUS_OK)
            ds_app_hello_once(a);
    }
}
