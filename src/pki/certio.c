// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates in and out, in words, and in chains; see cert.h.
#include "src/pki/cert.h"
#include "src/pki/dn.h"

#include "src/base/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

enum { FILE_MAX = 256 * 1024, CERT_MAX = 16384, CHAIN_MAX = 16 };

enum ds_class ds_cert_parse(ds_view bytes, X509 **ret, ds_err *e)
{
    if (bytes.len == 0 || bytes.len > FILE_MAX)
        return ds_fail(e, DS_INPUT, "%zu bytes are no certificate", bytes.len);
    X509 *cert = NULL;
    const unsigned char *p = bytes.ptr;
    if (bytes.ptr[0] == 0x30) {
        cert = d2i_X509(NULL, &p, (long)bytes.len);
        if (cert && p != bytes.ptr + bytes.len) {
            X509_free(cert);
            return ds_fail(e, DS_INPUT, "bytes follow the certificate");
        }
    } else {
        DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);
        cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    }
    if (!cert)
        return ds_ossl_fail(e, DS_INPUT, "not a certificate");
    *ret = cert;
    return DS_OK;
}

enum ds_class ds_cert_read(const char *path, X509 **ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(path, FILE_MAX, &bytes, e);
    if (rc)
        return ds_wrap(e, "certificate");
    rc = ds_cert_parse(ds_buf_view(&bytes), ret, e);
    return rc ? ds_wrap(e, "certificate %s", path) : DS_OK;
}

static enum ds_class read_all(BIO *bio, STACK_OF(X509) * certs, ds_err *e)
{
    for (;;) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!cert)
            break;
        if (sk_X509_num(certs) >= CHAIN_MAX || sk_X509_push(certs, cert) <= 0) {
            X509_free(cert);
            return ds_fail(e, DS_INPUT, "more than %d certificates", CHAIN_MAX);
        }
    }
    unsigned long why = ERR_peek_last_error();
    bool end = ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
    if (!end)
        return ds_ossl_fail(e, DS_INPUT, "certificate %d", sk_X509_num(certs) + 1);
    ERR_clear_error();
    return sk_X509_num(certs) ? DS_OK : ds_fail(e, DS_INPUT, "no certificate in PEM");
}

enum ds_class ds_cert_read_all(const char *path, STACK_OF(X509) * *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(path, FILE_MAX, &bytes, e);
    if (rc)
        return rc;
    DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);
    STACK_OF(X509) *certs = sk_X509_new_null();
    rc = bio && certs ? read_all(bio, certs, e) : ds_ossl_fail(e, DS_INTERNAL, "read certificates");
    if (rc) {
        sk_X509_pop_free(certs, X509_free);
        return ds_wrap(e, "%s", path);
    }
    *ret = certs;
    return DS_OK;
}

enum ds_class ds_cert_der(X509 *cert, ds_buf *ret, ds_err *e)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    if (len <= 0 || len > CERT_MAX) {
        OPENSSL_free(der);
        return ds_ossl_fail(e, DS_INTERNAL, "encode certificate");
    }
    ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    return DS_OK;
}

enum ds_class ds_cert_pem(X509 *cert, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509(bio, cert) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "encode certificate");
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);
    ds_buf_add(ret, pem, (size_t)len);
    return DS_OK;
}

static bool to_utc(const ASN1_TIME *t, int64_t *ret)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *ret = (int64_t)timegm(&tm);
    return true;
}

static bool read_serial(const X509 *cert, ds_cert_info *ret)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int len = ASN1_STRING_length(serial);
    if (len < 0 || (size_t)len > sizeof ret->serial)
        return false;
    ret->serial_len = (size_t)len;
    memcpy(ret->serial, ASN1_STRING_get0_data(serial), ret->serial_len);
    return true;
}

enum ds_class ds_cert_describe(X509 *cert, ds_cert_info *ret, ds_err *e)
{
    ds_cert_info info = {.path_len = -1};
    EVP_PKEY *key = X509_get0_pubkey(cert);
    if (!key || !read_serial(cert, &info) || !to_utc(X509_get0_notBefore(cert), &info.not_before_utc) ||
        !to_utc(X509_get0_notAfter(cert), &info.not_after_utc) ||
        X509_digest(cert, EVP_sha256(), info.fingerprint, NULL) != 1)
        return ds_ossl_fail(e, DS_INPUT, "the certificate cannot be read");
    if (ds_dn_text(X509_get_subject_name(cert), info.subject, sizeof info.subject, e))
        return ds_wrap(e, "subject");
    if (ds_dn_text(X509_get_issuer_name(cert), info.issuer, sizeof info.issuer, e))
        return ds_wrap(e, "issuer");
    if (ds_public_key_digest(key, info.public_key_digest, e))
        return DS_INTERNAL;
    info.key_type = ds_key_type_of(key);
    uint32_t flags = X509_get_extension_flags(cert);
    if (flags & EXFLAG_INVALID)
        return ds_fail(e, DS_INPUT, "the certificate has an extension that cannot be read");
    info.ca = (flags & EXFLAG_CA) != 0;
    info.path_len = X509_get_pathlen(cert);
    info.key_usage = flags & EXFLAG_KUSAGE ? X509_get_key_usage(cert) : 0;
    uint32_t extended = flags & EXFLAG_XKUSAGE ? X509_get_extended_key_usage(cert) : 0;
    info.client_auth = (extended & XKU_SSL_CLIENT) != 0;
    info.server_auth = (extended & XKU_SSL_SERVER) != 0;
    *ret = info;
    return DS_OK;
}

enum ds_class ds_chain_verify(X509 *leaf, STACK_OF(X509) * subs, X509 *root, int64_t at_utc, ds_err *e)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    enum ds_class rc = DS_OK;
    if (!store || !ctx || X509_STORE_add_cert(store, root) != 1 || X509_STORE_CTX_init(ctx, store, leaf, subs) != 1) {
        rc = ds_ossl_fail(e, DS_INTERNAL, "verify chain");
    } else {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_time(param, (time_t)at_utc);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
        if (X509_verify_cert(ctx) != 1)
            rc = ds_fail(e, DS_INPUT, "the chain does not hold: %s",
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        ERR_clear_error();
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}
