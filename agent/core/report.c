// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Report: what the device says of its lock and its stamp, signed with its own key over the station's nonce. Where
// storage cannot be read the request fails, rather than claiming that the device holds nothing.
#include "agent/core/internal.h"

#include <mbedtls/md.h>

#include <string.h>

enum {
    EVIDENCE_MAX = 1024,
    HASH_MAX = 64,
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
    if (s != DS_STATUS_OK)
        return s;
    m->stage = (Devstamp__Stage)stage;
    m->nvs_encrypted = area == DS_AREA_ENCRYPTED;
    m->plain_stamp_erased = a->port->area_is_blank(a->port->ctx, DS_AREA_PLAIN);
    m->serial = e->serial;
    m->certificate_digest = (ProtobufCBinaryData){.data = e->certificate, .len = digest_len};
    m->last_status = a->last_status;
    m->endpoint_reached = a->endpoint_reached;
    return DS_STATUS_OK;
}

static bool hash_report(mbedtls_md_type_t type, const ProtobufCBinaryData *nonce, const ProtobufCBinaryData *evidence,
                        uint8_t ret[HASH_MAX])
{
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(type);
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    bool ok = info != NULL && mbedtls_md_setup(&md, info, 0) == 0 && mbedtls_md_starts(&md) == 0 &&
              mbedtls_md_update(&md, (const uint8_t *)DS_REPORT_TAG, sizeof DS_REPORT_TAG) == 0 &&
              mbedtls_md_update(&md, nonce->data, nonce->len) == 0 &&
              mbedtls_md_update(&md, evidence->data, evidence->len) == 0 && mbedtls_md_finish(&md, ret) == 0;
    mbedtls_md_free(&md);
    return ok;
}

static ds_status sign_with(mbedtls_pk_context *pk, ds_rng *rng, const ProtobufCBinaryData *nonce,
                           Devstamp__ReportReply *p)
{
    bool p384 = ds_key_type(pk) == (int)DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384;
    mbedtls_md_type_t type = p384 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256;
    uint8_t hash[HASH_MAX];
    if (!hash_report(type, nonce, &p->evidence, hash))
        return DS_STATUS(KEY, CRYPTO);
    ds_agent_progress(rng->a);
    uint8_t *signature = rng->a->frame + SIGNATURE_AT;
    size_t len = 0;
    if (DS_PK_SIGN(pk, type, hash, p384 ? 48 : 32, signature, MBEDTLS_PK_SIGNATURE_MAX_SIZE, &len, ds_rng_draw, rng) !=
        0)
        return rng->failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, CRYPTO);
    p->signature = (ProtobufCBinaryData){.data = signature, .len = len};
    return DS_STATUS_OK;
}

static ds_status sign(ds_agent *a, const ProtobufCBinaryData *nonce, Devstamp__ReportReply *p)
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK)
        s = sign_with(&pk, &rng, nonce, p);
    mbedtls_pk_free(&pk);
    return s;
}

static ds_status pack(ds_agent *a, enum ds_area area, Devstamp__ReportReply *p)
{
    claims e;
    memset(&e, 0, sizeof e);
    ds_status s = gather(a, area, &e);
    if (s != DS_STATUS_OK)
        return s;
    if (devstamp__evidence__get_packed_size(&e.message) > EVIDENCE_MAX)
        return DS_STATUS(AGENT, INTERNAL);
    p->evidence.data = a->frame + EVIDENCE_AT;
    p->evidence.len = devstamp__evidence__pack(&e.message, p->evidence.data);
    return DS_STATUS_OK;
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
