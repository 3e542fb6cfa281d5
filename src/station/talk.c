// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Messages to the agent; see job.h.
#include "src/station/job.h"

#include "src/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 4096, HELLO_TRY_MS = 1000 };

enum ds_class ds_job_call(ds_job *j, Devstamp__Request *req, int try_ms, Devstamp__Response **ret, ds_err *e)
{
    return ds_agent_call(j->agent, req, j->deadline_ms, try_ms, ret, e);
}

enum ds_class ds_job_do(ds_job *j, Devstamp__Request *req, int try_ms, ds_err *e)
{
    Devstamp__Response *r = NULL;
    enum ds_class rc = ds_job_call(j, req, try_ms, &r, e);
    if (r)
        devstamp__response__free_unpacked(r, NULL);
    return rc;
}

static void copy_text(char *dst, size_t cap, const char *src)
{
    size_t n = 0;
    for (; src && src[n] && n + 1 < cap; n++)
        dst[n] = src[n] >= 0x20 && src[n] < 0x7f ? src[n] : '?';
    dst[n] = '\0';
}

static bool copy_digest(uint8_t dst[32], const ProtobufCBinaryData *src)
{
    if (src->len != 32)
        return false;
    memcpy(dst, src->data, 32);
    return true;
}

bool ds_job_is_device(const ds_job *j, const ds_chip *chip, const uint8_t mac[6])
{
    return chip->id == j->device.chip_id && memcmp(mac, j->device.mac, 6) == 0;
}

static enum ds_class take_hello(ds_job *j, const Devstamp__HelloReply *m, ds_err *e)
{
    if (m->protocol != 1)
        return ds_hint((ds_fail(e, DS_DEVICE, "the agent speaks protocol %u, this utility speaks 1", m->protocol), e),
                       "use mfg firmware and devstamp of the same release");
    if (m->mac.len != 6)
        return ds_fail(e, DS_DEVICE, "the agent's hello has no MAC");
    ds_hello h = {.chip = m->chip_id <= UINT16_MAX ? ds_platform_by_id((uint16_t)m->chip_id) : NULL,
                  .revision = (uint16_t)m->chip_revision,
                  .is_app = m->firmware == DEVSTAMP__FIRMWARE_KIND__FIRMWARE_APP,
                  .stage = (int)m->stage,
                  .self_test = m->self_test,
                  .key_type = (int)m->key_type,
                  .imports_keys = m->imports_keys,
                  .key_imported = m->key_imported};
    if (!h.chip)
        return ds_fail(e, DS_DEVICE, "the agent runs on a chip (id %u) that is not known", m->chip_id);
    memcpy(h.mac, m->mac.data, 6);
    copy_text(h.project, sizeof h.project, m->project);
    copy_text(h.version, sizeof h.version, m->version);
    copy_text(h.app_version, sizeof h.app_version, m->app_version);
    copy_text(h.serial, sizeof h.serial, m->serial);
    copy_text(h.boot_partition, sizeof h.boot_partition, m->boot_partition);
    if (j->device.id && !ds_job_is_device(j, h.chip, h.mac))
        return ds_hint((ds_fail(e, DS_POLICY, "another device is on the slot now"), e),
                       "put the first one back and run again, or set both aside");
    h.has_key = copy_digest(h.key_digest, &m->public_key_digest);
    h.has_certificate = copy_digest(h.certificate_digest, &m->certificate_digest);
    j->hello = h;
    j->has_hello = true;
    return DS_OK;
}

enum ds_class ds_job_hello(ds_job *j, int64_t ms, ds_err *e)
{
    int64_t until = ds_now_ms() + ms;
    if (until > j->deadline_ms)
        until = j->deadline_ms;
    Devstamp__Hello hello = DEVSTAMP__HELLO__INIT;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    req.hello = &hello;
    Devstamp__Response *r = NULL;
    // Sent again no sooner than a slow device answers: what it is asked twice it answers twice, and falls behind.
    if (ds_agent_call(j->agent, &req, until, ms < HELLO_TRY_MS ? (int)ms : HELLO_TRY_MS, &r, e))
        return e->cls;
    enum ds_class rc = r->body_case == DEVSTAMP__RESPONSE__BODY_HELLO
                           ? take_hello(j, r->hello, e)
                           : ds_fail(e, DS_DEVICE, "the agent answered hello with something else");
    devstamp__response__free_unpacked(r, NULL);
    return rc;
}

static enum ds_class begin_image(ds_job *j, int target, ds_view data, const uint8_t sha256[32], bool *ret_same,
                                 ds_err *e)
{
    uint8_t digest[32];
    memcpy(digest, sha256, sizeof digest);
    Devstamp__ImageBegin begin = DEVSTAMP__IMAGE_BEGIN__INIT;
    begin.target = (Devstamp__ImageTarget)target;
    begin.size = (uint32_t)data.len;
    begin.sha256 = (ProtobufCBinaryData){sizeof digest, digest};
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_BEGIN;
    req.image_begin = &begin;
    Devstamp__Response *r = NULL;
    if (ds_job_call(j, &req, 5000, &r, e))
        return e->cls;
    *ret_same = r->body_case == DEVSTAMP__RESPONSE__BODY_IMAGE && r->image->same;
    devstamp__response__free_unpacked(r, NULL);
    return DS_OK;
}

static enum ds_class send_chunk(ds_job *j, ds_view data, size_t at, ds_err *e)
{
    uint8_t chunk[CHUNK];
    size_t len = data.len - at < CHUNK ? data.len - at : CHUNK;
    memcpy(chunk, data.ptr + at, len);
    Devstamp__ImageData part = DEVSTAMP__IMAGE_DATA__INIT;
    part.offset = (uint32_t)at;
    part.data = (ProtobufCBinaryData){len, chunk};
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_DATA;
    req.image_data = &part;
    return ds_job_do(j, &req, 2000, e);
}

enum ds_class ds_job_send_image(ds_job *j, int target, ds_view data, const uint8_t sha256[32], ds_err *e)
{
    bool same = false;
    if (begin_image(j, target, data, sha256, &same, e))
        return e->cls;
    if (same)
        return DS_OK;
    for (size_t at = 0; at < data.len; at += CHUNK)
        if (send_chunk(j, data, at, e))
            return ds_wrap(e, "chunk at 0x%zx", at);
    Devstamp__ImageEnd end = DEVSTAMP__IMAGE_END__INIT;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_END;
    req.image_end = &end;
    return ds_job_do(j, &req, 5000, e);
}
