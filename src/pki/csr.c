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

static bool usage_is_granted(X509_EXTENSION *ext)
{
    ASN1_BIT_STRING *bits = X509V3_EXT_d2i(ext);
    bool good = bits && bits->length == 1 && bits->data[0] == KU_DIGITAL_SIGNATURE;
    ASN1_BIT_STRING_free(bits);
    return good;
}

static bool extended_usage_is_granted(X509_EXTENSION *ext)
{
    EXTENDED_KEY_USAGE *uses = X509V3_EXT_d2i(ext);
    bool good = uses && sk_ASN1_OBJECT_num(uses) == 1 && OBJ_obj2nid(sk_ASN1_OBJECT_value(uses, 0)) == NID_client_auth;
    sk_ASN1_OBJECT_pop_free(uses, ASN1_OBJECT_free);
    return good;
}

static bool constraints_are_granted(X509_EXTENSION *ext)
{
    BASIC_CONSTRAINTS *bc = X509V3_EXT_d2i(ext);
    bool good = bc && !bc->ca && !bc->pathlen;
    BASIC_CONSTRAINTS_free(bc);
    return good;
}

static bool name_is_granted(X509_EXTENSION *ext, const char *uri)
{
    GENERAL_NAMES *names = X509V3_EXT_d2i(ext);
    const GENERAL_NAME *n = names && sk_GENERAL_NAME_num(names) == 1 ? sk_GENERAL_NAME_value(names, 0) : NULL;
    bool good = n && n->type == GEN_URI && (size_t)ASN1_STRING_length(n->d.uniformResourceIdentifier) == strlen(uri) &&
                memcmp(ASN1_STRING_get0_data(n->d.uniformResourceIdentifier), uri, strlen(uri)) == 0;
    GENERAL_NAMES_free(names);
    return good;
}

static bool is_granted(X509_EXTENSION *ext, const char *uri)
{
    switch (OBJ_obj2nid(X509_EXTENSION_get_object(ext))) {
    case NID_key_usage:
        return usage_is_granted(ext);
    case NID_ext_key_usage:
        return extended_usage_is_granted(ext);
    case NID_basic_constraints:
        return constraints_are_granted(ext);
    case NID_subject_alt_name:
        return name_is_granted(ext, uri);
    default:
        return false;
    }
}

enum ds_class ds_request_check_wishes(const STACK_OF(X509_EXTENSION) * wanted, const char *uri, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (int i = 0; !rc && i < sk_X509_EXTENSION_num(wanted); i++) { // -1 where there are none
        X509_EXTENSION *ext = sk_X509_EXTENSION_value(wanted, i);
        char name[80] = "";
        (void)OBJ_obj2txt(name, sizeof name, X509_EXTENSION_get_object(ext), 0);
        if (!is_granted(ext, uri))
            rc = ds_hint((ds_fail(e, DS_POLICY, "the request asks for %s, which its recipe does not name", name), e),
                         "let the device ask for no extensions: the recipe decides them");
    }
    ERR_clear_error();
    return rc;
}

static enum ds_class open_request(ds_view der, bool of_ca, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *req = NULL;
    ds_csr_info info = {0};
    enum ds_key_type type = DS_KEY_NONE;
    if (decode(der, &req, e) || ds_public_key_check(X509_REQ_get_X509_PUBKEY(req), &type, info.public_key_digest, e))
        return DS_INPUT;
    if (type == DS_KEY_RSA_4096 && !of_ca)
        return ds_fail(e, DS_INPUT, "RSA-4096 is not a key type of devices");
    info.key_type = (int)type;
    if (check_signature(req, ds_key_kind_of(type)->curve == NULL, e) || (!of_ca && check_extensions(req, e)) ||
        ds_dn_text(X509_REQ_get_subject_name(req), info.subject, sizeof info.subject, e))
        return DS_INPUT;
    *ret = info;
    if (ret_req) {
        *ret_req = req;
        req = NULL;
    }
    return DS_OK;
}

enum ds_class ds_request_open(ds_view der, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e)
{
    return open_request(der, false, ret, ret_req, e);
}

enum ds_class ds_request_open_ca(ds_view der, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e)
{
    return open_request(der, true, ret, ret_req, e);
}

enum ds_class ds_csr_check(ds_view der, ds_csr_info *ret, ds_err *e)
{
    return ds_request_open(der, ret, NULL, e);
}

enum ds_class ds_request_make(const X509_NAME *subject, EVP_PKEY *key, ds_buf *ret, ds_err *e)
{
    return ds_request_make_with(subject, key, key, ret, e);
}

enum ds_class ds_request_make_with(const X509_NAME *subject, EVP_PKEY *private_key, EVP_PKEY *public_key, ds_buf *ret,
                                   ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *req = X509_REQ_new();
    uint8_t *der = NULL;
    int len = -1;
    if (req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 && X509_REQ_set_subject_name(req, subject) == 1 &&
        X509_REQ_set_pubkey(req, public_key) == 1 && X509_REQ_sign(req, private_key, ds_key_digest_md(public_key)) > 0)
        len = i2d_X509_REQ(req, &der);
    if (len <= 0)
        return ds_ossl_fail(e, private_key == public_key ? DS_INTERNAL : DS_TOKEN, "make certificate request");
    ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    return DS_OK;
}
