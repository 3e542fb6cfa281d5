// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Is it the genuine device of this label: chain to the product's root (RFC 5280, strictly), the name in the
// certificate, and the signature over this session. Everything here came from the device and is hostile.
#include "src/owner/internal.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NO_EXPIRY "9999-12-31" // RFC 5280, 4.1.2.5: no well-defined expiry

enum { AUTH_LEVEL = 2 }; // OpenSSL's: 112 bits, no SHA-1

static enum ds_class counterfeit(ds_err *e, const char *why)
{
    (void)ds_companion_fail(e, DS_POLICY, DS_COMPANION_COUNTERFEIT, "not genuine: %s", why);
    return ds_hint(e, "do not use this device and give it nothing: return it to where it came from");
}

STACK_OF(X509) * ds_companion_read_roots(const char *pem, size_t len)
{
    BIO *bio = len <= INT32_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    STACK_OF(X509) *roots = sk_X509_new_null();
    X509 *one = NULL;
    bool ok = bio && roots;
    while (ok && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        ok = sk_X509_push(roots, one) > 0;
    // The end of the text is the one reason to stop that is none to complain.
    ok = ok && sk_X509_num(roots) > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (ok)
        return roots;
    sk_X509_pop_free(roots, X509_free);
    return NULL;
}

// The certificates one after the other, nothing behind them. NULL where that is not what it is.
static STACK_OF(X509) * parse_chain(const uint8_t *der, size_t len)
{
    if (len == 0)
        return NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    const unsigned char *at = der, *end = der + len;
    bool ok = chain != NULL;
    while (ok && at < end) {
        X509 *one = sk_X509_num(chain) < DS_COMPANION_CERTS_MAX ? d2i_X509(NULL, &at, (long)(end - at)) : NULL;
        ok = one && sk_X509_push(chain, one) > 0;
        if (one && !ok)
            X509_free(one);
    }
    if (ok)
        return chain;
    sk_X509_pop_free(chain, X509_free);
    return NULL;
}

static void set_up(const ds_companion *c, X509_STORE_CTX *ctx)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    unsigned long flags = X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE;
    if (c->now_utc)
        X509_VERIFY_PARAM_set_time(param, (time_t)c->now_utc);
    else
        flags |= X509_V_FLAG_NO_CHECK_TIME;
    X509_VERIFY_PARAM_set_flags(param, flags);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_CLIENT); // as the device's certificate profile has it
}

// A device of this product by all but the date: likelier a clock that is wrong than a counterfeit, and not believed.
static enum ds_class untimely(const ds_companion *c, int error, ds_err *e)
{
    char today[32] = "";
    time_t now = (time_t)c->now_utc;
    struct tm tm;
    if (gmtime_r(&now, &tm))
        (void)strftime(today, sizeof today, "%Y-%m-%d", &tm);
    (void)ds_companion_fail(e, DS_POLICY, DS_COMPANION_COUNTERFEIT, "not genuine: %s, as today is taken to be %s",
                            X509_verify_cert_error_string(error), today);
    return ds_hint(e, "set the clock and try again; where the date is right, give this device nothing");
}

static enum ds_class not_certified(const ds_companion *c, int error, ds_err *e)
{
    char why[160];
    if (error == X509_V_ERR_CERT_NOT_YET_VALID || error == X509_V_ERR_CERT_HAS_EXPIRED)
        return untimely(c, error, e);
    snprintf(why, sizeof why, "its certificate is none of this product's: %s", X509_verify_cert_error_string(error));
    return counterfeit(e, why);
}

static void name_text(const X509_NAME *name, char *ret, size_t cap)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;
    ret[0] = '\0';
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0 && (len = BIO_get_mem_data(bio, &text)) > 0)
        snprintf(ret, cap, "%.*s", (int)len, text);
    BIO_free(bio);
}

static enum ds_class verify_chain(ds_companion *c, STACK_OF(X509) * chain, ds_err *e)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool ready = store && ctx;
    for (int i = 0; ready && i < sk_X509_num(c->roots); i++)
        ready = X509_STORE_add_cert(store, sk_X509_value(c->roots, i)) == 1;
    ready = ready && X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) == 1;
    enum ds_class rc = DS_OK;
    if (!ready) {
        rc = ds_companion_fail(e, DS_INTERNAL, 0, "the chain cannot be verified");
    } else {
        set_up(c, ctx);
        if (X509_verify_cert(ctx) != 1) {
            rc = not_certified(c, X509_STORE_CTX_get_error(ctx), e);
        } else {
            STACK_OF(X509) *built = X509_STORE_CTX_get0_chain(ctx);
            name_text(X509_get_subject_name(sk_X509_value(built, sk_X509_num(built) - 1)), c->device.root,
                      sizeof c->device.root);
        }
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

// One common name, and it is the label's: a genuine device in the place of another one is none.
static enum ds_class check_name(ds_companion *c, X509 *own, ds_err *e)
{
    const X509_NAME *subject = X509_get_subject_name(own);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    int len = -1;
    if (at >= 0 && X509_NAME_get_index_by_NID(subject, NID_commonName, at) < 0)
        len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool same = len >= 0 && (size_t)len == strlen(c->name) && memcmp(text, c->name, (size_t)len) == 0;
    OPENSSL_free(text);
    if (!same) {
        char why[200], is[96];
        name_text(subject, is, sizeof is);
        snprintf(why, sizeof why, "its certificate is for %s and not for %s", is, c->name);
        return counterfeit(e, why);
    }
    snprintf(c->device.serial, sizeof c->device.serial, "%s", c->name);
    return DS_OK;
}

// SHA-256, SHA-384 for P-384; NULL for a key that no device of ours has.
static const EVP_MD *digest_for(EVP_PKEY *key)
{
    int id = key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE, bits = key ? EVP_PKEY_get_bits(key) : 0;
    char group[64] = "";
    if (id == EVP_PKEY_RSA && bits >= 2048)
        return EVP_sha256();
    if (id != EVP_PKEY_EC || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
        return NULL;
    if (strcmp(group, SN_X9_62_prime256v1) == 0)
        return EVP_sha256();
    return strcmp(group, SN_secp384r1) == 0 ? EVP_sha384() : NULL;
}

static enum ds_class check_signature(const ds_companion *c, X509 *own, const uint8_t *signature, size_t len, ds_err *e)
{
    EVP_PKEY *key = X509_get0_pubkey(own);
    const EVP_MD *md = digest_for(key);
    if (!md)
        return counterfeit(e, "its certificate is for a kind of key that no device has");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 && // RSA: PKCS#1 v1.5 by default
              EVP_DigestVerify(ctx, signature, len, c->transcript, sizeof c->transcript) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? DS_OK : counterfeit(e, "it does not hold the key of the certificate that it shows");
}

static bool describe(ds_companion *c, X509 *own)
{
    ds_companion_device *d = &c->device;
    struct tm tm;
    name_text(X509_get_issuer_name(own), d->issuer, sizeof d->issuer);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(own), &tm) != 1 ||
        strftime(d->not_after, sizeof d->not_after, "%Y-%m-%d", &tm) == 0 ||
        X509_digest(own, EVP_sha256(), d->fingerprint, NULL) != 1)
        return false;
    if (strcmp(d->not_after, NO_EXPIRY) == 0)
        snprintf(d->not_after, sizeof d->not_after, "never");
    return true;
}

enum ds_class ds_companion_check(ds_companion *c, const uint8_t *chain, size_t len, const uint8_t *signature,
                                 size_t signature_len, ds_err *e)
{
    STACK_OF(X509) *certs = parse_chain(chain, len);
    if (!certs)
        return counterfeit(e, "it shows no certificates");
    X509 *own = sk_X509_value(certs, 0);
    memset(&c->device, 0, sizeof c->device);
    enum ds_class rc = verify_chain(c, certs, e);
    if (!rc)
        rc = check_signature(c, own, signature, signature_len, e);
    if (!rc)
        rc = check_name(c, own, e);
    if (!rc && !describe(c, own))
        rc = counterfeit(e, "its certificate has dates that are none");
    sk_X509_pop_free(certs, X509_free);
    ERR_clear_error();
    return rc;
}
