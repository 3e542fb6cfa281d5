// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who a certificate admits: checked here from its bytes, because a TLS library trusts more than we do (a CA taken out
// of its folder stays trusted until a restart; any CA in its file may issue for any). Source: RFC 5280 4.1, 4.2, 6.1.
#include "src/cloud/internal.h"

#include <ctype.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

enum { STRENGTH = 112 }; // bits, NIST SP 800-57: RSA-2048, P-256, SHA-256 and above

// X509_cmp_time: -1 earlier or equal, 1 later, 0 malformed.
static enum ds_class check_time(const X509 *x, int64_t now_utc, const char *whose, ds_err *e)
{
    time_t now = (time_t)now_utc;
    int before = X509_cmp_time(X509_get0_notBefore(x), &now), after = X509_cmp_time(X509_get0_notAfter(x), &now);
    if (before == 0 || after == 0)
        return ds_fail(e, DS_POLICY, "%s has a malformed validity time", whose);
    if (before > 0)
        return ds_fail(e, DS_POLICY, "%s is not valid yet", whose);
    if (after < 0)
        return ds_fail(e, DS_POLICY, "%s has expired", whose);
    return DS_OK;
}

static enum ds_class check_strength(X509 *x, const char *whose, ds_err *e)
{
    int bits = 0;
    EVP_PKEY *key = X509_get0_pubkey(x);
    if (!key || EVP_PKEY_get_security_bits(key) < STRENGTH)
        return ds_fail(e, DS_POLICY, "%s has a weak or unknown public key", whose);
    if (!X509_get_signature_info(x, NULL, NULL, &bits, NULL) || bits < STRENGTH)
        return ds_fail(e, DS_POLICY, "%s is signed with a weak or unknown algorithm", whose);
    return DS_OK;
}

static enum ds_class check_extensions(X509 *x, const char *whose, ds_err *e)
{
    X509_check_purpose(x, -1, 0); // parses the extensions once
    if (X509_get_version(x) != X509_VERSION_3)
        return ds_fail(e, DS_POLICY, "%s is not of version 3", whose);
    if (X509_get_extension_flags(x) & EXFLAG_INVALID)
        return ds_fail(e, DS_POLICY, "%s has malformed extensions", whose);
    if (X509_get_extension_flags(x) & EXFLAG_CRITICAL)
        return ds_fail(e, DS_POLICY, "%s has an unknown critical extension", whose);
    return DS_OK;
}

enum ds_class ds_admission_profile(X509 *leaf, int64_t now_utc, ds_err *e)
{
    static const char whose[] = "the certificate";
    enum ds_class rc = check_extensions(leaf, whose, e);
    if (!rc)
        rc = check_time(leaf, now_utc, whose, e);
    if (!rc)
        rc = check_strength(leaf, whose, e);
    if (rc)
        return rc;
    uint32_t flags = X509_get_extension_flags(leaf);
    if ((flags & EXFLAG_CA) || X509_check_ca(leaf) != 0) // the latter says no for a CA whose key usage forbids signing
        return ds_fail(e, DS_POLICY, "%s is a CA's", whose);
    if (flags & EXFLAG_SS)
        return ds_fail(e, DS_POLICY, "%s is self-signed", whose);
    if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(leaf) & XKU_SSL_CLIENT))
        return ds_fail(e, DS_POLICY, "%s is not for client authentication", whose);
    if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
        return ds_fail(e, DS_POLICY, "the key of %s may not sign", whose);
    return DS_OK;
}

bool ds_admission_fits_a_topic(const unsigned char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!(text[i] < 0x80 && (isalnum(text[i]) || strchr("-._:", text[i]))) || text[i] == '\0')
            return false;
    return len > 0;
}

enum ds_class ds_admission_name(const X509 *leaf, char ret[65], ds_err *e)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return ds_fail(e, DS_POLICY, "the certificate has no or more than one common name");
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool good = len > 0 && len <= 64 && ds_admission_fits_a_topic(text, (size_t)len);
    if (good) {
        memcpy(ret, text, (size_t)len);
        ret[len] = '\0';
    }
    OPENSSL_free(text);
    return good
               ? DS_OK
               : ds_fail(e, DS_POLICY, "the common name is not 1 to 64 letters, digits and -._: and so no topic level");
}

enum ds_class ds_admission_ca(X509 *ca, ds_err *e)
{
    static const char whose[] = "the CA's certificate";
    enum ds_class rc = check_extensions(ca, whose, e);
    if (!rc)
        rc = check_strength(ca, whose, e);
    if (rc)
        return rc;
    uint32_t flags = X509_get_extension_flags(ca);
    if (X509_check_ca(ca) != 1)
        return ds_fail(e, DS_POLICY, "the certificate is not a CA's");
    if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(ca) & KU_KEY_CERT_SIGN))
        return ds_fail(e, DS_POLICY, "the key of %s may not sign certificates", whose);
    return DS_OK;
}

bool ds_admission_names(X509 *leaf, X509 *ca)
{
    return X509_check_issued(ca, leaf) == X509_V_OK;
}

enum ds_class ds_admission_issuer(X509 *leaf, X509 *ca, ds_err *e)
{
    if (!ds_admission_names(leaf, ca))
        return ds_fail(e, DS_POLICY, "another CA issued the certificate");
    if (X509_verify(leaf, X509_get0_pubkey(ca)) != 1)
        return ds_fail(e, DS_POLICY, "the CA of this name did not sign the certificate");
    return DS_OK;
}

enum ds_class ds_admission_ca_at(X509 *ca, int64_t now_utc, ds_err *e)
{
    enum ds_class rc = ds_admission_ca(ca, e);
    return rc ? rc : check_time(ca, now_utc, "the CA's certificate", e);
}
