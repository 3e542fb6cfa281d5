// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Requests to the agent; see agent_client.h. A request that gets no sign of life within a try is sent again under the
// same id, by which the agent knows it as the same one; answers to other ids are old and dropped.
#include "src/link/agent_client.h"

#include "src/base/clock.h"
#include "src/base/secret.h"
#include "src/link/agent_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A frame that pauses this long was cut off.
#define IDLE_MS 250
#define TRY_MIN_MS 20

struct ds_agent_client {
    ds_transport *t;
    ds_agent_wire wire;
    uint32_t id;
    uint8_t rx[4096];
    size_t rx_len, rx_pos;
    int64_t last_rx_ms;
    uint64_t bytes; // received during the present call
    unsigned damaged;
    bool interrupted;
    bool repeat;   // the next call repeats the last one
    int last_kind; // of request
    bool alive;    // Progress came during the present try
};

ds_agent_client *ds_agent_client_new(ds_transport *t, void (*log)(void *arg, const char *line), void *arg)
{
    ds_agent_client *c = ds_alloc(sizeof *c);
    c->t = t;
    ds_agent_wire_init(&c->wire, log, arg);
    ds_random(&c->id, sizeof c->id); // so that no answer to an earlier run fits
    return c;
}

void ds_agent_client_free(ds_agent_client *c)
{
    if (!c)
        return;
    ds_agent_wire_deinit(&c->wire);
    free(c);
}

// The next frame on the console; DS_AGENT_MORE at the deadline, or when the text that is watched for was seen.
static enum ds_class next_event(ds_agent_client *c, int64_t deadline_ms, enum ds_agent_event *ret, ds_view *ret_message,
                                ds_err *e)
{
    *ret = DS_AGENT_MORE;
    for (;;) {
        while (c->rx_pos < c->rx_len) {
            *ret = ds_agent_wire_push(&c->wire, c->rx[c->rx_pos++], ret_message);
            if (*ret != DS_AGENT_MORE || c->wire.seen || c->interrupted)
                return DS_OK;
        }
        int left = ds_ms_left(deadline_ms);
        if (left == 0 || c->wire.seen)
            return DS_OK;
        c->rx_pos = c->rx_len = 0;
        enum ds_class cls = c->t->read(c->t, c->rx, sizeof c->rx, left < IDLE_MS ? left : IDLE_MS, &c->rx_len, e);
        if (cls)
            return cls;
        int64_t now_ms = ds_now_ms();
        if (c->rx_len)
            c->last_rx_ms = now_ms;
        else if (now_ms - c->last_rx_ms >= IDLE_MS)
            ds_agent_wire_idle(&c->wire);
        c->bytes += c->rx_len;
    }
}

// What a successful answer to a request must carry; requests that are not here need nothing but the status.
static Devstamp__Response__BodyCase answer_to(Devstamp__Request__BodyCase request)
{
    static const Devstamp__Response__BodyCase answers[] = {
        [DEVSTAMP__REQUEST__BODY_HELLO] = DEVSTAMP__RESPONSE__BODY_HELLO,
        [DEVSTAMP__REQUEST__BODY_MAKE_KEY] = DEVSTAMP__RESPONSE__BODY_KEY,
        [DEVSTAMP__REQUEST__BODY_MAKE_CSR] = DEVSTAMP__RESPONSE__BODY_CSR,
        [DEVSTAMP__REQUEST__BODY_WRITE_CHAIN] = DEVSTAMP__RESPONSE__BODY_CHAIN,
        [DEVSTAMP__REQUEST__BODY_READ_CHAIN] = DEVSTAMP__RESPONSE__BODY_CHAIN,
        [DEVSTAMP__REQUEST__BODY_IMAGE_BEGIN] = DEVSTAMP__RESPONSE__BODY_IMAGE,
        [DEVSTAMP__REQUEST__BODY_IMAGE_DATA] = DEVSTAMP__RESPONSE__BODY_IMAGE,
        [DEVSTAMP__REQUEST__BODY_REPORT] = DEVSTAMP__RESPONSE__BODY_REPORT,
        [DEVSTAMP__REQUEST__BODY_OPEN_IMPORT] = DEVSTAMP__RESPONSE__BODY_IMPORT_OFFER,
        [DEVSTAMP__REQUEST__BODY_IMPORT_KEY] = DEVSTAMP__RESPONSE__BODY_KEY,
    };
    return (size_t)request < sizeof answers / sizeof *answers ? answers[request] : DEVSTAMP__RESPONSE__BODY__NOT_SET;
}

enum outcome { NOTHING, ALIVE, RESEND, ANSWER };

// What a message means for the request; *ret is set with ANSWER.
static enum outcome judge(ds_agent_client *c, ds_view message, Devstamp__Response **ret)
{
    Devstamp__Response *r = devstamp__response__unpack(NULL, message.len, message.ptr);
    if (!r) {
        c->damaged++;
        return NOTHING;
    }
    enum outcome o = NOTHING;
    if (r->id == c->id)
        o = r->status == 0 && r->body_case == DEVSTAMP__RESPONSE__BODY_PROGRESS ? ALIVE : ANSWER;
    else if (r->id == 0 && r->status >> 24 == DEVSTAMP__STATUS_MODULE__MODULE_FRAME)
        o = RESEND; // what arrived there could not be decoded
    else if (r->id != 0)
        o = ALIVE; // it is at the queue of what it was asked before, and comes to this
    if (o == ANSWER)
        *ret = r;
    else
        devstamp__response__free_unpacked(r, NULL);
    return o;
}

// Wait until try_ms without a sign of life are over. *ret stays NULL where the request should be sent again.
static enum ds_class await(ds_agent_client *c, int64_t deadline_ms, int try_ms, Devstamp__Response **ret, ds_err *e)
{
    int64_t try_end_ms = ds_now_ms() + try_ms;
    for (;;) {
        int64_t until_ms = try_end_ms < deadline_ms ? try_end_ms : deadline_ms;
        enum ds_agent_event event;
        ds_view message;
        enum ds_class cls = next_event(c, until_ms, &event, &message, e);
        if (cls)
            return cls;
        if (event == DS_AGENT_DAMAGED)
            c->damaged++;
        enum outcome o = event == DS_AGENT_MESSAGE ? judge(c, message, ret) : NOTHING;
        if (o == ANSWER || c->interrupted)
            return DS_OK;
        if (o == ALIVE) {
            c->alive = true;
            try_end_ms = ds_now_ms() + try_ms;
        }
        if (ds_ms_left(until_ms) == 0 && o != ALIVE)
            return DS_OK;
        if (o == RESEND) {
            c->alive = true;
            ds_sleep_ms(TRY_MIN_MS); // an agent that understands nothing at all is not asked without pause
            return DS_OK;
        }
    }
}

void ds_agent_client_interrupt(ds_agent_client *c)
{
    c->interrupted = true;
}

void ds_agent_client_repeat(ds_agent_client *c)
{
    c->repeat = true;
}

void ds_agent_client_drop(ds_agent_client *c)
{
    c->rx_len = c->rx_pos = 0;
    ds_agent_wire_idle(&c->wire);
    (void)!c->t->flush_input(c->t, NULL); // a wire that fails shows at the next use
}

static enum ds_class no_answer(const ds_agent_client *c, int64_t waited_ms, unsigned tries, ds_err *e)
{
    if (c->interrupted) {
        ds_fail(e, DS_DEVICE, "the device restarted and did not answer");
        if (e)
            e->code = ECONNRESET;
        return ds_hint(e, "check its supply; a device that lost power midway goes on when the run is repeated");
    }
    if (c->bytes == 0)
        ds_fail(e, DS_DEVICE, "no answer from the agent within %lld ms, %u tries", (long long)waited_ms, tries);
    else
        ds_fail(e, DS_DEVICE,
                "no answer from the agent within %lld ms, %u tries; %llu bytes came that are none, %u damaged frames",
                (long long)waited_ms, tries, (unsigned long long)c->bytes, c->damaged);
    if (e)
        e->code = ETIMEDOUT;
    if (c->bytes == 0)
        return ds_hint(e, "check power and cable, and that the device runs the mfg firmware");
    if (c->damaged)
        return ds_hint(e, "the line is noisy or has another baud rate: check cable, ground and rate");
    return ds_hint(e, "the device prints but runs no agent: look at its log with -v, and flash the mfg firmware");
}

static enum ds_class check_answer(const Devstamp__Request *req, Devstamp__Response *r, Devstamp__Response **ret,
                                  ds_err *e)
{
    if (r->status) {
        char words[96];
        ds_status_text(r->status, words, sizeof words);
        ds_fail(e, DS_DEVICE, "the device answers %s", words);
        if (e)
            e->code = r->status;
        const char *hint = ds_status_hint(r->status);
        if (hint)
            ds_hint(e, "%s", hint);
        devstamp__response__free_unpacked(r, NULL);
        return DS_DEVICE;
    }
    Devstamp__Response__BodyCase want = answer_to(req->body_case);
    if (want != DEVSTAMP__RESPONSE__BODY__NOT_SET && r->body_case != want) {
        ds_fail(e, DS_DEVICE, "the device answers another message (%d) than was asked for (%d)", (int)r->body_case,
                (int)want);
        devstamp__response__free_unpacked(r, NULL);
        return ds_hint(e, "the firmware may be of another version than this devstamp: compare them");
    }
    *ret = r;
    return DS_OK;
}

static enum ds_class encode(const Devstamp__Request *req, ds_buf *frame, ds_err *e)
{
    size_t len = devstamp__request__get_packed_size(req);
    if (len > DS_AGENT_MESSAGE_MAX)
        return ds_fail(e, DS_INPUT, "a request of %zu bytes is longer than the device takes (%u)", len,
                       DS_AGENT_MESSAGE_MAX);
    DS_CLEANUP_BUF ds_buf message = {0};
    ds_buf_resize(&message, len, 0);
    devstamp__request__pack(req, message.ptr);
    ds_agent_wire_encode(frame, ds_buf_view(&message));
    ds_wipe(message.ptr, message.len); // stamp values may be secret
    return DS_OK;
}

enum ds_class ds_agent_call(ds_agent_client *c, Devstamp__Request *req, int64_t deadline_ms, int try_ms,
                            Devstamp__Response **ret, ds_err *e)
{
    if (!c->repeat || c->last_kind != (int)req->body_case)
        c->id++;
    if (c->id == 0)
        c->id = 1; // 0 is an agent's answer to what it could not decode
    c->repeat = false;
    c->last_kind = (int)req->body_case;
    req->id = c->id;
    c->bytes = c->damaged = 0;
    c->interrupted = false;
    DS_CLEANUP_BUF ds_buf frame = {0};
    Devstamp__Response *r = NULL;
    unsigned tries = 0, silent = 0;
    int64_t start_ms = ds_now_ms();
    enum ds_class cls = encode(req, &frame, e);
    while (!cls && !r && !c->interrupted && silent < DS_AGENT_SILENT_TRIES && (tries == 0 || ds_ms_left(deadline_ms))) {
        tries++;
        c->alive = false;
        cls = c->t->write(c->t, ds_buf_view(&frame), e);
        if (!cls)
            cls = await(c, deadline_ms, try_ms < TRY_MIN_MS ? TRY_MIN_MS : try_ms, &r, e);
        silent = c->alive ? 0 : silent + 1;
    }
    if (frame.len)
        ds_wipe(frame.ptr, frame.len);
    if (cls)
        return cls;
    return r ? check_answer(req, r, ret, e) : no_answer(c, ds_now_ms() - start_ms, tries, e);
}

bool ds_agent_wait_text(ds_agent_client *c, const char *needle, int64_t deadline_ms)
{
    c->wire.watch = needle;
    c->wire.seen = false;
    enum ds_agent_event event;
    ds_view message;
    do {
        if (next_event(c, deadline_ms, &event, &message, NULL))
            break;
    } while (!c->wire.seen && ds_ms_left(deadline_ms));
    bool seen = c->wire.seen;
    c->wire.watch = NULL;
    c->wire.seen = false;
    return seen;
}
