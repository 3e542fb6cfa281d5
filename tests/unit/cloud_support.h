// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// For the registry's tests: authorities and devices made with OpenSSL directly, and a registry beside a ledger.
#ifndef DS_TEST_CLOUD_SUPPORT_H
#define DS_TEST_CLOUD_SUPPORT_H

#include "ledger_support.h"

#include "src/cloud/registry.h"

#include <openssl/x509v3.h>

#define NOW 1800000000
#define YEAR 31536000

typedef struct party {
    EVP_PKEY *key;
    X509 *cert;
    ds_buf der;
} party;

typedef struct recipe {
    const char *common, *second_common;
    const party *issuer; // NULL: itself
    const char *basic, *usage, *extended, *odd_critical;
    long start, end; // seconds around NOW
    const EVP_MD *md;
    const char *curve;
    unsigned rsa_bits;
    bool version1;
} recipe;

static UNUSED void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    if (!value)
        return;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

static UNUSED void extend_oddly(X509 *x, const char *oid)
{
    ASN1_OBJECT *obj = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, obj, 1, data);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(obj);
}

static UNUSED void add_common(X509_NAME *name, const char *text)
{
    if (text)
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0);
}

static UNUSED party certify_party(const recipe *r)
{
    party p = {.key = r->rsa_bits ? EVP_RSA_gen(r->rsa_bits) : EVP_EC_gen(r->curve ? r->curve : "P-256")};
    X509 *x = p.cert = X509_new();
    X509_set_version(x, r->version1 ? X509_VERSION_1 : X509_VERSION_3);
    BIGNUM *n = BN_new();
    BN_rand(n, 120, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY);
    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    ASN1_TIME_set(X509_getm_notBefore(x), NOW + (r->start ? r->start : -YEAR));
    ASN1_TIME_set(X509_getm_notAfter(x), NOW + (r->end ? r->end : YEAR));
    add_common(X509_get_subject_name(x), r->common);
    add_common(X509_get_subject_name(x), r->second_common);
    X509 *issuer = r->issuer ? r->issuer->cert : x;
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    X509_set_pubkey(x, p.key);
    if (!r->version1) {
        extend(x, issuer, NID_subject_key_identifier, "hash");
        if (r->issuer)
            extend(x, issuer, NID_authority_key_identifier, "keyid");
        extend(x, issuer, NID_basic_constraints, r->basic);
        extend(x, issuer, NID_key_usage, r->usage);
        extend(x, issuer, NID_ext_key_usage, r->extended);
        if (r->odd_critical)
            extend_oddly(x, r->odd_critical);
    }
    assert_true(X509_sign(x, r->issuer ? r->issuer->key : p.key, r->md ? r->md : EVP_sha256()) > 0);
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    ds_buf_add(&p.der, der, (size_t)len);
    OPENSSL_free(der);
    return p;
}

static UNUSED void party_free(party *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
    ds_buf_free(&p->der);
}

static UNUSED party make_ca(const char *common, const party *issuer)
{
    return certify_party(&(recipe){
        .common = common, .issuer = issuer, .basic = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"});
}

static UNUSED recipe device_recipe(const char *common, const party *issuer)
{
    return (recipe){.common = common,
                    .issuer = issuer,
                    .basic = "critical,CA:FALSE",
                    .usage = "critical,digitalSignature",
                    .extended = "clientAuth"};
}

static UNUSED party make_device(const char *common, const party *issuer)
{
    recipe r = device_recipe(common, issuer);
    return certify_party(&r);
}

typedef struct place {
    world *w; // a folder and a ledger
    char path[96];
    ds_registry *r;
    party root, sub, ops;
    ds_err e;
} place;

static UNUSED int place_new(void **state)
{
    place *p = ds_alloc(sizeof *p);
    uint8_t id[32];
    world_new((void **)&p->w);
    snprintf(p->path, sizeof p->path, "%s/registry.db", p->w->folder);
    p->root = make_ca("Root", NULL);
    p->sub = make_ca("Sub CA", &p->root);
    p->ops = make_ca("Services CA", NULL);
    assert_int_equal(ds_registry_open(p->path, true, &p->r, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->root.der), DS_REGISTRY_ANCHOR, false, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->ops.der), DS_REGISTRY_SERVICES, false, id, &p->e), DS_OK);
    *state = p;
    return 0;
}

static UNUSED int place_free(void **state)
{
    place *p = *state;
    static const char *const tails[] = {"", "-wal", "-shm"};
    ds_registry_close(p->r);
    for (size_t i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", p->path, tails[i]);
        unlink(name);
    }
    party_free(&p->root);
    party_free(&p->sub);
    party_free(&p->ops);
    world_free((void **)&p->w);
    free(p);
    return 0;
}

#define PLACE(f) cmocka_unit_test_setup_teardown(f, place_new, place_free)

static UNUSED enum ds_class admit_at(place *p, const party *d, const char *id, int64_t now, ds_registry_client *ret)
{
    p->e = DS_ERR_INIT;
    return ds_registry_admit(p->r, &(ds_registry_attempt){ds_buf_view(&d->der), NULL, id, NULL, now}, ret, &p->e);
}

static UNUSED bool count_one(void *arg, const ds_registry_device *d)
{
    (void)d;
    ++*(unsigned *)arg;
    return true;
}

static UNUSED unsigned registered(place *p)
{
    unsigned n = 0;
    assert_int_equal(ds_registry_each(p->r, count_one, &n, &p->e), DS_OK);
    return n;
}

enum { NAMES_MAX = 256 };

static UNUSED void gather_names(void *arg, const char *name)
{
    char *names = arg;
    size_t len = strlen(names);
    snprintf(names + len, NAMES_MAX - len, "%s;", name);
}

#endif
