// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Report: what the device says of its lock and its stamp, signed with its own key over the station's nonce. Where
// storage cannot be read the request fails, rather than claiming that the device holds nothing.
#include "agent/core/internal.h"

#include <string.h>

enum {
    EVIDENCE_MAX = 1024,
    // In a->frame, behind where the key is loaded.
    EVIDENCE_AT = DS_AGENT_KEY_MAX,
    SIGNATURE_AT = EVIDENCE_AT + EVIDENCE_MAX,
};

// The evidence and what it points to.
typedef struct claims {
    Devstamp__Evidence message;
    ds_security security;
    ProtobufCBinaryData digests[3];
    uint8_t certificate[32];
    char serial[DS_AGENT_SERIAL_MAX + 1];
} claims;

static void describe_security(ds_agent *a, claims *e)
{
    Devstamp__Evidence *m = &e->message;
    ds_security *sec = &e->security;
    a->port->security(a->port->ctx, sec);
    m->secure_boot = sec->secure_boot;
    m->flash_encryption = sec->flash_encryption;
    m->release_mode = sec->release_mode;
    m->download = (Devstamp__DownloadMode)sec->download;
    m->jtag_disabled = sec->jtag_disabled;
    m->secure_version = sec->secure_version;
    m->key_digest = e->digests;
    for (size_t i = 0; i < sec->digest_count && i < sizeof sec->digests / sizeof sec->digests[0]; i++)
        e->digests[m->n_key_digest++] = (ProtobufCBinaryData){.data = sec->digests[i], .len = sizeof sec->digests[i]};
}

// A private key in the plain area is not protected by anything yet.
static ds_status describe_protection(ds_agent *a, enum ds_area area, Devstamp__Evidence *m)
{
    bool key = false, dsig = false;
    ds_status s = ds_store_has(a, DS_VALUE_KEY, &key);
    if (s == DS_STATUS_OK)
        s = ds_store_has(a, DS_VALUE_DSIG, &dsig);
    if (s != DS_STATUS_OK || area != DS_AREA_ENCRYPTED)
        return s;
    if (dsig && !key)
        m->key_protection = DEVSTAMP__KEY_PROTECTION__KEY_IN_DS;
    if (ds_protect_nvs_by_hmac(a))
        m->nvs_keys = DEVSTAMP__NVS_KEYS__NVS_KEYS_HMAC;
    return DS_STATUS_OK;
}

static ds_status gather(ds_agent *a, enum ds_area area, claims *e)
{
    Devstamp__Evidence *m = &e->message;
    devstamp__evidence__init(m);
    describe_security(a, e);
    int stage = 0;
    size_t digest_len = 0;
    ds_status s = ds_store_stage(a, &stage);
    if (s == DS_STATUS_OK)
        s = ds_chain_digest(a, e->certificate, &digest_len);
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "serial", e->serial, sizeof e->serial);
    if (s == DS_STATUS_OK)
        s = describe_protection(a, area, m);
    bool imported = false;
    if (s == DS_STATUS_OK)
        s = ds_store_mark(a, area, DS_VALUE_IMPORTED, &imported);
    if (s != DS_STATUS_OK)
        return s;
    m->key_imported = imported;
    m->stage = (Devstamp__Stage)stage;
    m->nvs_encrypted = area == DS_AREA_ENCRYPTED;
    m->plain_stamp_erased = a->port->area_is_blank(a->port->ctx, DS_AREA_PLAIN);
    m->serial = e->serial;
    m->certificate_digest = (ProtobufCBinaryData){.data = e->certificate, .len = digest_len};
    m->last_status = a->last_status;
    m->endpoint_reached = a->endpoint_reached;
    return DS_STATUS_OK;
}

static ds_status sign(ds_agent *a, const ProtobufCBinaryData *nonce, Devstamp__ReportReply *p)
{
    const ProtobufCBinaryData parts[] = {*nonce, p->evidence};
    p->signature.data = a->frame + SIGNATURE_AT;
    return ds_key_sign(a, DS_REPORT_TAG, parts, 2, &p->signature);
}

// protobuf-c's way out for packed bytes, into the frame. The agent packs in this way only: a second one, to memory,
// costs a device 1.5 KiB of flash.
typedef struct evidence_buffer {
    ProtobufCBuffer base;
    ProtobufCBinaryData *out;
    bool full;
} evidence_buffer;

static void append_evidence(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    evidence_buffer *b = (evidence_buffer *)buffer; // base is its first member
    if (len > EVIDENCE_MAX - b->out->len)
        b->full = true;
    if (b->full || len == 0)
        return;
    memcpy(b->out->data + b->out->len, data, len);
    b->out->len += len;
}

static ds_status pack(ds_agent *a, enum ds_area area, Devstamp__ReportReply *p)
{
    claims e;
    memset(&e, 0, sizeof e);
    ds_status s = gather(a, area, &e);
    if (s != DS_STATUS_OK)
        return s;
    p->evidence = (ProtobufCBinaryData){.data = a->frame + EVIDENCE_AT};
    evidence_buffer buffer = {.base = {.append = append_evidence}, .out = &p->evidence};
    protobuf_c_message_pack_to_buffer(&e.message.base, &buffer.base);
    return buffer.full ? DS_STATUS(AGENT, INTERNAL) : DS_STATUS_OK;
}

ds_status ds_handle_report(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    Devstamp__ReportReply *p = &r->body.report;
    devstamp__report_reply__init(p);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_REPORT;
    r->response.report = p;
    if (q->report->nonce.len != DS_REPORT_NONCE)
        return DS_STATUS(AGENT, BAD_REQUEST);
    enum ds_area area;
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK)
        s = pack(a, area, p);
    // A key in the plain area may be anybody's: it vouches for nothing.
    if (s == DS_STATUS_OK && area == DS_AREA_ENCRYPTED)
        s = sign(a, &q->report->nonce, p);
    return s;
}
