// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint's frame: structure, version, serial number, algorithms, validity, key (RFC 5280, 4.1); see lint.h.
#include "src/pki/lint.h"
#include "src/pki/cert.h"
#include "src/pki/lint_int.h"

#include <stdio.h>
#include <string.h>

enum { CERT_MAX = 65536, TIME_DIGITS = 14 };

void ds_lint_say(ds_linting *l, enum ds_lint_level level, const char *clause, const char *fmt, ...)
{
    ds_lint *out = l->out;
    out->by_level[level]++;
    if (out->count == DS_LINT_MAX)
        return;
    ds_lint_finding *f = &out->finding[out->count++];
    f->level = level;
    f->clause = clause;
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(f->text, sizeof f->text, fmt, ap) < 0)
        f->text[0] = '\0';
    va_end(ap);
}

const char *ds_lint_level_name(enum ds_lint_level level)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[level];
}

static void check_version(ds_linting *l, ds_view *tbs)
{
    ds_view tagged, number;
    if (!ds_tlv_take(tbs, DS_TLV_CONTEXT | DS_TLV_CONSTRUCTED, &tagged)) {
        ERROR("RFC 5280, 4.1.2.1", "version 1: a certificate with extensions is of version 3");
        return;
    }
    l->v3 = ds_tlv_take(&tagged, DS_TLV_INTEGER, &number) && tagged.len == 0 && number.len == 1 && number.ptr[0] == 2;
    if (!l->v3)
        ERROR("RFC 5280, 4.1.2.1", "the version is not 3");
}

static bool minimal(ds_view n)
{
    return n.len == 1 || (n.len > 1 && !(n.ptr[0] == 0 && n.ptr[1] < 0x80) && !(n.ptr[0] == 0xff && n.ptr[1] >= 0x80));
}

static bool check_serial(ds_linting *l, ds_view *tbs)
{
    ds_view n;
    if (!ds_tlv_take(tbs, DS_TLV_INTEGER, &n) || !minimal(n)) {
        ERROR("X.690, 8.3", "the serial number is no INTEGER in its shortest form");
        return false;
    }
    if (n.len > 20)
        ERROR("RFC 5280, 4.1.2.2", "the serial number has %zu octets, more than 20", n.len);
    if (n.ptr[0] & 0x80)
        ERROR("RFC 5280, 4.1.2.2", "the serial number is negative");
    else if (n.len == 1 && n.ptr[0] == 0)
        ERROR("RFC 5280, 4.1.2.2", "the serial number is zero");
    else if (n.len < 8)
        WARNING("CA/B BR, 7.1", "the serial number has %zu octets: too few to be random", n.len);
    return true;
}

static const struct signature {
    const char *oid;
    size_t len;
    const char *name;
    bool rsa, sound;
} signatures[] = {
#define SIGNATURE(oid, name, rsa, sound)       \
    {                                          \
        oid, sizeof(oid) - 1, name, rsa, sound \
    }
    SIGNATURE("\x2a\x86\x48\xce\x3d\x04\x03\x02", "ecdsa-with-SHA256", false, true),
    SIGNATURE("\x2a\x86\x48\xce\x3d\x04\x03\x03", "ecdsa-with-SHA384", false, true),
    SIGNATURE("\x2a\x86\x48\xce\x3d\x04\x03\x04", "ecdsa-with-SHA512", false, true),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", "sha256WithRSAEncryption", true, true),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", "sha384WithRSAEncryption", true, true),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", "sha512WithRSAEncryption", true, true),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02", "md2WithRSAEncryption", true, false),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "md5WithRSAEncryption", true, false),
    SIGNATURE("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "sha1WithRSAEncryption", true, false),
    SIGNATURE("\x2a\x86\x48\xce\x3d\x04\x01", "ecdsa-with-SHA1", false, false),
    SIGNATURE("\x2a\x86\x48\xce\x3d\x04\x03\x01", "ecdsa-with-SHA224", false, false),
};

static const struct signature *signature_of(ds_view oid)
{
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++)
        if (ds_oid_is(oid, signatures[i].oid, signatures[i].len))
            return &signatures[i];
    return NULL;
}

static bool is_null(ds_view parameters)
{
    return parameters.len == 2 && parameters.ptr[0] == DS_TLV_NULL && parameters.ptr[1] == 0;
}

static void check_signature_algorithm(ds_linting *l, ds_view algorithm)
{
    ds_view oid;
    if (!ds_tlv_take(&algorithm, DS_TLV_OID, &oid)) {
        ERROR("RFC 5280, 4.1.1.2", "the signature algorithm cannot be read");
        return;
    }
    const struct signature *s = signature_of(oid);
    if (!s)
        ERROR("AWS IoT, signing algorithms",
              "the signature algorithm is none of RSA or ECDSA with SHA-256, -384, -512");
    else if (!s->sound)
        ERROR("AWS IoT, signing algorithms", "%s can be forged or is not taken", s->name);
    else if (s->rsa && !is_null(algorithm))
        ERROR("RFC 4055, 5", "the parameters of %s are not NULL", s->name);
    else if (!s->rsa && algorithm.len)
        ERROR("RFC 5758, 3.2", "%s has parameters", s->name);
}

static bool digits(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

static int two(const char *p)
{
    return (p[0] - '0') * 10 + p[1] - '0';
}

static bool is_date(const char t[TIME_DIGITS])
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = two(t) * 100 + two(t + 2), month = two(t + 4), day = two(t + 6);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (month == 2 && leap) && two(t + 8) < 24 &&
           two(t + 10) < 60 && two(t + 12) < 60;
}

// A Time as YYYYMMDDHHMMSS; false where it is none.
static bool read_time(ds_linting *l, const char *what, ds_view *validity, char ret[TIME_DIGITS + 1])
{
    ds_tlv d = {0};
    bool utc = ds_tlv_next(validity, &d) && d.tag == DS_TLV_UTC_TIME;
    size_t len = utc ? 12 : TIME_DIGITS;
    if (!utc && d.tag != DS_TLV_GENERALIZED_TIME) {
        ERROR("RFC 5280, 4.1.2.5", "%s is no time", what);
        return false;
    }
    if (d.body.len != len + 1 || !digits(d.body.ptr, len) || d.body.ptr[len] != 'Z') {
        ERROR(utc ? "RFC 5280, 4.1.2.5.1" : "RFC 5280, 4.1.2.5.2", "%s is not written as %sMMDDHHMMSSZ", what,
              utc ? "YY" : "YYYY");
        return false;
    }
    memcpy(ret, utc && d.body.ptr[0] >= '5' ? "19" : "20", 2);
    memcpy(ret + (utc ? 2 : 0), d.body.ptr, len);
    ret[TIME_DIGITS] = '\0';
    if (!is_date(ret))
        ERROR("RFC 5280, 4.1.2.5", "%s is no date there is: %s", what, ret);
    if (!utc && memcmp(ret, "2050", 4) < 0)
        ERROR("RFC 5280, 4.1.2.5", "%s is before 2050 and no UTCTime", what);
    return true;
}

static void check_validity(ds_linting *l, ds_view validity)
{
    char from[TIME_DIGITS + 1], to[TIME_DIGITS + 1];
    if (!read_time(l, "notBefore", &validity, from) || !read_time(l, "notAfter", &validity, to))
        return;
    if (validity.len)
        ERROR("RFC 5280, 4.1", "the validity holds more than two times");
    if (memcmp(from, to, TIME_DIGITS) > 0)
        ERROR("RFC 5280, 4.1.2.5", "notAfter is before notBefore");
    l->no_expiry = strcmp(to, "99991231235959") == 0;
}

static void check_rsa(ds_linting *l, ds_view parameters, ds_view key)
{
    ds_view numbers, n, exponent;
    if (!is_null(parameters))
        ERROR("RFC 3279, 2.3.1", "the parameters of rsaEncryption are not NULL");
    if (!ds_tlv_take(&key, DS_TLV_SEQUENCE, &numbers) || key.len || !ds_tlv_take(&numbers, DS_TLV_INTEGER, &n) ||
        !ds_tlv_take(&numbers, DS_TLV_INTEGER, &exponent) || numbers.len || !minimal(n) || !minimal(exponent) ||
        n.ptr[0] & 0x80 || n.len < 2) {
        ERROR("RFC 8017, A.1.1", "the RSA public key cannot be read");
        return;
    }
    size_t bits = 8 * (n.len - 1);
    for (uint8_t top = n.ptr[0]; top; top >>= 1)
        bits++;
    if (bits < 2048)
        ERROR("AWS IoT, key types", "an RSA key of %zu bits, fewer than 2048", bits);
    if (!(n.ptr[n.len - 1] & 1))
        ERROR("RFC 8017, 3.1", "the RSA modulus is even");
    if (!OID_IS(exponent, "\x01\x00\x01"))
        ERROR("FIPS 186-5, 5.4", "the RSA public exponent is not 65537");
}

static void check_elliptic(ds_linting *l, ds_view parameters, ds_view key)
{
    ds_view curve;
    size_t size = 0;
    l->elliptic = true;
    if (!ds_tlv_take(&parameters, DS_TLV_OID, &curve) || parameters.len) {
        ERROR("RFC 5480, 2.1.1", "the curve is not named");
        return;
    }
    if (OID_IS(curve, "\x2a\x86\x48\xce\x3d\x03\x01\x07"))
        size = 32;
    else if (OID_IS(curve, "\x2b\x81\x04\x00\x22"))
        size = 48;
    else if (OID_IS(curve, "\x2b\x81\x04\x00\x23"))
        size = 66;
    if (size == 0)
        ERROR("AWS IoT, key types", "the curve is none of P-256, P-384, P-521");
    else if (key.len != 1 + 2 * size || key.ptr[0] != 4)
        ERROR("RFC 5480, 2.2", "the point is not in the uncompressed form of its curve");
}

static void check_key(ds_linting *l, ds_view spki)
{
    ds_view algorithm, oid, key;
    if (!ds_tlv_take(&spki, DS_TLV_SEQUENCE, &algorithm) || !ds_tlv_take(&algorithm, DS_TLV_OID, &oid) ||
        !ds_tlv_take(&spki, DS_TLV_BIT_STRING, &key) || spki.len || key.len < 2 || key.ptr[0] != 0) {
        ERROR("RFC 5280, 4.1.2.7", "the public key cannot be read");
        return;
    }
    key = (ds_view){key.ptr + 1, key.len - 1};
    if (OID_IS(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"))
        check_rsa(l, algorithm, key);
    else if (OID_IS(oid, "\x2a\x86\x48\xce\x3d\x02\x01"))
        check_elliptic(l, algorithm, key);
    else
        ERROR("AWS IoT, key types", "the public key is neither RSA nor on a named elliptic curve");
}

// Behind the key: unique identifiers, extensions.
static void check_rest(ds_linting *l, ds_view tbs)
{
    ds_view body, list;
    bool issuer_id = ds_tlv_take(&tbs, DS_TLV_CONTEXT | 1, &body);
    bool subject_id = ds_tlv_take(&tbs, DS_TLV_CONTEXT | 2, &body);
    if (issuer_id || subject_id)
        ERROR("RFC 5280, 4.1.2.8", "unique identifiers are not to be used");
    l->has_extensions = ds_tlv_take(&tbs, DS_TLV_CONTEXT | DS_TLV_CONSTRUCTED | 3, &body);
    if (tbs.len)
        ERROR("RFC 5280, 4.1", "something follows where the certificate's fields end");
    if (!l->has_extensions)
        return;
    if (!ds_tlv_take(&body, DS_TLV_SEQUENCE, &list) || body.len || list.len == 0)
        ERROR("RFC 5280, 4.1.2.9", "the extensions are no list, or an empty one");
    else
        ds_lint_extensions(l, list);
}

static void check_tbs(ds_linting *l, ds_view tbs, ds_view outer)
{
    ds_view algorithm, issuer, validity, subject, spki;
    check_version(l, &tbs);
    if (!check_serial(l, &tbs))
        return;
    if (!ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &algorithm) || !ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &issuer) ||
        !ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &validity) || !ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &subject) ||
        !ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &spki)) {
        ERROR("RFC 5280, 4.1", "the certificate has not the fields of one");
        return;
    }
    if (!ds_view_equal(algorithm, outer))
        ERROR("RFC 5280, 4.1.1.2", "the two signature algorithm identifiers differ");
    check_signature_algorithm(l, algorithm);
    if (issuer.len == 0)
        ERROR("RFC 5280, 4.1.2.4", "the issuer's name is empty");
    ds_lint_name(l, "issuer", issuer, NULL);
    check_validity(l, validity);
    l->subject_empty = subject.len == 0;
    l->self_issued = ds_view_equal(issuer, subject);
    ds_lint_name(l, "subject", subject, &l->subject_serial);
    check_key(l, spki);
    check_rest(l, tbs);
    ds_lint_role(l);
}

void ds_lint_certificate(ds_view der, ds_lint *ret)
{
    ds_linting linting = {.out = ret}, *l = &linting;
    ds_view cert, tbs, algorithm, signature;
    ret->count = 0;
    memset(ret->by_level, 0, sizeof ret->by_level);
    if (der.len > CERT_MAX || !ds_tlv_whole(der) || !ds_tlv_take(&der, DS_TLV_SEQUENCE, &cert)) {
        ERROR("X.690, 10", "this is not DER");
        return;
    }
    if (der.len)
        ERROR("RFC 5280, 4.1", "%zu bytes follow the certificate", der.len);
    if (!ds_tlv_take(&cert, DS_TLV_SEQUENCE, &tbs) || !ds_tlv_take(&cert, DS_TLV_SEQUENCE, &algorithm) ||
        !ds_tlv_take(&cert, DS_TLV_BIT_STRING, &signature) || cert.len) {
        ERROR("RFC 5280, 4.1", "this is no certificate: it is not made of three parts");
        return;
    }
    if (signature.len < 2 || signature.ptr[0] != 0)
        ERROR("RFC 5280, 4.1.1.3", "the signature is no string of whole octets");
    check_tbs(l, tbs, algorithm);
}

static void lint_tbs(ds_view tbs, ds_lint *ret)
{
    ds_linting linting = {.out = ret}, *l = &linting;
    ds_view fields, skip = {0}, algorithm = {0};
    ds_tlv version;
    ret->count = 0;
    memset(ret->by_level, 0, sizeof ret->by_level);
    if (tbs.len > CERT_MAX || !ds_tlv_whole(tbs) || !ds_tlv_take(&tbs, DS_TLV_SEQUENCE, &fields) || tbs.len) {
        ERROR("X.690, 10", "this is not DER");
        return;
    }
    ds_view rest = fields; // the identifier outside is the one inside, by whoever signs
    if (ds_tlv_next(&rest, &version) && ds_tlv_take(&rest, DS_TLV_INTEGER, &skip))
        (void)ds_tlv_take(&rest, DS_TLV_SEQUENCE, &algorithm);
    check_tbs(l, fields, algorithm);
}

static enum ds_class demand(const ds_lint *lint, ds_err *e)
{
    for (size_t i = 0; i < lint->count; i++)
        if (lint->finding[i].level == DS_LINT_ERROR)
            return ds_hint((ds_fail(e, DS_POLICY, "the certificate would break a rule: %s (%s)", lint->finding[i].text,
                                    lint->finding[i].clause),
                            e),
                           "it was not handed out; correct what it is made from");
    return lint->by_level[DS_LINT_ERROR] ? ds_fail(e, DS_POLICY, "the certificate would break many rules") : DS_OK;
}

enum ds_class ds_lint_demand_tbs(ds_view tbs, ds_err *e)
{
    ds_lint lint;
    lint_tbs(tbs, &lint);
    return demand(&lint, e);
}

enum ds_class ds_lint_demand(X509 *cert, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_lint lint;
    enum ds_class rc = ds_cert_der(cert, &der, e);
    if (rc)
        return rc;
    ds_lint_certificate(ds_buf_view(&der), &lint);
    return demand(&lint, e);
}
