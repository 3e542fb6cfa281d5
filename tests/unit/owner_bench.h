// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A sealed device in memory, a product's authority, and the wire between the device's half of the owner handshake and
// the owner's. Whoever includes it may change every message on its way. Includes fake_port.c.
#ifndef DS_TEST_OWNER_BENCH_H
#define DS_TEST_OWNER_BENCH_H

#include "agent/app/app.h"
#include "agent/app/owner.h"
#include "agent/app/owner_crypto.h"
#include "proto/owner.pb-c.h"
#include "src/owner/internal.h"

#include "tests/unit/fake_port.c"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define BENCH_SERIAL "SN0042"
#define BENCH_POP "H7KQ2MXW9RT4ZB6D"

// A root, a Sub CA below it, and what they sign.
typedef struct bench_ca {
    EVP_PKEY *root_key, *sub_key;
    X509 *root, *sub;
    char pem[2048];
    size_t pem_len;
} bench_ca;

typedef struct bench {
    fake_port port;
    ds_owner owner; // the device's half
    EVP_PKEY *key;
    // What the device took.
    int taken;
    ds_status take_status;
    char ssid[33], passphrase[65];
    size_t extra_len;
    // The wire: what went over it last, and how often.
    int exchanges;
    uint8_t last[DS_OWNER_MESSAGE_MAX], reply[DS_OWNER_REPLY_MAX];
    size_t last_len, reply_len;
    // May change a message (reply false) or a reply on its way, or make up a reply.
    void (*meddle)(struct bench *b, bool reply, uint8_t *data, size_t *len);
} bench;

static X509 *bench_cert(EVP_PKEY *key, const char *name, EVP_PKEY *issuer_key, X509 *issuer, const char *usage)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    ASN1_TIME_set_string(X509_getm_notBefore(x), "20200101000000Z");
    ASN1_TIME_set_string(X509_getm_notAfter(x), usage ? "20300101000000Z" : "20400101000000Z");
    X509_NAME *subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const uint8_t *)"Example", -1, -1, 0);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(x, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    const struct {
        int nid;
        const char *value;
    } list[] = {
        {NID_basic_constraints, usage ? "critical,CA:FALSE" : "critical,CA:TRUE"},
        {NID_key_usage, usage ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, issuer ? "keyid:always" : NULL},
        {NID_ext_key_usage, usage},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        X509_EXTENSION *ext = list[i].value ? X509V3_EXT_conf_nid(NULL, &ctx, list[i].nid, list[i].value) : NULL;
        if (ext)
            X509_add_ext(x, ext, -1);
        X509_EXTENSION_free(ext);
    }
    if (X509_sign(x, issuer_key, EVP_sha256()) <= 0)
        abort();
    return x;
}

static void bench_ca_init(bench_ca *ca, const char *name)
{
    char text[64];
    ca->root_key = EVP_EC_gen("P-256");
    ca->sub_key = EVP_EC_gen("P-256");
    snprintf(text, sizeof text, "%s Root", name);
    ca->root = bench_cert(ca->root_key, text, ca->root_key, NULL, NULL);
    snprintf(text, sizeof text, "%s Sub CA", name);
    ca->sub = bench_cert(ca->sub_key, text, ca->root_key, ca->root, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    PEM_write_bio_X509(bio, ca->root);
    ca->pem_len = (size_t)BIO_get_mem_data(bio, &pem);
    memcpy(ca->pem, pem, ca->pem_len);
    BIO_free(bio);
}

static inline void bench_ca_free(bench_ca *ca)
{
    X509_free(ca->root);
    X509_free(ca->sub);
    EVP_PKEY_free(ca->root_key);
    EVP_PKEY_free(ca->sub_key);
}

static ds_status bench_take(void *arg, const ds_owner_credentials *c)
{
    bench *b = arg;
    b->taken++;
    memset(b->ssid, 0, sizeof b->ssid);
    memset(b->passphrase, 0, sizeof b->passphrase);
    memcpy(b->ssid, c->ssid, c->ssid_len);
    if (c->passphrase_len)
        memcpy(b->passphrase, c->passphrase, c->passphrase_len);
    b->extra_len = c->extra_len;
    return b->take_status;
}

// Concatenated DER of the certificates; returns the length.
static size_t bench_chain(X509 *const *certs, size_t count, uint8_t ret[DS_AGENT_CHAIN_MAX])
{
    uint8_t *at = ret;
    for (size_t i = 0; i < count; i++)
        i2d_X509(certs[i], &at);
    return (size_t)(at - ret);
}

// A device that is stamped, with flash encryption on, its stamp not moved yet. The key is the caller's.
static void bench_stamped(bench *b, EVP_PKEY *key, const uint8_t *chain, size_t len)
{
    memset(b, 0, sizeof *b);
    b->key = key;
    fake_init(&b->port, 5);
    uint8_t *der = NULL;
    int der_len = i2d_PrivateKey(key, &der);
    put(&b->port, DS_AREA_PLAIN, "stamp", "key", DS_VALUE_BLOB, der, (size_t)der_len);
    OPENSSL_clear_free(der, (size_t)der_len);
    put(&b->port, DS_AREA_PLAIN, "stamp", "chain", DS_VALUE_BLOB, chain, len);
    put(&b->port, DS_AREA_PLAIN, "stamp", "serial", DS_VALUE_STRING, BENCH_SERIAL, strlen(BENCH_SERIAL));
    put(&b->port, DS_AREA_PLAIN, "stamp", "pop", DS_VALUE_STRING, BENCH_POP, strlen(BENCH_POP));
    put(&b->port, DS_AREA_PLAIN, "stamp", "done", DS_VALUE_U8, "\1", 1);
    b->port.security.flash_encryption = b->port.security.secure_boot = true;
    fake_power_on(&b->port, DS_AGENT_APP);
    ds_owner_init(&b->owner, &b->port.agent, bench_take, b);
}

// The same, sealed, certified by ca.
static void bench_init(bench *b, const bench_ca *ca, EVP_PKEY *key)
{
    uint8_t chain[DS_AGENT_CHAIN_MAX];
    X509 *own = bench_cert(key, BENCH_SERIAL, ca->sub_key, ca->sub, "clientAuth");
    size_t len = bench_chain((X509 *const[]){own, ca->sub}, 2, chain);
    X509_free(own);
    bench_stamped(b, key, chain, len);
    if (ds_app_migrate(&b->port.agent) != DS_STATUS_OK)
        abort();
    b->port.out_len = 0;
}

static enum ds_class bench_exchange(void *ctx, const uint8_t *message, size_t len, uint8_t *reply, size_t cap,
                                    size_t *ret_len, ds_err *e)
{
    bench *b = ctx;
    if (len > sizeof b->last || cap < DS_OWNER_REPLY_MAX)
        return ds_fail(e, DS_INTERNAL, "message too long");
    memcpy(b->last, message, len);
    b->last_len = len;
    b->exchanges++;
    if (b->meddle)
        b->meddle(b, false, b->last, &b->last_len);
    b->reply_len = ds_owner_handle(&b->owner, b->last, b->last_len, b->reply, sizeof b->reply);
    if (b->meddle)
        b->meddle(b, true, b->reply, &b->reply_len);
    memcpy(reply, b->reply, b->reply_len);
    *ret_len = b->reply_len;
    return DS_OK;
}

static ds_companion_transport bench_wire(bench *b)
{
    return (ds_companion_transport){.ctx = b, .exchange = bench_exchange};
}

static ds_companion *bench_owner(const bench_ca *ca)
{
    const ds_companion_config g = {.roots = ca->pem,
                                   .roots_len = ca->pem_len,
                                   .name = BENCH_SERIAL,
                                   .pop = (const uint8_t *)BENCH_POP,
                                   .pop_len = strlen(BENCH_POP),
                                   .now_utc = 1700000000};
    ds_companion *c = NULL;
    if (ds_companion_new(&g, &c, NULL))
        abort();
    return c;
}

static const ds_companion_credentials bench_wifi = {.ssid = (const uint8_t *)"home",
                                                    .ssid_len = 4,
                                                    .passphrase = (const uint8_t *)"correct horse",
                                                    .passphrase_len = 13};

// The status of a reply.
static int bench_status(const uint8_t *reply, size_t len)
{
    Devstamp__Owner__Reply *r = devstamp__owner__reply__unpack(NULL, len, reply);
    int status = r ? (int)r->status : -1;
    if (r)
        devstamp__owner__reply__free_unpacked(r, NULL);
    return status;
}

#endif
