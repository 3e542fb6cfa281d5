// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Is a certificate the one that was reserved? Serial number (RFC 5280 4.1.2.2) and SubjectPublicKeyInfo (4.1.2.7) are
// compared; whether it is well made and by whom is the signer's and src/pki's duty.
#include "src/ledger/internal.h"

#include <openssl/x509.h>
#include <string.h>

static bool serial_is(const X509 *x, const uint8_t serial[16])
{
    uint8_t got[16];
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    bool same = n && !BN_is_negative(n) && BN_bn2binpad(n, got, sizeof got) == (int)sizeof got &&
                memcmp(got, serial, sizeof got) == 0;
    BN_free(n);
    return same;
}

static bool key_is(const X509 *x, const uint8_t key_digest[32])
{
    unsigned char *spki = NULL;
    uint8_t digest[32];
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &spki);
    if (len <= 0)
        return false;
    ds_sha256(spki, (size_t)len, digest);
    OPENSSL_free(spki);
    return memcmp(digest, key_digest, sizeof digest) == 0;
}

// serial NULL: it may have any.
static enum ds_class match(ds_view der, const uint8_t *serial, const uint8_t key_digest[32], ds_err *e)
{
    const unsigned char *p = der.ptr;
    X509 *x = der.len ? d2i_X509(NULL, &p, (long)der.len) : NULL;
    enum ds_class rc = DS_OK;
    if (!x || p != der.ptr + der.len)
        rc = ds_fail(e, DS_INPUT, "not one X.509 certificate");
    else if (serial && !serial_is(x, serial))
        rc = ds_fail(e, DS_POLICY, "the certificate does not carry the reserved serial number");
    else if (!key_is(x, key_digest))
        rc = ds_fail(e, DS_POLICY, "the certificate is not for the reserved public key");
    X509_free(x);
    return rc;
}

enum ds_class ds_ledger_match(ds_view der, const uint8_t serial[16], const uint8_t key_digest[32], ds_err *e)
{
    return match(der, serial, key_digest, e);
}

enum ds_class ds_ledger_match_key(ds_view der, const uint8_t key_digest[32], ds_err *e)
{
    return match(der, NULL, key_digest, e);
}
