// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Commands and replies of the ROM loader; see rom_wire.h. Frames carry neither identifier nor checksum back, so that a
// reply is matched by its command alone, after everything older was dropped.
#include "src/link/rom_wire.h"

#include "src/base/clock.h"

#include <errno.h>
#include <string.h>

enum { REQUEST = 0x00, RESPONSE = 0x01, END = 0xC0, HEADER = 8, STATUS_LEN = 4 };

enum verdict { OTHER, MATCH, UNSUPPORTED };

static void note_seen(ds_rom_seen *s, const uint8_t *p, size_t len)
{
    s->bytes += len;
    for (size_t i = 0; i < len; i++) {
        if ((p[i] < ' ' || p[i] > '~') && p[i] != '\n')
            continue;
        s->printable++;
        if (s->tail_len == sizeof s->tail - 1) {
            memmove(s->tail, s->tail + 32, sizeof s->tail - 1 - 32);
            s->tail_len -= 32;
        }
        s->tail[s->tail_len++] = (char)p[i];
    }
    s->tail[s->tail_len] = '\0';
}

static enum ds_class fill(ds_rom *r, int timeout_ms, ds_err *e)
{
    r->rx_pos = r->rx_len = 0;
    enum ds_class cls = r->t->read(r->t, r->rx, sizeof r->rx, timeout_ms, &r->rx_len, e);
    if (!cls)
        note_seen(&r->seen, r->rx, r->rx_len);
    return cls;
}

// Forget everything received: what is buffered here, and on the wire for quiet_ms.
static enum ds_class drain(ds_rom *r, int quiet_ms, ds_err *e)
{
    ds_slip_reset(&r->slip);
    int64_t deadline_ms = ds_now_ms() + quiet_ms;
    for (int i = 0; i < 256; i++) {
        enum ds_class cls = fill(r, ds_ms_left(deadline_ms), e);
        if (cls || r->rx_len == 0)
            return cls;
    }
    r->rx_len = 0;
    return DS_OK; // it floods: whoever waits for an answer will say so
}

// The next frame's payload (borrowed until the next call) or, at the deadline, an empty view. An END both ends a frame
// and may begin the next, so that a stray one in log text costs nothing.
static enum ds_class next_frame(ds_rom *r, int64_t deadline_ms, ds_view *ret, ds_err *e)
{
    *ret = (ds_view){0};
    for (;;) {
        while (r->rx_pos < r->rx_len) {
            enum ds_slip_event event = ds_slip_push(&r->slip, r->rx[r->rx_pos++]);
            if (event != DS_SLIP_FRAME && event != DS_SLIP_BAD)
                continue;
            ds_buf_clear(&r->frame);
            ds_buf_add(&r->frame, r->slip.frame.ptr, r->slip.frame.len);
            ds_slip_reset(&r->slip);
            ds_slip_push(&r->slip, END);
            if (event == DS_SLIP_FRAME) {
                *ret = ds_buf_view(&r->frame);
                return DS_OK;
            }
            r->seen.damaged++;
            if (ds_now_ms() >= deadline_ms)
                return DS_OK;
        }
        int left = ds_ms_left(deadline_ms);
        enum ds_class cls = fill(r, left, e);
        if (cls || (!r->rx_len && !ds_ms_left(deadline_ms)))
            return cls;
        if (!left) { // data without end, and the time is over
            r->rx_len = 0;
            return DS_OK;
        }
    }
}

// Is this frame the reply to c? The data lies behind the header; its last four bytes are the status.
static enum verdict judge(ds_rom *r, const ds_rom_command *c, ds_view f)
{
    if (f.len < HEADER + 2) {
        r->seen.damaged++;
        return OTHER;
    }
    if (f.ptr[0] == REQUEST && f.ptr[1] == c->op)
        r->seen.echo = true;
    if (f.ptr[0] != RESPONSE)
        return OTHER;
    size_t len = f.len - HEADER;
    const uint8_t *data = f.ptr + HEADER;
    if (f.ptr[1] != c->op)
        return data[0] != 0 && data[1] == (DS_ROM_UNSUPPORTED & 0xFF) ? UNSUPPORTED : OTHER;
    if (ds_le16(f.ptr + 2) != len || len > DS_ROM_REPLY_MAX) {
        r->seen.damaged++;
        return OTHER;
    }
    return MATCH;
}

bool ds_rom_not_taken(uint32_t code)
{
    return code == (DS_ROM_STATUS | 0x04) || code == DS_ROM_UNSUPPORTED || code == (DS_ROM_STATUS | 0x07);
}

static enum ds_class answered_error(const ds_rom_command *c, uint8_t code, ds_err *e)
{
    ds_fail(e, DS_DEVICE, "%s: the loader answers error 0x%02x (%s)", c->what, code, ds_rom_error_text(code));
    if (e)
        e->code = DS_ROM_STATUS | code;
    if (ds_rom_not_taken(DS_ROM_STATUS | code))
        ds_hint(e, "the line may damage what is sent: check cable and ground, or lower the baud rate");
    return DS_DEVICE;
}

static enum ds_class take_reply(ds_rom *r, const ds_rom_command *c, ds_view f, ds_rom_reply *ret, ds_err *e)
{
    const uint8_t *data = f.ptr + HEADER;
    size_t len = f.len - HEADER;
    if (len < STATUS_LEN) {
        ds_fail(e, DS_DEVICE, "%s: answered with %zu status bytes, which is not a ROM", c->what, len);
        return ds_hint(e, "a flasher stub may be running: reset the device into download mode");
    }
    const uint8_t *status = data + len - STATUS_LEN;
    len -= STATUS_LEN;
    if (status[0] != 0)
        return answered_error(c, status[1], e);
    if (len != c->reply_len && !(c->reply_short && len == c->reply_short)) {
        r->seen.damaged++;
        return ds_fail(e, DS_DEVICE, "%s: the reply has %zu bytes instead of %zu", c->what, len, c->reply_len);
    }
    if (ret) {
        ret->value = ds_le32(f.ptr + 4);
        ret->len = len;
        memcpy(ret->data, data, len);
    }
    return DS_OK;
}

static enum ds_class send_request(ds_rom *r, const ds_rom_command *c, ds_err *e)
{
    size_t size = c->head.len + c->payload.len;
    ds_buf_clear(&r->request);
    ds_buf_add(&r->request, (const uint8_t[]){REQUEST, (uint8_t)c->op}, 2);
    ds_buf_add_le16(&r->request, (uint16_t)size);
    ds_buf_add_le32(&r->request, c->checksum);
    ds_buf_add(&r->request, c->head.ptr, c->head.len);
    ds_buf_add(&r->request, c->payload.ptr, c->payload.len);
    ds_buf_clear(&r->frame);
    ds_slip_encode(&r->frame, ds_buf_view(&r->request));
    return r->t->write(r->t, ds_buf_view(&r->frame), e);
}

// A loader answers a SYNC, and what it does not know, eight times: drop the other seven, which follow at once.
static enum ds_class swallow_repeats(ds_rom *r, int within_ms, ds_err *e)
{
    int64_t deadline_ms = ds_now_ms() + within_ms;
    for (int i = 0; i < 7; i++) {
        ds_view f;
        enum ds_class cls = next_frame(r, deadline_ms, &f, e);
        if (cls)
            return cls;
        if (!f.len && !ds_ms_left(deadline_ms))
            break;
    }
    return drain(r, 0, e);
}

// One try. *ret_answered = false: nothing came until the deadline.
static enum ds_class try_once(ds_rom *r, const ds_rom_command *c, int64_t deadline_ms, ds_rom_reply *ret,
                              bool *ret_answered, ds_err *e)
{
    *ret_answered = false;
    bool reads = c->op == DS_ROM_READ_REG || c->op == DS_ROM_READ_FLASH_SLOW;
    enum ds_class cls = drain(r, reads ? r->careful_ms : 0, e);
    r->seen = (ds_rom_seen){0};
    if (!cls)
        cls = send_request(r, c, e);
    while (!cls) {
        ds_view f;
        cls = next_frame(r, deadline_ms, &f, e);
        if (cls || (!f.len && ds_now_ms() >= deadline_ms))
            return cls;
        switch (f.len ? judge(r, c, f) : OTHER) {
        case MATCH:
            *ret_answered = true;
            return take_reply(r, c, f, ret, e);
        case UNSUPPORTED:
            *ret_answered = true;
            cls = swallow_repeats(r, 200, e);
            return cls ? cls : answered_error(c, DS_ROM_UNSUPPORTED & 0xFF, e);
        default:
            if (ds_now_ms() >= deadline_ms)
                return DS_OK;
        }
    }
    return cls;
}

static int64_t deadline_of(const ds_rom *r, int timeout_ms)
{
    int64_t deadline_ms = ds_now_ms() + timeout_ms;
    return r->open_deadline_ms && r->open_deadline_ms < deadline_ms ? r->open_deadline_ms : deadline_ms;
}

enum ds_class ds_rom_run(ds_rom *r, const ds_rom_command *c, ds_rom_reply *ret, ds_err *e)
{
    int timeout_ms = c->timeout_ms ? c->timeout_ms : DS_ROM_TIMEOUT_MS;
    int64_t start_ms = ds_now_ms();
    ds_err local;
    bool answered = false;
    for (unsigned i = 0; i < DS_ROM_TRIES; i++) {
        local = DS_ERR_INIT;
        enum ds_class cls = try_once(r, c, deadline_of(r, timeout_ms), ret, &answered, &local);
        if (!cls && answered && i > 0)
            cls = drain(r, 50, &local); // the answer to the earlier try may be late, not lost
        if (!cls && answered)
            return DS_OK;
        if (cls ? !ds_rom_not_taken(local.code) : c->no_resend)
            break;
        if (r->open_deadline_ms && !ds_ms_left(r->open_deadline_ms))
            break;
    }
    if (local.cls == DS_OK)
        return ds_rom_no_answer(&r->seen, c->what, (int)(ds_now_ms() - start_ms), e);
    if (e)
        *e = local;
    return local.cls;
}

enum ds_class ds_rom_sync_once(ds_rom *r, int timeout_ms, bool *ret_in_sync, ds_err *e)
{
    uint8_t data[36] = {0x07, 0x07, 0x12, 0x20};
    memset(data + 4, 0x55, sizeof data - 4);
    const ds_rom_command c = {.op = DS_ROM_SYNC, .what = "sync", .head = {data, sizeof data}};
    ds_err local = DS_ERR_INIT;
    enum ds_class cls = try_once(r, &c, deadline_of(r, timeout_ms), NULL, ret_in_sync, &local);
    if (cls && ds_rom_not_taken(local.code)) { // it heard something else
        cls = DS_OK;
        *ret_in_sync = false;
    }
    if (cls && e)
        *e = local;
    if (cls || !*ret_in_sync)
        return cls;
    return swallow_repeats(r, 100, e);
}

enum ds_class ds_rom_resync(ds_rom *r, ds_err *e)
{
    int64_t deadline_ms = ds_now_ms() + DS_ROM_TIMEOUT_MS;
    while (ds_ms_left(deadline_ms)) {
        bool in_sync;
        enum ds_class cls = ds_rom_sync_once(r, 100, &in_sync, e);
        if (cls || in_sync)
            return cls;
    }
    return ds_rom_no_answer(&r->seen, "sync", DS_ROM_TIMEOUT_MS, e);
}
