// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The entries of device manifests and lists of serial numbers: canonical JSON, one line each; see manifest.h.
#include "src/cloud/manifest.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum { CERTIFICATE_MAX = 65536 };

void ds_listed_free(ds_listed *d)
{
    ds_buf_free(&d->certificate);
}

static enum ds_class dump(json_t *o, ds_buf *ret, ds_err *e)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    if (!text)
        return ds_fail(e, DS_INPUT, "a text of the device is not UTF-8");
    ds_buf_add(ret, text, strlen(text));
    free(text);
    return DS_OK;
}

static json_t *base64(ds_view der)
{
    DS_CLEANUP_FREE char *text = ds_alloc(der.len / 3 * 4 + 5);
    EVP_EncodeBlock((unsigned char *)text, der.ptr, (int)der.len);
    return json_string(text);
}

enum ds_class ds_listed_write(const ds_ledger_entry *x, ds_buf *ret, ds_err *e)
{
    char hex[65];
    ds_hex(x->fingerprint, 32, hex);
    if (!x->serial[0])
        return ds_fail(e, DS_INPUT, "the device with certificate %s has no serial number", hex);
    if (x->certificate.len == 0 || x->certificate.len > CERTIFICATE_MAX)
        return ds_fail(e, DS_INPUT, "the certificate of %s has %zu bytes", x->serial, x->certificate.len);
    return dump(json_pack("{s:o,s:s,s:s,s:s}", "certificate", base64(x->certificate), "fingerprint", hex, "product",
                          x->product, "serial", x->serial),
                ret, e);
}

static bool take_text(const json_t *o, const char *key, char *ret, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, key));
    size_t len = s ? strlen(s) : cap;
    if (len >= cap)
        return false;
    memcpy(ret, s, len + 1);
    return true;
}

// Whether it is the one spelling is decided when the entry is written again.
static bool take_base64(const json_t *o, const char *key, ds_buf *ret)
{
    const json_t *s = json_object_get(o, key);
    size_t len = json_string_length(s);
    const char *text = json_string_value(s);
    if (!text || len == 0 || len % 4 || len > CERTIFICATE_MAX / 3 * 4 + 4)
        return false;
    ds_buf_resize(ret, len / 4 * 3, 0);
    int n = EVP_DecodeBlock(ret->ptr, (const unsigned char *)text, (int)len);
    if (n < 0)
        return false;
    ret->len = (size_t)n - (text[len - 1] == '=') - (text[len - 2] == '=');
    return ret->len > 0;
}

static bool take_entry(const json_t *o, ds_listed *d)
{
    char hex[65];
    uint8_t digest[32];
    if (json_object_size(o) != 4 || !take_text(o, "serial", d->serial, sizeof d->serial) || !d->serial[0] ||
        !take_text(o, "product", d->product, sizeof d->product) || !take_text(o, "fingerprint", hex, sizeof hex) ||
        !ds_unhex(hex, d->fingerprint, 32) || !take_base64(o, "certificate", &d->certificate))
        return false;
    SHA256(d->certificate.ptr, d->certificate.len, digest);
    return memcmp(digest, d->fingerprint, 32) == 0;
}

static bool same(const ds_buf *again, ds_view entry)
{
    return again->len == entry.len && memcmp(again->ptr, entry.ptr, entry.len) == 0;
}

enum ds_class ds_listed_parse(ds_view entry, ds_listed *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_listed d = {.serial = ""};
    json_error_t why;
    json_t *o = json_loadb((const char *)entry.ptr, entry.len, JSON_REJECT_DUPLICATES, &why);
    bool good = take_entry(o, &d);
    json_decref(o);
    if (good) {
        ds_ledger_entry x = {.certificate = ds_buf_view(&d.certificate)};
        memcpy(x.serial, d.serial, sizeof x.serial);
        memcpy(x.product, d.product, sizeof x.product);
        memcpy(x.fingerprint, d.fingerprint, sizeof x.fingerprint);
        good = !ds_listed_write(&x, &again, NULL) && same(&again, entry);
    }
    if (!good) {
        ds_listed_free(&d);
        return ds_fail(e, DS_INPUT, "an entry is no device, or not in its one spelling");
    }
    *ret = d;
    return DS_OK;
}

enum ds_class ds_listed_serial_write(const char *serial, ds_buf *ret, ds_err *e)
{
    return dump(json_pack("{s:s}", "serial", serial), ret, e);
}

enum ds_class ds_listed_serial_parse(ds_view entry, char ret[64], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    json_error_t why;
    char serial[64] = "";
    json_t *o = json_loadb((const char *)entry.ptr, entry.len, JSON_REJECT_DUPLICATES, &why);
    bool good = json_object_size(o) == 1 && take_text(o, "serial", serial, sizeof serial) && serial[0];
    json_decref(o);
    good = good && !ds_listed_serial_write(serial, &again, NULL) && same(&again, entry);
    if (!good)
        return ds_fail(e, DS_INPUT, "an entry is no serial number, or not in its one spelling");
    memcpy(ret, serial, sizeof serial);
    return DS_OK;
}
