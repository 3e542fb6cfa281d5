// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A stamp's file: a line that names the format, then a PoolStamp of proto/signer.proto. What is read comes from
// outside.
#include "src/station/pool.h"

#include "proto/signer.pb-c.h"
#include "src/pki/cert.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static const char magic[] = "devstamp pool stamp 2\n", any_magic[] = "devstamp pool stamp ";

void ds_pool_stamp_free(ds_pool_stamp *s)
{
    ds_buf_free(&s->certificate);
    ds_buf_free(&s->issuer);
    ds_buf_free(&s->key.sealed);
}

static ProtobufCBinaryData binary(const ds_buf *b)
{
    return (ProtobufCBinaryData){b->len, b->ptr};
}

enum ds_class ds_pool_encode(const ds_pool_stamp *s, ds_buf *ret, ds_err *e)
{
    ds_pool_stamp copy = *s; // protobuf-c wants it writable and only reads
    Devstamp__Signer__PoolStamp m = DEVSTAMP__SIGNER__POOL_STAMP__INIT;
    if (!s->serial[0] || !s->certificate.len || !s->issuer.len || !s->key.sealed.len)
        return ds_fail(e, DS_INTERNAL, "a stamp is not whole");
    m.recipe = copy.recipe;
    m.device_serial = copy.serial;
    m.key_type = (uint32_t)s->key_type;
    m.certificate = binary(&s->certificate);
    m.issuer = binary(&s->issuer);
    m.encapsulated = (ProtobufCBinaryData){sizeof copy.key.encapsulated, copy.key.encapsulated};
    m.sealed = binary(&s->key.sealed);
    ds_buf_add(ret, magic, sizeof magic - 1);
    size_t at = ret->len;
    ds_buf_resize(ret, at + devstamp__signer__pool_stamp__get_packed_size(&m), 0);
    devstamp__signer__pool_stamp__pack(&m, ret->ptr + at);
    return DS_OK;
}

// The certificate is of this key type, by that issuer, and says whose key it is.
static enum ds_class check(const Devstamp__Signer__PoolStamp *m, uint8_t ret_digest[32], ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    DS_CLEANUP_X509 X509 *issuer = NULL;
    ds_cert_info info;
    enum ds_class rc = ds_cert_parse((ds_view){m->certificate.data, m->certificate.len}, &cert, e);
    if (!rc)
        rc = ds_cert_parse((ds_view){m->issuer.data, m->issuer.len}, &issuer, e);
    if (!rc)
        rc = ds_cert_describe(cert, &info, e);
    if (rc)
        return rc;
    if (X509_check_issued(issuer, cert) != X509_V_OK || X509_verify(cert, X509_get0_pubkey(issuer)) != 1)
        return ds_ossl_fail(e, DS_INPUT, "its certificate is not by the issuer that it names");
    if (info.ca || (uint32_t)info.key_type != m->key_type)
        return ds_fail(e, DS_INPUT, "its certificate is none of a device, or of another type of key");
    memcpy(ret_digest, info.public_key_digest, 32);
    return DS_OK;
}

static enum ds_class take(const Devstamp__Signer__PoolStamp *m, ds_pool_stamp *ret, ds_err *e)
{
    *ret = (ds_pool_stamp){.key_type = (int)m->key_type};
    if (!m->recipe[0] || strlen(m->recipe) >= sizeof ret->recipe || !m->device_serial[0] ||
        strlen(m->device_serial) >= sizeof ret->serial || m->encapsulated.len != sizeof ret->key.encapsulated ||
        !m->sealed.len)
        return ds_fail(e, DS_INPUT, "the stamp is damaged");
    if (check(m, ret->key.public_key_digest, e))
        return e ? e->cls : DS_INPUT;
    snprintf(ret->recipe, sizeof ret->recipe, "%s", m->recipe);
    snprintf(ret->serial, sizeof ret->serial, "%s", m->device_serial);
    memcpy(ret->key.encapsulated, m->encapsulated.data, sizeof ret->key.encapsulated);
    ds_buf_add(&ret->key.sealed, m->sealed.data, m->sealed.len);
    ds_buf_add(&ret->certificate, m->certificate.data, m->certificate.len);
    ds_buf_add(&ret->issuer, m->issuer.data, m->issuer.len);
    return DS_OK;
}

enum ds_class ds_pool_decode(ds_view bytes, ds_pool_stamp *ret, ds_err *e)
{
    size_t head = sizeof magic - 1;
    if (bytes.len < head || memcmp(bytes.ptr, magic, head) != 0) {
        bool other = bytes.len > sizeof any_magic - 1 && memcmp(bytes.ptr, any_magic, sizeof any_magic - 1) == 0;
        return ds_fail(e, DS_INPUT, other ? "it is a stamp of another version of devstamp" : "it is no stamp");
    }
    Devstamp__Signer__PoolStamp *m = devstamp__signer__pool_stamp__unpack(NULL, bytes.len - head, bytes.ptr + head);
    if (!m)
        return ds_fail(e, DS_INPUT, "the stamp is damaged");
    enum ds_class rc = take(m, ret, e);
    devstamp__signer__pool_stamp__free_unpacked(m, NULL);
    return rc;
}
