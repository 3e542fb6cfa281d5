// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests read fast; see plain.h. Source of the form: RFC 2986, RFC 5480, RFC 3279.
#include "src/pki/plain.h"
#include "src/pki/dn.h"
#include "src/pki/keytype.h"
#include "src/pki/tlv.h"
#include "src/pki/weak.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCE = 0x30, INTEGER = 0x02, BIT_STRING = 0x03, ATTRIBUTES = 0xa0, CSR_MAX = 8192 };

static const uint8_t p256[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                               0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
static const uint8_t p384[] = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                               0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};
static const uint8_t rsa2048[] = {0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
                                  0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01,
                                  0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00};
static const uint8_t rsa3072[] = {0x30, 0x82, 0x01, 0xa2, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
                                  0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01,
                                  0x8f, 0x00, 0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81, 0x00};
static const uint8_t f4[] = {0x02, 0x03, 0x01, 0x00, 0x01};

// A public key's canonical encoding: what stands before and behind the part that differs from key to key.
static const struct form {
    enum ds_key_type type;
    const uint8_t *before;
    size_t before_len, len, after_len; // len: of point (without its first byte) or modulus
} forms[] = {
    {DS_KEY_ECDSA_P256, p256, sizeof p256, 64, 0},
    {DS_KEY_ECDSA_P384, p384, sizeof p384, 96, 0},
    {DS_KEY_RSA_2048, rsa2048, sizeof rsa2048, 256, sizeof f4},
    {DS_KEY_RSA_3072, rsa3072, sizeof rsa3072, 384, sizeof f4},
};
enum { FORMS = sizeof forms / sizeof *forms, CURVES = 2 };

// Signature algorithms, and the same as mbedTLS 2.28 spells them for ECDSA.
static const struct algorithm {
    bool rsa;
    unsigned bits;
    uint8_t len, der[15];
} algorithms[] = {
    {false, 256, 12, {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
    {false, 384, 12, {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}},
    {false, 512, 12, {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}},
    {false, 256, 14, {0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x05, 0x00}},
    {false, 384, 14, {0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03, 0x05, 0x00}},
    {false, 512, 14, {0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04, 0x05, 0x00}},
    {true, 256, 15, {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00}},
    {true, 384, 15, {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00}},
    {true, 512, 15, {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00}},
};

// A key of each curve whose point is exchanged, and what verifies by it: making either anew takes half as long as a
// verification.
struct ds_plain {
    EVP_PKEY *key[CURVES];
    EVP_PKEY_CTX *verify[CURVES];
    EVP_PKEY_CTX *rsa;
};

ds_plain *ds_plain_new(void)
{
    return ds_alloc(sizeof(ds_plain));
}

// Made when they are needed first: most lines know one curve, and a signer is to start fast.
static EVP_PKEY_CTX *verifier(ds_plain *p, size_t curve)
{
    if (p->verify[curve])
        return p->verify[curve];
    p->key[curve] = EVP_EC_gen(ds_key_kind_of(forms[curve].type)->curve);
    p->verify[curve] = p->key[curve] ? EVP_PKEY_CTX_new(p->key[curve], NULL) : NULL;
    if (!p->verify[curve] || EVP_PKEY_verify_init(p->verify[curve]) != 1)
        abort(); // out of memory, as everywhere
    return p->verify[curve];
}

static EVP_PKEY_CTX *rsa_maker(ds_plain *p)
{
    if (!p->rsa) {
        p->rsa = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        if (!p->rsa || EVP_PKEY_fromdata_init(p->rsa) != 1)
            abort();
    }
    return p->rsa;
}

void ds_plain_free(ds_plain *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < CURVES; i++) {
        EVP_PKEY_CTX_free(p->verify[i]);
        EVP_PKEY_free(p->key[i]);
    }
    EVP_PKEY_CTX_free(p->rsa);
    free(p);
}

void ds_request_free(ds_request *r)
{
    X509_NAME_free(r->subject);
    sk_X509_EXTENSION_pop_free(r->wishes, X509_EXTENSION_free);
    EVP_PKEY_free(r->key);
    ds_buf_free(&r->spki);
    *r = (ds_request){0};
}

typedef struct parts {
    ds_view tbs, subject, spki, signature;
    const struct form *form;
    const struct algorithm *algorithm;
} parts;

static const struct form *form_of(ds_view spki)
{
    for (size_t i = 0; i < FORMS; i++) {
        const struct form *f = &forms[i];
        if (spki.len == f->before_len + f->len + f->after_len && memcmp(spki.ptr, f->before, f->before_len) == 0 &&
            (f->after_len == 0 || memcmp(spki.ptr + spki.len - sizeof f4, f4, sizeof f4) == 0))
            return f;
    }
    return NULL;
}

static const struct algorithm *algorithm_of(ds_view der)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (der.len == algorithms[i].len && memcmp(der.ptr, algorithms[i].der, der.len) == 0)
            return &algorithms[i];
    return NULL;
}

static bool take_apart(ds_view der, parts *ret)
{
    ds_view request, tbs, version, attributes = {0}, algorithm, bits, rest;
    if (der.len > CSR_MAX || !ds_tlv_take(&der, SEQUENCE, &request) || der.len ||
        !ds_tlv_take_whole(&request, SEQUENCE, &ret->tbs) || !ds_tlv_take_whole(&request, SEQUENCE, &algorithm) ||
        !ds_tlv_take(&request, BIT_STRING, &bits) || request.len)
        return false;
    rest = ret->tbs;
    if (!ds_tlv_take(&rest, SEQUENCE, &tbs) || !ds_tlv_take(&tbs, INTEGER, &version) || version.len != 1 ||
        version.ptr[0] != 0 || !ds_tlv_take_whole(&tbs, SEQUENCE, &ret->subject) ||
        !ds_tlv_take_whole(&tbs, SEQUENCE, &ret->spki))
        return false;
    if (tbs.len && (!ds_tlv_take(&tbs, ATTRIBUTES, &attributes) || tbs.len || attributes.len))
        return false;
    ret->form = form_of(ret->spki);
    ret->algorithm = algorithm_of(algorithm);
    if (!ret->form || !ret->algorithm || bits.len < 2 || bits.ptr[0] != 0)
        return false;
    ret->signature = (ds_view){bits.ptr + 1, bits.len - 1};
    return ret->algorithm->rsa == (ret->form->after_len != 0);
}

static const EVP_MD *md_of(const struct algorithm *a)
{
    return a->bits == 256 ? EVP_sha256() : a->bits == 384 ? EVP_sha384() : EVP_sha512();
}

// Setting the point checks that it lies on the curve, whose order is a prime.
static bool verify_ec(ds_plain *p, const parts *x)
{
    size_t i = (size_t)(x->form - forms);
    const uint8_t *point = x->spki.ptr + x->form->before_len - 1;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_PKEY_CTX *verify = verifier(p, i);
    return EVP_PKEY_set1_encoded_public_key(p->key[i], point, x->form->len + 1) == 1 &&
           EVP_Digest(x->tbs.ptr, x->tbs.len, digest, &len, md_of(x->algorithm), NULL) == 1 &&
           EVP_PKEY_verify(verify, x->signature.ptr, x->signature.len, digest, len) == 1;
}

static bool make_rsa(ds_plain *p, const parts *x, EVP_PKEY **ret)
{
    // numbers in the machine's own order
    unsigned char n[384], e[] = {1, 0, 1};
    const uint8_t *big = x->spki.ptr + x->form->before_len;
    size_t len = x->form->len;
    if (!(big[0] & 0x80) || !(big[len - 1] & 1)) // of exact size, and odd
        return false;
    BIGNUM *number = BN_bin2bn(big, (int)len, NULL);
    bool good = number && BN_bn2nativepad(number, n, (int)len) == (int)len;
    BN_free(number);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, len),
                           OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, sizeof e), OSSL_PARAM_construct_end()};
    return good && EVP_PKEY_fromdata(rsa_maker(p), ret, EVP_PKEY_PUBLIC_KEY, params) == 1;
}

static bool verify_rsa(ds_plain *p, const parts *x, EVP_PKEY **ret)
{
    if (!make_rsa(p, x, ret) || ds_rsa_has_small_factor(*ret) || ds_rsa_is_roca(*ret))
        return false;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, md_of(x->algorithm), NULL, *ret) == 1 &&
                EVP_DigestVerify(ctx, x->signature.ptr, x->signature.len, x->tbs.ptr, x->tbs.len) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static bool read_plain(ds_plain *p, ds_view der, ds_request *ret)
{
    parts x = {0};
    if (!take_apart(der, &x))
        return false;
    const unsigned char *at = x.subject.ptr;
    ret->subject = d2i_X509_NAME(NULL, &at, (long)x.subject.len);
    if (!ret->subject || at != x.subject.ptr + x.subject.len ||
        ds_dn_text(ret->subject, ret->info.subject, sizeof ret->info.subject, NULL))
        return false;
    if (!(x.algorithm->rsa ? verify_rsa(p, &x, &ret->key) : verify_ec(p, &x)) ||
        EVP_Digest(x.spki.ptr, x.spki.len, ret->info.public_key_digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    ret->info.key_type = (int)x.form->type;
    ds_buf_add(&ret->spki, x.spki.ptr, x.spki.len);
    return true;
}

static enum ds_class read_long(ds_view der, ds_request *ret, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *req = NULL;
    uint8_t *spki = NULL;
    enum ds_class rc = ds_request_open(der, &ret->info, &req, e);
    if (rc)
        return rc;
    int len = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(req), &spki);
    ret->subject = X509_NAME_dup(X509_REQ_get_subject_name(req));
    ret->wishes = X509_REQ_get_extensions(req);
    ERR_clear_error();
    if (len > 0)
        ds_buf_add(&ret->spki, spki, (size_t)len);
    OPENSSL_free(spki);
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_up_ref(key) == 1)
        ret->key = key;
    return len > 0 && ret->subject ? DS_OK : ds_fail(e, DS_INTERNAL, "out of memory");
}

enum ds_class ds_request_read(ds_plain *p, ds_view der, ds_request *ret, ds_err *e)
{
    if (read_plain(p, der, ret))
        return DS_OK;
    ERR_clear_error();
    ds_request_free(ret);
    return read_long(der, ret, e);
}
