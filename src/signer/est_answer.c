// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// An EST server's answers; see est_answer.h.
#include "src/signer/est_answer.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"
#include "src/pki/csr.h"
#include "src/pki/dn.h"
#include "src/pki/lint.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { CERTIFICATES_MAX = 16, DAY = 86400, AHEAD_S = 300 }; // AHEAD_S: how far the server's clock may be ahead of ours
enum { DEVICE_HOLDS = 4096 };                               // DS_AGENT_CHAIN_MAX of agent/core/agent.h

struct ds_est_trust {
    X509_STORE *anchors;
    STACK_OF(X509) * between; // what the server showed: to build chains with, believed in nothing
};

bool ds_est_decode(ds_view text, ds_buf *ret)
{
    DS_CLEANUP_BUF ds_buf packed = {0};
    for (size_t i = 0; i < text.len; i++)
        if (!isspace(text.ptr[i]))
            ds_buf_add_u8(&packed, text.ptr[i]);
    size_t padding = 0;
    while (padding < 2 && padding < packed.len && packed.ptr[packed.len - 1 - padding] == '=')
        padding++;
    if (packed.len == 0 || packed.len % 4)
        return false;
    ds_buf_clear(ret);
    ds_buf_resize(ret, packed.len / 4 * 3, 0);
    int len = EVP_DecodeBlock(ret->ptr, packed.ptr, (int)packed.len);
    if (len < 0)
        return false;
    ret->len = (size_t)len - padding;
    return true;
}

static enum ds_class unreadable(ds_err *e)
{
    return ds_ossl_fail(e, DS_NETWORK, "the answer is no certs-only message");
}

enum ds_class ds_est_read(ds_view text, STACK_OF(X509) * *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    if (!ds_est_decode(text, &der))
        return ds_fail(e, DS_NETWORK, "the answer is not base64");
    const unsigned char *p = der.ptr;
    PKCS7 *p7 = d2i_PKCS7(NULL, &p, (long)der.len);
    bool good = p7 && p == der.ptr + der.len && PKCS7_type_is_signed(p7) && p7->d.sign;
    STACK_OF(X509) *held = good ? p7->d.sign->cert : NULL;
    int count = held ? sk_X509_num(held) : 0;
    enum ds_class rc = DS_OK;
    if (!good)
        rc = unreadable(e);
    else if (count < 1 || count > CERTIFICATES_MAX)
        rc = ds_fail(e, DS_NETWORK, "the answer holds %d certificates", count);
    else if (!(*ret = X509_chain_up_ref(held)))
        rc = ds_fail(e, DS_INTERNAL, "memory");
    PKCS7_free(p7);
    ERR_clear_error();
    return rc;
}

static enum ds_class add_anchors(ds_est_trust *t, STACK_OF(X509) * certificates, ds_err *e)
{
    for (int i = 0; i < sk_X509_num(certificates); i++)
        if (X509_STORE_add_cert(t->anchors, sk_X509_value(certificates, i)) != 1)
            return ds_ossl_fail(e, DS_INTERNAL, "certificates");
    return DS_OK;
}

enum ds_class ds_est_trust_new(const char *device_ca, ds_est_trust **ret, ds_err *e)
{
    STACK_OF(X509) *certificates = NULL;
    ds_est_trust *t = ds_alloc(sizeof *t);
    t->anchors = X509_STORE_new();
    t->between = sk_X509_new_null();
    enum ds_class rc = ds_cert_read_all(device_ca, &certificates, e);
    if (!rc && (!t->anchors || !t->between))
        rc = ds_ossl_fail(e, DS_INTERNAL, "certificates");
    if (!rc)
        rc = add_anchors(t, certificates, e);
    sk_X509_pop_free(certificates, X509_free);
    if (rc) {
        ds_est_trust_free(t);
        return rc;
    }
    *ret = t;
    return DS_OK;
}

void ds_est_trust_free(ds_est_trust *t)
{
    if (!t)
        return;
    X509_STORE_free(t->anchors);
    sk_X509_pop_free(t->between, X509_free);
    free(t);
}

// ret_chain may be NULL; sk_X509_pop_free.
static enum ds_class verify(const ds_est_trust *t, STACK_OF(X509) * between, X509 *cert, int purpose, int64_t at_utc,
                            STACK_OF(X509) * *ret_chain, ds_err *e)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    enum ds_class rc = DS_OK;
    if (!ctx || X509_STORE_CTX_init(ctx, t->anchors, cert, between) != 1 ||
        (purpose && X509_STORE_CTX_set_purpose(ctx, purpose) != 1)) {
        rc = ds_ossl_fail(e, DS_INTERNAL, "verify chain");
    } else {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_time(param, (time_t)at_utc);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE |
                                               X509_V_FLAG_PARTIAL_CHAIN);
        if (X509_verify_cert(ctx) != 1)
            rc = ds_fail(e, DS_POLICY, "%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        else if (ret_chain && !(*ret_chain = X509_STORE_CTX_get1_chain(ctx)))
            rc = ds_fail(e, DS_INTERNAL, "memory");
        ERR_clear_error();
    }
    X509_STORE_CTX_free(ctx);
    return rc;
}

static bool is_ca(X509 *cert)
{
    return (X509_get_extension_flags(cert) & (EXFLAG_CA | EXFLAG_INVALID)) == EXFLAG_CA;
}

static bool is_above_another(STACK_OF(X509) * all, X509 *cert)
{
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509 *other = sk_X509_value(all, i);
        if (X509_cmp(other, cert) != 0 && X509_check_issued(cert, other) == X509_V_OK)
            return true;
    }
    return false;
}

enum ds_class ds_est_trust_learn(ds_est_trust *t, STACK_OF(X509) * shown, X509 **ret_ca, ds_err *e)
{
    ds_err why = DS_ERR_INIT;
    ds_fail(&why, DS_POLICY, "none of them is a CA's");
    for (int i = 0; i < sk_X509_num(shown); i++) {
        X509 *cert = sk_X509_value(shown, i);
        if (!is_ca(cert) || verify(t, shown, cert, 0, ds_utc_now(), NULL, &why))
            continue;
        if (X509_up_ref(cert) != 1 || sk_X509_push(t->between, cert) <= 0)
            return ds_ossl_fail(e, DS_INTERNAL, "certificates");
    }
    if (sk_X509_num(t->between) == 0)
        return ds_fail(e, DS_POLICY, "no CA that it shows is by device_ca: %s", why.text);
    *ret_ca = sk_X509_value(t->between, 0);
    for (int i = 0; i < sk_X509_num(t->between); i++)
        if (!is_above_another(t->between, sk_X509_value(t->between, i)))
            *ret_ca = sk_X509_value(t->between, i);
    return DS_OK;
}

// Our clock may be behind the server's a little.
static int64_t when(X509 *cert)
{
    ds_cert_info info;
    int64_t now = ds_utc_now();
    if (ds_cert_describe(cert, &info, NULL) || info.not_before_utc <= now || info.not_before_utc > now + AHEAD_S)
        return now;
    return info.not_before_utc;
}

enum ds_class ds_est_trust_chain(const ds_est_trust *t, X509 *cert, ds_signer_chain *ret, ds_err *e)
{
    STACK_OF(X509) *chain = NULL;
    enum ds_class rc = verify(t, t->between, cert, 0, when(cert), &chain, e);
    int count = chain ? sk_X509_num(chain) : 0;
    if (count > 2 && X509_self_signed(sk_X509_value(chain, count - 1), 0) == 1)
        count--;
    if (!rc && count > DS_SIGNER_CHAIN_MAX + 1)
        rc = ds_fail(e, DS_POLICY, "%d certificates stand above it", count - 1);
    for (int i = 1; !rc && i < count; i++)
        rc = ds_cert_der(sk_X509_value(chain, i), &ret->der[ret->count++], e);
    sk_X509_pop_free(chain, X509_free);
    return rc;
}

static enum ds_class check_key(const ds_cert_info *is, const ds_sign_request *asked, ds_err *e)
{
    ds_csr_info csr;
    enum ds_class rc = ds_csr_check(asked->csr, &csr, e);
    if (rc)
        return rc;
    if (memcmp(is->public_key_digest, csr.public_key_digest, 32) != 0)
        return ds_fail(e, DS_POLICY, "it is for another key than the request's");
    return DS_OK;
}

static enum ds_class check_subject(X509 *cert, const ds_cert_info *is, const char *asked, ds_err *e)
{
    X509_NAME *wanted = NULL;
    enum ds_class rc = ds_dn_parse(asked, &wanted, e);
    if (!rc && !ds_dn_equal(X509_get_subject_name(cert), wanted))
        rc = ds_fail(e, DS_POLICY, "it is for %.160s, asked was %.160s", is->subject, asked);
    X509_NAME_free(wanted);
    return rc;
}

// The recipe's URI, once, or nothing.
static bool names_are(X509 *cert, const char *uri)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    if (!names)
        return critical == -1 && !uri[0]; // -1: the extension is not there
    bool same = uri[0] && sk_GENERAL_NAME_num(names) == 1;
    const GENERAL_NAME *name = same ? sk_GENERAL_NAME_value(names, 0) : NULL;
    same = name && name->type == GEN_URI && (size_t)ASN1_STRING_length(name->d.ia5) == strlen(uri) &&
           memcmp(ASN1_STRING_get0_data(name->d.ia5), uri, strlen(uri)) == 0;
    GENERAL_NAMES_free(names);
    return same;
}

static enum ds_class check_validity(const ds_cert_info *is, const ds_sign_request *asked, ds_err *e)
{
    char end[21], wanted[21];
    int64_t now = ds_utc_now();
    int64_t least = asked->not_after_utc == DS_NO_EXPIRY ? DS_NO_EXPIRY : asked->not_after_utc - DAY;
    ds_utc_format(is->not_after_utc, end);
    ds_utc_format(asked->not_after_utc, wanted);
    if (is->not_before_utc > now + AHEAD_S)
        return ds_fail(e, DS_POLICY, "it is not valid yet");
    if (is->not_after_utc <= now)
        return ds_fail(e, DS_POLICY, "it ended on %s", end);
    if (is->not_after_utc >= least)
        return DS_OK;
    if (asked->not_after_utc == DS_NO_EXPIRY)
        return ds_hint((ds_fail(e, DS_POLICY, "it ends on %s, and the recipe demands one without end", end), e),
                       "certificate.days of the recipe: for how long that CA signs");
    return ds_hint((ds_fail(e, DS_POLICY, "it ends on %s, and the recipe demands %s", end, wanted), e),
                   "certificate.days of the recipe: for how long that CA signs");
}

// Told now, and not by a device that has no room, when the ledger has the certificate for good.
static enum ds_class check_size(const ds_est_trust *t, X509 *cert, ds_err *e)
{
    ds_signer_chain above = {.count = 0};
    enum ds_class rc = ds_est_trust_chain(t, cert, &above, e);
    int own = i2d_X509(cert, NULL);
    size_t total = own > 0 ? (size_t)own : 0;
    for (size_t i = 0; i < above.count; i++)
        total += above.der[i].len;
    ds_signer_chain_free(&above);
    if (rc || total <= DEVICE_HOLDS)
        return rc;
    ds_fail(e, DS_POLICY, "with the CAs above it it has %zu bytes, and a device holds %d", total, DEVICE_HOLDS);
    return ds_hint(e, "signer.est.device_ca: the CA that signs devices, in place of its root, spares those between");
}

static enum ds_class judge(const ds_est_trust *t, X509 *cert, const ds_cert_info *is, const ds_sign_request *asked,
                           ds_err *e)
{
    enum ds_class rc = check_key(is, asked, e);
    if (!rc)
        rc = check_subject(cert, is, asked->subject, e);
    if (!rc && is->ca)
        rc = ds_fail(e, DS_POLICY, "it is a CA's");
    if (!rc)
        rc = ds_lint_demand(cert, e);
    if (!rc && !names_are(cert, asked->subject_alt_uri ? asked->subject_alt_uri : ""))
        rc = ds_fail(e, DS_POLICY, "it has an alternative name that was not asked");
    if (!rc)
        rc = check_validity(is, asked, e);
    if (!rc && verify(t, t->between, cert, X509_PURPOSE_SSL_CLIENT, when(cert), NULL, e))
        rc = ds_wrap(e, "it is not by device_ca");
    return rc ? rc : check_size(t, cert, e);
}

enum ds_class ds_est_judge(const ds_est_trust *t, X509 *cert, const ds_sign_request *asked, ds_err *e)
{
    ds_cert_info info;
    char serial[41];
    enum ds_class rc = ds_cert_describe(cert, &info, e);
    if (rc)
        return ds_fail(e, DS_POLICY, "the certificate that came cannot be read");
    ds_hex(info.serial, info.serial_len, serial);
    rc = judge(t, cert, &info, asked, e);
    return rc ? ds_wrap(e, "the certificate that came (serial number %s)", serial) : DS_OK;
}
