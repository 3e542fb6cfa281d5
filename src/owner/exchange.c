// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The handshake over a transport that can wait for a reply.
#include "src/owner/internal.h"

enum { SESSIONS = 3 };

// Send and take replies until there is nothing to send.
static enum ds_class talk(ds_companion *c, const ds_companion_transport *t, ds_companion_message m, ds_err *e)
{
    uint8_t reply[DS_COMPANION_REPLY_MAX];
    while (m.len) {
        size_t len = 0;
        enum ds_class rc = t->exchange(t->ctx, m.ptr, m.len, reply, sizeof reply, &len, e);
        if (!rc)
            rc = ds_companion_feed(c, reply, len, &m, e);
        if (rc)
            return rc;
    }
    return DS_OK;
}

enum ds_class ds_companion_verify(ds_companion *c, const ds_companion_transport *t, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    enum ds_class rc = DS_OK;
    for (int i = 0; i < SESSIONS; i++) {
        ds_companion_message m;
        rc = ds_companion_begin(c, &m, &own);
        if (!rc)
            rc = talk(c, t, m, &own);
        if (rc != DS_DEVICE || own.code != DS_COMPANION_LOST_SESSION)
            break;
    }
    if (rc && e)
        *e = own;
    return rc;
}

enum ds_class ds_companion_hand_over(ds_companion *c, const ds_companion_transport *t,
                                     const ds_companion_credentials *credentials, ds_err *e)
{
    ds_companion_message m;
    enum ds_class rc = ds_companion_parcel(c, credentials, &m, e);
    return rc ? rc : talk(c, t, m, e);
}
