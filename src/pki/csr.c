// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests; see csr.h and request.h. A request is only ever a proof of possession and a subject to compare:
// extensions it asks for are not copied anywhere, and one that asks to be a CA is refused outright.
#include "src/pki/csr.h"
#include "src/pki/dn.h"
#include "src/pki/keytype.h"
#include "src/pki/request.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { CSR_MAX = 8192 };

static enum ds_class decode(ds_view der, X509_REQ **ret, ds_err *e)
{
    if (der.len == 0 || der.len > CSR_MAX)
        return ds_fail(e, DS_INPUT, "%zu bytes are no certificate request (1..%d)", der.len, CSR_MAX);
    const unsigned char *p = der.ptr;
    X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.len);
    if (!req)
        return ds_ossl_fail(e, DS_INPUT, "not a certificate request");
    *ret = req;
    if (p != der.ptr + der.len)
        return ds_fail(e, DS_INPUT, "%zu bytes follow the certificate request", (size_t)(der.ptr + der.len - p));
    if (X509_REQ_get_version(req) != X509_REQ_VERSION_1)
        return ds_fail(e, DS_INPUT, "certificate request of unknown version");
    return DS_OK;
}

// The algorithm must suit the key and use SHA-2. For ECDSA, parameters may be absent (RFC 5758) or NULL (as
// mbedTLS 2.28 writes them).
static enum ds_class check_algorithm(const X509_REQ *req, bool rsa, ds_err *e)
{
    const X509_ALGOR *alg = NULL;
    X509_REQ_get0_signature(req, NULL, &alg);
    const ASN1_OBJECT *oid = NULL;
    int param = 0;
    X509_ALGOR_get0(&oid, &param, NULL, alg);
    int nid = OBJ_obj2nid(oid);
    bool known = rsa ? nid == NID_sha256WithRSAEncryption || nid == NID_sha384WithRSAEncryption ||
                           nid == NID_sha512WithRSAEncryption
                     : nid == NID_ecdsa_with_SHA256 || nid == NID_ecdsa_with_SHA384 || nid == NID_ecdsa_with_SHA512;
    if (!known)
        return ds_fail(e, DS_INPUT, "the request is signed with %s, not with SHA-2 by its own key",
                       nid == NID_undef ? "an unknown algorithm" : OBJ_nid2ln(nid));
    if (param != V_ASN1_UNDEF && param != V_ASN1_NULL)
        return ds_fail(e, DS_INPUT, "the request's signature algorithm has strange parameters");
    return DS_OK;
}

static enum ds_class check_signature(X509_REQ *req, bool rsa, ds_err *e)
{
    if (check_algorithm(req, rsa, e))
        return DS_INPUT;
    if (X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1) {
        ERR_clear_error();
        return ds_hint((ds_fail(e, DS_INPUT, "the request's signature is not by its own key"), e),
                       "the device does not hold the key it shows, or the request was changed on its way");
    }
    return DS_OK;
}

static enum ds_class check_extensions(X509_REQ *req, ds_err *e)
{
    STACK_OF(X509_EXTENSION) *wanted = X509_REQ_get_extensions(req);
    int critical = 0;
    BASIC_CONSTRAINTS *bc = wanted ? X509V3_get_d2i(wanted, NID_basic_constraints, &critical, NULL) : NULL;
    bool ca = bc && bc->ca;
    BASIC_CONSTRAINTS_free(bc);
    sk_X509_EXTENSION_pop_free(wanted, X509_EXTENSION_free);
    ERR_clear_error();
    return ca ? ds_fail(e, DS_INPUT, "the request asks to be a certificate authority") : DS_OK;
}

enum ds_class ds_request_open(ds_view der, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *req = NULL;
    ds_csr_info info = {0};
    enum ds_key_type type = DS_KEY_NONE;
    if (decode(der, &req, e) || ds_public_key_check(X509_REQ_get_X509_PUBKEY(req), &type, info.public_key_digest, e))
        return DS_INPUT;
    if (type == DS_KEY_RSA_4096)
        return ds_fail(e, DS_INPUT, "RSA-4096 is not a key type of devices");
    info.key_type = (int)type;
    if (check_signature(req, ds_key_kind_of(type)->curve == NULL, e) || check_extensions(req, e) ||
        ds_dn_text(X509_REQ_get_subject_name(req), info.subject, sizeof info.subject, e))
        return DS_INPUT;
    *ret = info;
    if (ret_req) {
        *ret_req = req;
        req = NULL;
    }
    return DS_OK;
}

enum ds_class ds_csr_check(ds_view der, ds_csr_info *ret, ds_err *e)
{
    return ds_request_open(der, ret, NULL, e);
}

enum ds_class ds_request_make(const X509_NAME *subject, EVP_PKEY *key, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *req = X509_REQ_new();
    uint8_t *der = NULL;
    int len = -1;
    if (req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 && X509_REQ_set_subject_name(req, subject) == 1 &&
        X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, ds_key_digest_md(key)) > 0)
        len = i2d_X509_REQ(req, &der);
    if (len <= 0)
        return ds_ossl_fail(e, DS_INTERNAL, "make certificate request");
    ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    return DS_OK;
}
