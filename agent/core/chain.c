// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The certificate chain (RFC 5280). Stored as one blob of concatenated DER, own certificate first; only for the key
// this device holds, and only where each certificate is signed by the next. Validity dates need a clock, which a device
// on the line does not have: they are the station's and the endpoint's to check.
#include "agent/core/internal.h"

#include <mbedtls/x509_crt.h>

#include <string.h>

// Length of the DER element at the start of data; 0 where it is not a whole SEQUENCE.
static size_t der_len(const uint8_t *data, size_t len)
{
    if (len < 2 || data[0] != 0x30)
        return 0;
    size_t body = data[1], head = 2;
    if (body >= 0x80) {
        size_t octets = body - 0x80;
        if (octets < 1 || octets > 2 || len < 2 + octets)
            return 0;
        body = octets == 1 ? data[2] : (size_t)data[2] << 8 | data[3];
        head += octets;
    }
    return body <= len - head ? head + body : 0;
}

static ds_status parse(mbedtls_x509_crt *crt, const ProtobufCBinaryData *der)
{
    mbedtls_x509_crt_init(crt);
    if (der->len == 0 || der_len(der->data, der->len) != der->len)
        return DS_STATUS(CHAIN, BAD_REQUEST);
    if (mbedtls_x509_crt_parse_der(crt, der->data, der->len) != 0)
        return DS_STATUS(CHAIN, BAD_REQUEST);
    return DS_STATUS_OK;
}

static ds_status compare_keys(ds_agent *a, mbedtls_pk_context *pk, mbedtls_x509_crt *own)
{
    uint8_t *work = ds_agent_work(a);
    size_t device_len = 0, cert_len = 0;
    const uint8_t *device = ds_key_public(pk, work, &device_len);
    const uint8_t *cert = ds_key_public(&own->pk, work + DS_AGENT_SPKI_MAX, &cert_len);
    if (device == NULL)
        return DS_STATUS(CHAIN, CRYPTO);
    if (cert == NULL || device_len != cert_len || memcmp(device, cert, cert_len) != 0)
        return DS_STATUS(CHAIN, MISMATCH);
    return DS_STATUS_OK;
}

// The certificate must carry the device's own public key; a key that cannot be looked at shows it by signing.
static ds_status check_key(ds_agent *a, mbedtls_x509_crt *own, bool in_dsig)
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    ds_status s = in_dsig ? ds_dsig_load(a, &pk) : ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK && mbedtls_pk_get_type(&pk) == MBEDTLS_PK_RSA_ALT)
        s = ds_dsig_prove(a, &rng, &pk, &own->pk);
    else if (s == DS_STATUS_OK)
        s = compare_keys(a, &pk, own);
    mbedtls_pk_free(&pk);
    return s;
}

static ds_status check_signed_by(mbedtls_x509_crt *crt, mbedtls_x509_crt *issuer)
{
    uint32_t flags = 0;
    int r = mbedtls_x509_crt_verify(crt, issuer, NULL, NULL, &flags, NULL, NULL);
    if (r == 0)
        return DS_STATUS_OK;
    flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
    return r == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED && flags == 0 ? DS_STATUS_OK : DS_STATUS(CHAIN, BAD_SIGNATURE);
}

// Parses and checks certificate i against its issuer, which is certificate i + 1 where that exists.
static ds_status check_link(ds_agent *a, const Devstamp__WriteChain *q, size_t i)
{
    mbedtls_x509_crt crt, issuer;
    mbedtls_x509_crt_init(&issuer);
    ds_status s = parse(&crt, &q->certificate[i]);
    if (s == DS_STATUS_OK && i == 0)
        s = check_key(a, &crt, false);
    if (s == DS_STATUS_OK && i + 1 < q->n_certificate) {
        s = parse(&issuer, &q->certificate[i + 1]);
        if (s == DS_STATUS_OK)
            s = check_signed_by(&crt, &issuer);
    }
    mbedtls_x509_crt_free(&issuer);
    mbedtls_x509_crt_free(&crt);
    return s;
}

static ds_status check_chain(ds_agent *a, const Devstamp__WriteChain *q, size_t *ret_total)
{
    if (q->n_certificate == 0 || q->n_certificate > DS_AGENT_CERTS_MAX)
        return DS_STATUS(CHAIN, BAD_REQUEST);
    size_t total = 0;
    for (size_t i = 0; i < q->n_certificate; i++) {
        total += q->certificate[i].len;
        if (total > DS_AGENT_CHAIN_MAX)
            return DS_STATUS(CHAIN, NO_SPACE);
    }
    for (size_t i = 0; i < q->n_certificate; i++) {
        ds_agent_progress(a);
        ds_status s = check_link(a, q, i);
        if (s != DS_STATUS_OK)
            return s;
    }
    *ret_total = total;
    return DS_STATUS_OK;
}

// Stores the chain in a->frame unless exactly it is stored. Once stamped, no other chain may come.
static ds_status store_chain(ds_agent *a, size_t len)
{
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_CHAIN, DS_VALUE_BLOB, a->frame, len);
    bool same = false;
    ds_status s = ds_store_same(a, DS_AREA_PLAIN, &v, &same);
    if (s != DS_STATUS_OK || same)
        return s;
    bool done = false;
    s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_DONE, &done);
    if (s == DS_STATUS_OK && done)
        s = DS_STATUS(CHAIN, EXISTS);
    if (s == DS_STATUS_OK)
        s = ds_store_put(a, DS_AREA_PLAIN, &v);
    if (s == DS_STATUS_OK)
        a->port->log(a->port->ctx, "agent: certificate stored");
    return s;
}

static void reply_chain(ds_reply *r)
{
    devstamp__chain_reply__init(&r->body.chain);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_CHAIN;
    r->response.chain = &r->body.chain;
    r->body.chain.digest = (ProtobufCBinaryData){.data = r->digest[0], .len = sizeof r->digest[0]};
}

// The stored device certificate, read to ds_agent_work(); NOT_FOUND where there is none.
static ds_status own_certificate(ds_agent *a, ProtobufCBinaryData *ret)
{
    uint8_t *chain = ds_agent_work(a);
    size_t len = 0;
    ds_status s = ds_store_get(a, DS_VALUE_CHAIN, chain, DS_AGENT_CHAIN_MAX, &len);
    if (s != DS_STATUS_OK)
        return s;
    *ret = (ProtobufCBinaryData){.data = chain, .len = der_len(chain, len)};
    return ret->len > 0 ? DS_STATUS_OK : DS_STATUS(CHAIN, FLASH);
}

ds_status ds_chain_digest(ds_agent *a, uint8_t ret[32], size_t *ret_len)
{
    ProtobufCBinaryData own;
    *ret_len = 0;
    ds_status s = own_certificate(a, &own);
    if (DS_STATUS_IS(s, NOT_FOUND))
        return DS_STATUS_OK;
    if (s != DS_STATUS_OK)
        return s;
    if (!ds_sha256(own.data, own.len, ret))
        return DS_STATUS(CHAIN, CRYPTO);
    *ret_len = 32;
    return DS_STATUS_OK;
}

// crt is initialised here and must be freed by the caller whatever the result.
static ds_status parse_own(ds_agent *a, mbedtls_x509_crt *crt)
{
    ProtobufCBinaryData own;
    mbedtls_x509_crt_init(crt);
    ds_status s = own_certificate(a, &own);
    return s == DS_STATUS_OK ? parse(crt, &own) : s;
}

static ds_status fits(ds_agent *a, bool in_dsig)
{
    mbedtls_x509_crt crt;
    ds_status s = parse_own(a, &crt);
    if (s == DS_STATUS_OK)
        s = check_key(a, &crt, in_dsig);
    mbedtls_x509_crt_free(&crt);
    return s;
}

ds_status ds_chain_fits_key(ds_agent *a)
{
    return fits(a, false);
}

ds_status ds_chain_fits_dsig(ds_agent *a)
{
    return fits(a, true);
}

ds_status ds_chain_public(ds_agent *a, int *ret_type, uint8_t ret_digest[32])
{
    mbedtls_x509_crt crt;
    size_t len = 0;
    ds_status s = parse_own(a, &crt);
    if (s == DS_STATUS_OK) {
        const uint8_t *spki = ds_key_public(&crt.pk, ds_agent_work(a), &len);
        if (spki == NULL || !ds_sha256(spki, len, ret_digest))
            s = DS_STATUS(CHAIN, CRYPTO);
        *ret_type = ds_key_type(&crt.pk);
    }
    mbedtls_x509_crt_free(&crt);
    return s;
}

ds_status ds_chain_anchor(ds_agent *a, enum ds_anchor *ret)
{
    uint8_t anchor[32], digest[32];
    size_t len = 0, digest_len = 0;
    if (a->port->anchor_get == NULL)
        return DS_STATUS(CHAIN, UNSUPPORTED);
    ds_status s = a->port->anchor_get(a->port->ctx, anchor, &len);
    bool tampered = DS_STATUS_IS(s, MISMATCH);
    if (s == DS_STATUS_OK && len > 0)
        s = ds_chain_digest(a, digest, &digest_len);
    if (s != DS_STATUS_OK && !tampered)
        return s;
    if (len == 0 && !tampered)
        *ret = DS_ANCHOR_NONE;
    else
        *ret = !tampered && digest_len >= len && memcmp(anchor, digest, len) == 0 ? DS_ANCHOR_SAME : DS_ANCHOR_OTHER;
    return DS_STATUS_OK;
}

ds_status ds_handle_write_chain(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const Devstamp__WriteChain *chain = q->write_chain;
    size_t total = 0;
    ds_status s = check_chain(a, chain, &total);
    if (s != DS_STATUS_OK)
        return s;
    uint8_t *at = a->frame;
    for (size_t i = 0; i < chain->n_certificate; i++) {
        memcpy(at, chain->certificate[i].data, chain->certificate[i].len);
        at += chain->certificate[i].len;
    }
    s = store_chain(a, total);
    size_t len = 0;
    if (s == DS_STATUS_OK)
        s = ds_chain_digest(a, r->digest[0], &len);
    if (s == DS_STATUS_OK && len == 0)
        s = DS_STATUS(CHAIN, FLASH);
    reply_chain(r);
    return s;
}

ds_status ds_handle_read_chain(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)q;
    size_t len = 0, count = 0;
    ds_status s = ds_store_get(a, DS_VALUE_CHAIN, a->frame, DS_AGENT_CHAIN_MAX, &len);
    if (s != DS_STATUS_OK)
        return s;
    for (size_t at = 0; at < len; count++) {
        size_t one = der_len(a->frame + at, len - at);
        if (one == 0 || count == DS_AGENT_CERTS_MAX)
            return DS_STATUS(CHAIN, FLASH);
        r->list[count] = (ProtobufCBinaryData){.data = a->frame + at, .len = one};
        at += one;
    }
    if (count == 0)
        return DS_STATUS(CHAIN, FLASH);
    if (!ds_sha256(r->list[0].data, r->list[0].len, r->digest[0]))
        return DS_STATUS(CHAIN, CRYPTO);
    reply_chain(r);
    r->body.chain.certificate = r->list;
    r->body.chain.n_certificate = count;
    return DS_STATUS_OK;
}
