// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a recipe says of stamp and certificate, checked before any device is touched: a mistake here would be locked
// into every device of a day. The rules are those of the parties that read it later: the agent (names, sizes), the
// ledger (serial numbers), the endpoint (CN is the serial number).
#include "src/station/recipe_check.h"

#include "proto/stamp.pb-c.h"
#include "src/pki/dn.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// 12 signs of 31 are 59 bits: docs/decisions/0005-owner-handshake.md.
enum { MAX_DAYS = 36500, MAX_ENDPOINT = 255, MIN_POP = 12, MAX_POP = 63 };

static enum ds_class bad(const ds_recipe *r, ds_err *e, const char *what)
{
    return ds_fail(e, DS_INPUT, "%s: %s", r->path, what);
}

static bool all_of(const char *text, size_t len, const char *others)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i]))
            return false;
    return len > 0;
}

// mqtts://host:port, host a name, an IPv4 address or an IPv6 address in brackets.
static bool endpoint_ok(const char *endpoint)
{
    static const char scheme[] = "mqtts://";
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0 || strlen(endpoint) > MAX_ENDPOINT)
        return false;
    const char *host = endpoint + sizeof scheme - 1, *colon = strrchr(host, ':');
    if (!colon || !isdigit((unsigned char)colon[1]))
        return false;
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t len = (size_t)(colon - host);
    bool bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    return *end == '\0' && port >= 1 && port <= 65535 &&
           (bracketed ? all_of(host + 1, len - 2, ":.") : all_of(host, len, ".-"));
}

// At least one certificate, every one a CA's.
static bool is_ca_bundle(const ds_buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->ptr, (int)pem->len);
    bool ok = bio != NULL;
    unsigned count = 0;
    for (X509 *c = NULL; ok && (c = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL; count++) {
        ok = X509_check_ca(c) > 0;
        X509_free(c);
    }
    ERR_clear_error();
    BIO_free(bio);
    return ok && count > 0 && !memchr(pem->ptr, '\0', pem->len);
}

static enum ds_class check_endpoint(const ds_recipe *r, ds_err *e)
{
    if (!endpoint_ok(r->endpoint))
        return bad(r, e, "stamp.endpoint: must be mqtts://host:port");
    if (!r->endpoint_ca.len)
        return ds_hint((bad(r, e, "stamp.endpoint_ca: missing"), e),
                       "the app must be able to tell the endpoint from an impostor");
    if (!is_ca_bundle(&r->endpoint_ca))
        return bad(r, e, "stamp.endpoint_ca: holds no CA certificate in PEM, or something that is none");
    return DS_OK;
}

// {mac}, {counter} or {counter:N} in letters, digits and -._: (what the ledger accepts and every endpoint can carry).
static enum ds_class check_serial_format(const ds_recipe *r, ds_err *e)
{
    const char *p = r->serial_format;
    unsigned placeholders = 0;
    if (strcmp(p, "{list}") == 0) // serial numbers that were made elsewhere (docs/manifest.md)
        return DS_OK;
    while (*p) {
        unsigned digits = 0;
        int used = 0;
        if (*p != '{') {
            if (!all_of(p, 1, "-._:"))
                return bad(r, e, "stamp.serial: letters, digits and -._: only, besides {mac} and {counter}");
            p++;
            continue;
        }
        if (strncmp(p, "{mac}", 5) == 0)
            used = 5;
        else if (strncmp(p, "{counter}", 9) == 0)
            used = 9;
        else if (sscanf(p, "{counter:%2u}%n", &digits, &used) != 1 || digits < 1 || digits > 18)
            used = 0;
        if (used == 0)
            return bad(r, e, "stamp.serial: unknown placeholder; {mac}, {counter} and {counter:digits} are known");
        placeholders++;
        p += used;
    }
    if (!placeholders)
        return bad(r, e, "stamp.serial: every device would have the same; use {mac} or {counter}");
    return DS_OK;
}

static bool number_in(const char *text, int type)
{
    static const struct {
        int type;
        long long min;
        unsigned long long max;
    } ranges[] = {
        {DEVSTAMP__VALUE_TYPE__VALUE_U8, 0, UINT8_MAX},          {DEVSTAMP__VALUE_TYPE__VALUE_U16, 0, UINT16_MAX},
        {DEVSTAMP__VALUE_TYPE__VALUE_U32, 0, UINT32_MAX},        {DEVSTAMP__VALUE_TYPE__VALUE_U64, 0, UINT64_MAX},
        {DEVSTAMP__VALUE_TYPE__VALUE_I32, INT32_MIN, INT32_MAX},
    };
    char *end = NULL;
    errno = 0;
    bool negative = text[0] == '-';
    if (!isdigit((unsigned char)text[negative]))
        return false;
    long long low = negative ? strtoll(text, &end, 0) : 0;
    unsigned long long high = negative ? 0 : strtoull(text, &end, 0);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].type == type)
            return errno == 0 && *end == '\0' && (negative ? low >= ranges[i].min : high <= ranges[i].max);
    return false;
}

static bool value_ok(const ds_recipe_value *v)
{
    if (v->type == DEVSTAMP__VALUE_TYPE__VALUE_STRING)
        return true;
    if (v->type != DEVSTAMP__VALUE_TYPE__VALUE_BLOB)
        return number_in(v->value, v->type);
    size_t len = strlen(v->value);
    DS_CLEANUP_FREE uint8_t *raw = ds_alloc(len / 2 + 1);
    return len > 0 && len % 2 == 0 && ds_unhex(v->value, raw, len / 2);
}

static bool name_ok(const char *name)
{
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return name[0] != '\0' && strlen(name) <= 15;
}

static enum ds_class check_value(const ds_recipe *r, unsigned i, ds_err *e)
{
    const ds_recipe_value *v = &r->values[i];
    const char *what = NULL;
    if (!name_ok(v->name_space) || !name_ok(v->key))
        what = "names are 1 to 15 printable characters without spaces";
    else if (strcmp(v->name_space, "stamp") == 0)
        what = "the namespace 'stamp' is devstamp's own";
    else if (!value_ok(v))
        what = "the value is not of its type, or out of its range";
    for (unsigned k = 0; k < i && !what; k++)
        if (strcmp(r->values[k].name_space, v->name_space) == 0 && strcmp(r->values[k].key, v->key) == 0)
            what = "is there twice";
    if (what)
        return ds_fail(e, DS_INPUT, "%s: stamp.values: %s/%s: %s", r->path, v->name_space, v->key, what);
    return DS_OK;
}

// The subject of a sample device: it must parse, and its CN must be the serial number, by which the endpoint knows it.
static enum ds_class check_subject(const ds_recipe *r, ds_err *e)
{
    static const char sample[] = "SAMPLE-1";
    char text[256], cn[64] = "";
    const uint8_t mac[6] = {0};
    X509_NAME *name = NULL;
    if (ds_recipe_subject(r, sample, mac, text, e))
        return e->cls;
    if (ds_dn_parse(text, &name, e))
        return ds_wrap(e, "%s: certificate.subject", r->path);
    (void)X509_NAME_get_text_by_NID(name, NID_commonName, cn, sizeof cn);
    X509_NAME_free(name);
    if (strcmp(cn, sample) != 0)
        return bad(r, e, "certificate.subject: must have CN={serial}: the endpoint knows a device by it");
    return DS_OK;
}

enum ds_class ds_recipe_check_stamp(const ds_recipe *r, ds_err *e)
{
    for (const char *p = r->product; *p; p++)
        if (*p <= ' ' || *p > '~')
            return bad(r, e, "product: printable characters without spaces only");
    if (check_endpoint(r, e) || check_serial_format(r, e) || check_subject(r, e))
        return e->cls;
    if (r->certificate_days > MAX_DAYS)
        return bad(r, e, "certificate.days: must be at most 36500, or 0 for no expiry");
    if (r->pop_length < MIN_POP || r->pop_length > MAX_POP)
        return ds_hint((bad(r, e, "stamp.pop_length: must be 12 to 63"), e),
                       "who pretends to be a device can try shorter secrets without it; 16 is the default");
    for (unsigned i = 0; i < r->value_count; i++)
        if (check_value(r, i, e))
            return e->cls;
    return DS_OK;
}
