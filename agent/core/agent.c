// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Requests in, answers out: console bytes become frames, frames become messages decoded into a fixed arena, and a table
// says which handler answers and in which firmware it may.
#include "agent/core/arena.h"
#include "agent/core/frame.h"
#include "agent/core/internal.h"

#include <string.h>

enum { IN_MFG = 1 << DS_AGENT_MFG, IN_APP = 1 << DS_AGENT_APP, IN_BOTH = IN_MFG | IN_APP, POLL_MS = 1000 };

static ds_status select_boot(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)r;
    const char *label = q->select_boot->partition;
    size_t len = strlen(label);
    if (len < 1 || len > 16)
        return DS_STATUS(IMAGE, BAD_REQUEST);
    return a->port->boot_select(a->port->ctx, label);
}

static ds_status reboot(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)a, (void)q;
    r->reboot = true;
    return DS_STATUS_OK;
}

// The message moves out of the decoded request, so that all of that memory can take the reply.
static ds_status owner(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    ProtobufCBinaryData in = q->owner->message;
    if (a->owner == NULL)
        return DS_STATUS(AGENT, NOT_ALLOWED);
    if (in.len == 0 || in.len > DS_AGENT_OWNER_MAX)
        return DS_STATUS(AGENT, BAD_REQUEST);
    uint8_t *message = a->frame + DS_AGENT_WORK - DS_AGENT_OWNER_MAX;
    memcpy(message, in.data, in.len);
    devstamp__owner_reply__init(&r->body.owner);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_OWNER;
    r->response.owner = &r->body.owner;
    r->body.owner.message.data = a->scratch;
    r->body.owner.message.len = a->owner(a->owner_arg, message, in.len, a->scratch, DS_AGENT_WORK);
    return r->body.owner.message.len > 0 ? DS_STATUS_OK : DS_STATUS(AGENT, INTERNAL);
}

typedef struct entry {
    Devstamp__Request__BodyCase request;
    ds_handler handler;
    int roles;
} entry;

static const entry table[] = {
    {DEVSTAMP__REQUEST__BODY_HELLO, ds_handle_hello, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_MAKE_KEY, ds_handle_make_key, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_OPEN_IMPORT, ds_handle_open_import, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_IMPORT_KEY, ds_handle_import_key, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_MAKE_CSR, ds_handle_make_csr, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_WRITE_CHAIN, ds_handle_write_chain, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_READ_CHAIN, ds_handle_read_chain, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_WRITE_VALUE, ds_handle_write_value, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_FINISH_STAMP, ds_handle_finish_stamp, IN_MFG},
    {DEVSTAMP__REQUEST__BODY_IMAGE_BEGIN, ds_handle_image_begin, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_IMAGE_DATA, ds_handle_image_data, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_IMAGE_END, ds_handle_image_end, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_SELECT_BOOT, select_boot, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_REBOOT, reboot, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_REPORT, ds_handle_report, IN_BOTH},
    {DEVSTAMP__REQUEST__BODY_OWNER, owner, IN_APP},
};

static ds_status dispatch(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].request != q->body_case)
            continue;
        if ((table[i].roles & 1 << a->role) == 0)
            return DS_STATUS(AGENT, NOT_ALLOWED);
        return table[i].handler(a, q, r);
    }
    return DS_STATUS(AGENT, BAD_REQUEST);
}

static ds_status decode_and_dispatch(ds_agent *a, size_t len, ds_reply *r)
{
    ds_arena memory;
    ds_arena_init(&memory, a->scratch, DS_AGENT_WORK);
    Devstamp__Request *q = devstamp__request__unpack(&memory.base, len, a->frame + DS_FRAME_HEADER);
    if (q == NULL)
        return DS_STATUS(FRAME, BAD_REQUEST);
    a->repeated = q->id == a->request_id && (int)q->body_case == a->request_case;
    a->request_id = r->response.id = q->id;
    a->request_case = (int)q->body_case;
    a->progress = 0;
    a->answering = true;
    ds_status s = dispatch(a, q, r);
    a->answering = false;
    return s;
}

static void answer(ds_agent *a, size_t len)
{
    ds_reply reply;
    memset(&reply, 0, sizeof reply);
    devstamp__response__init(&reply.response);
    reply.response.status = decode_and_dispatch(a, len, &reply);
    if (reply.response.status != DS_STATUS_OK)
        reply.response.body_case = DEVSTAMP__RESPONSE__BODY__NOT_SET;
    ds_frame_send(a, &reply.response.base);
    mbedtls_platform_zeroize(a->frame, DS_AGENT_WORK);
    mbedtls_platform_zeroize(a->scratch, DS_AGENT_WORK);
    if (reply.reboot)
        a->port->reboot(a->port->ctx);
}

uint8_t *ds_agent_work(ds_agent *a)
{
    return a->answering ? a->frame : a->scratch;
}

void ds_agent_progress(ds_agent *a)
{
    a->port->alive(a->port->ctx);
    if (!a->answering)
        return;
    Devstamp__Progress progress = DEVSTAMP__PROGRESS__INIT;
    progress.step = ++a->progress;
    Devstamp__Response response = DEVSTAMP__RESPONSE__INIT;
    response.id = a->request_id;
    response.body_case = DEVSTAMP__RESPONSE__BODY_PROGRESS;
    response.progress = &progress;
    ds_frame_send(a, &response.base);
}

void ds_agent_init(ds_agent *a, const ds_port *port, int role, uint8_t *frame, uint8_t *scratch)
{
    memset(a, 0, sizeof *a);
    a->port = port;
    a->role = role == DS_AGENT_APP ? DS_AGENT_APP : DS_AGENT_MFG;
    a->frame = frame;
    a->scratch = scratch;
}

bool ds_agent_poll(ds_agent *a, uint32_t timeout_ms)
{
    uint8_t bytes[128];
    int n = a->port->console_read(a->port->ctx, bytes, sizeof bytes, timeout_ms);
    if (n < 0)
        return false;
    for (int i = 0; i < n; i++) {
        size_t len = 0;
        if (ds_frame_push(a, bytes[i], &len))
            answer(a, len);
    }
    return true;
}

void ds_agent_run(ds_agent *a)
{
    do
        a->port->alive(a->port->ctx);
    while (ds_agent_poll(a, POLL_MS));
}
