// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The certification request: PKCS#10 (RFC 2986), signed with SHA-256, or SHA-384 for P-384. The subject text follows
// RFC 4514 as far as mbedTLS does; what it would silently change (an attribute given twice) is refused.
#include "agent/core/internal.h"

#include <mbedtls/x509_csr.h>

#include <string.h>

enum { SUBJECT_MAX = 512 };

// Counts the attributes of a subject text; 0 where it is not one.
static size_t count_attributes(const char *subject)
{
    size_t count = 0, value = 0;
    bool in_type = true;
    for (const char *c = subject; *c != 0; c++) {
        if ((unsigned char)*c < 0x20 || c - subject >= SUBJECT_MAX)
            return 0;
        if (in_type && *c == '=') {
            in_type = false;
            value = 0;
        } else if (!in_type && *c == ',') {
            if (value == 0)
                return 0;
            count++;
            in_type = true;
        } else if (*c == '\\') {
            if (in_type || c[1] != ',')
                return 0;
            c++;
            value++;
        } else {
            value++;
        }
    }
    return in_type || value == 0 ? 0 : count + 1;
}

// What was written must hold every attribute that was asked for.
static ds_status check_written(const uint8_t *der, size_t len, size_t attributes)
{
    mbedtls_x509_csr csr;
    mbedtls_x509_csr_init(&csr);
    ds_status s = DS_STATUS_OK;
    if (mbedtls_x509_csr_parse_der(&csr, der, len) != 0) {
        s = DS_STATUS(CSR, CRYPTO);
    } else {
        size_t count = 0;
        for (const mbedtls_x509_name *n = &csr.subject; n != NULL; n = n->next)
            count++;
        if (count != attributes)
            s = DS_STATUS(CSR, BAD_REQUEST);
    }
    mbedtls_x509_csr_free(&csr);
    return s;
}

static ds_status write_csr(mbedtls_x509write_csr *csr, ds_agent *a, ds_rng *rng, const char *subject, int *ret_len)
{
    if (mbedtls_x509write_csr_set_subject_name(csr, subject) != 0)
        return DS_STATUS(CSR, BAD_REQUEST);
    ds_agent_progress(a);
    *ret_len = mbedtls_x509write_csr_der(csr, a->frame, DS_AGENT_WORK, ds_rng_draw, rng);
    if (*ret_len <= 0)
        return rng->failed ? DS_STATUS(CSR, RANDOM) : DS_STATUS(CSR, CRYPTO);
    return DS_STATUS_OK;
}

ds_status ds_handle_make_csr(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    size_t attributes = count_attributes(q->make_csr->subject);
    if (attributes == 0)
        return DS_STATUS(CSR, BAD_REQUEST);
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    mbedtls_x509write_csr csr;
    mbedtls_x509write_csr_init(&csr);
    int len = 0;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK) {
        bool p384 = ds_key_type(&pk) == DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384;
        mbedtls_x509write_csr_set_md_alg(&csr, p384 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256);
        mbedtls_x509write_csr_set_key(&csr, &pk);
        s = write_csr(&csr, a, &rng, q->make_csr->subject, &len);
    }
    mbedtls_x509write_csr_free(&csr);
    mbedtls_pk_free(&pk);
    if (s != DS_STATUS_OK)
        return s;
    uint8_t *der = a->frame + DS_AGENT_WORK - len;
    devstamp__csr_reply__init(&r->body.csr);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_CSR;
    r->response.csr = &r->body.csr;
    r->body.csr.csr = (ProtobufCBinaryData){.data = der, .len = (size_t)len};
    return check_written(der, (size_t)len, attributes);
}
