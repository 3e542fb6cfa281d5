// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestation: a certificate that says of a slot's key that it was made in this card, and under which policies. Its
// extensions are Yubico's (arc 1.3.6.1.4.1.41482.3): .3 firmware version, .7 serial number, .8 PIN and touch policy, .9
// form factor. The root is our own, so that nobody takes such a card for a real one.
#include "sim/piv/card_int.h"

#include "src/base/secret.h"
#include "src/base/file.h"

#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static bool set_name(X509_NAME *name, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool set_serial(X509 *cert)
{
    uint8_t bytes[16];
    ds_random(bytes, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x7F) | 0x40);
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return good;
}

// One of Yubico's extensions: the bytes as they are.
static bool add_raw(X509 *cert, const char *oid, const uint8_t *bytes, size_t len)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext = NULL;
    bool good = object && value && ASN1_OCTET_STRING_set(value, bytes, (int)len) == 1 &&
                (ext = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value)) != NULL &&
                X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    return good;
}

static bool add_known(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool good = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return good;
}

static X509 *begin(const char *subject, const X509_NAME *issuer, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
        set_name(X509_get_subject_name(cert), subject) &&
        X509_set_issuer_name(cert, issuer ? issuer : X509_get_subject_name(cert)) == 1 &&
        X509_set_pubkey(cert, key) == 1 && X509_gmtime_adj(X509_getm_notBefore(cert), -86400) &&
        X509_time_adj_ex(X509_getm_notAfter(cert), 30 * 365, 0, NULL))
        return cert;
    X509_free(cert);
    return NULL;
}

static bool wrap_certificate(ds_piv_card *c, X509 *cert)
{
    DS_CLEANUP_BUF ds_buf object = {0};
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);
    if (len <= 0)
        return false;
    ds_piv_tlv_put(&object, 0x70, (ds_view){der, (size_t)len});
    OPENSSL_free(der);
    ds_piv_tlv_put(&object, 0x71, (ds_view){(const uint8_t[]){0}, 1});
    ds_piv_tlv_put(&object, 0xFE, (ds_view){NULL, 0});
    return ds_piv_object_set(c, DS_PIV_ATTESTATION_OBJECT, ds_buf_view(&object));
}

static enum ds_class write_root(const char *path, X509 *root, ds_err *e)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    enum ds_class rc = bio && PEM_write_bio_X509(bio, root) == 1 ? DS_OK : ds_fail(e, DS_INTERNAL, "maker's root");
    long len = rc ? 0 : BIO_get_mem_data(bio, &text);
    if (!rc)
        rc = ds_file_write(path, (ds_view){(const uint8_t *)text, (size_t)len}, 0644, e);
    BIO_free(bio);
    return rc;
}

enum ds_class ds_piv_attest_init(ds_piv_card *c, const char *maker_root, ds_err *e)
{
    EVP_PKEY *root_key = EVP_EC_gen("P-384"), *key = EVP_EC_gen("P-256");
    X509 *root = root_key ? begin("devstamp virtual YubiKey maker (test only)", NULL, root_key) : NULL;
    X509 *cert = root && key ? begin("devstamp virtual PIV Attestation", X509_get_subject_name(root), key) : NULL;
    bool good = cert && add_known(root, NID_basic_constraints, "critical,CA:TRUE") &&
                add_known(root, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                X509_sign(root, root_key, EVP_sha384()) > 0 &&
                add_known(cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                add_known(cert, NID_key_usage, "critical,keyCertSign") &&
                add_raw(cert, "1.3.6.1.4.1.41482.3.3", ds_piv_version, sizeof ds_piv_version) &&
                X509_sign(cert, root_key, EVP_sha384()) > 0 && wrap_certificate(c, cert);
    enum ds_class rc = good ? write_root(maker_root, root, e) : ds_fail(e, DS_INTERNAL, "attestation key");
    if (!rc) {
        ds_piv_key *k = ds_piv_key_of(c, DS_PIV_SLOT_ATTESTATION);
        *k = (ds_piv_key){DS_PIV_SLOT_ATTESTATION, DS_PIV_P256,     DS_PIV_PIN_NEVER,
                          DS_PIV_TOUCH_NEVER,      DS_PIV_IMPORTED, key};
        key = NULL;
    }
    X509_free(cert);
    X509_free(root);
    EVP_PKEY_free(key);
    EVP_PKEY_free(root_key);
    return rc;
}

static X509 *attestation_certificate(ds_piv_card *c)
{
    const ds_piv_object *o = ds_piv_object_of(c, DS_PIV_ATTESTATION_OBJECT);
    ds_view der;
    if (!o || !ds_piv_tlv_find(ds_buf_view(&o->data), 0x70, &der))
        return NULL;
    const unsigned char *p = der.ptr;
    return d2i_X509(NULL, &p, (long)der.len);
}

static bool add_facts(X509 *cert, const ds_piv_state *s, const ds_piv_key *k)
{
    const uint8_t policies[2] = {k->pin_policy, k->touch_policy};
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    unsigned char *der = NULL;
    int len = serial && ASN1_INTEGER_set_uint64(serial, s->serial) == 1 ? i2d_ASN1_INTEGER(serial, &der) : 0;
    bool good = len > 0 && add_raw(cert, "1.3.6.1.4.1.41482.3.3", ds_piv_version, sizeof ds_piv_version) &&
                add_raw(cert, "1.3.6.1.4.1.41482.3.7", der, (size_t)len) &&
                add_raw(cert, "1.3.6.1.4.1.41482.3.8", policies, sizeof policies) &&
                add_raw(cert, "1.3.6.1.4.1.41482.3.9", &s->form_factor, 1);
    OPENSSL_free(der);
    ASN1_INTEGER_free(serial);
    return good;
}

int ds_piv_attest(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    const ds_piv_key *k = ds_piv_key_of(c, cmd->p1), *f9 = ds_piv_key_of(c, DS_PIV_SLOT_ATTESTATION);
    char subject[64];
    if (!k || !k->key || !f9->key)
        return DS_PIV_NO_REFERENCE;
    if (k->origin != DS_PIV_GENERATED)
        return DS_PIV_DATA;
    X509 *issuer = attestation_certificate(c);
    snprintf(subject, sizeof subject, "YubiKey PIV Attestation %x", k->slot);
    X509 *cert = issuer ? begin(subject, X509_get_subject_name(issuer), k->key) : NULL;
    unsigned char *der = NULL;
    int len =
        cert && add_facts(cert, &c->state, k) && X509_sign(cert, f9->key, EVP_sha256()) > 0 ? i2d_X509(cert, &der) : 0;
    if (len > 0)
        ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(cert);
    X509_free(issuer);
    return len > 0 ? DS_PIV_OK : DS_PIV_NO_REFERENCE;
}
