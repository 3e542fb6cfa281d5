// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// EST's answers; see est.h.
#include "src/signer/est.h"
#include "src/signer/est_answer.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/pki/cert.h"
#include "src/pki/csr.h"

#include <ctype.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <string.h>

#define ROOT "/.well-known/est/"

enum { NAME_CAP = 64, MAC_LEN = 12, BACKDATED = 3600, DAY = 86400 };

// What a pattern has where the text of it is known.
typedef struct found {
    char serial[NAME_CAP], mac[MAC_LEN + 1];
} found;

static bool is_plain(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("-._:", c));
}

// Take what stands at text for a placeholder; a second one of the same must be the same. 0: it does not fit.
static size_t capture(const char *text, size_t max, char *held)
{
    char seen[NAME_CAP] = "";
    size_t n = 0;
    while (n < max && is_plain(text[n])) {
        seen[n] = text[n];
        n++;
    }
    if (held[0] && strcmp(held, seen) != 0)
        return 0;
    memcpy(held, seen, n + 1);
    return n;
}

// Does text have the pattern's form, with {serial}, {mac} and {product}? What two placeholders side by side stand for
// is not guessed.
static bool match(const char *pattern, const char *text, const char *product, found *f)
{
    while (*pattern) {
        size_t used = 0;
        if (strncmp(pattern, "{serial}", 8) == 0) {
            used = capture(text, NAME_CAP - 1, f->serial);
            pattern += 8;
        } else if (strncmp(pattern, "{mac}", 5) == 0) {
            used = capture(text, MAC_LEN, f->mac);
            pattern += 5;
        } else if (strncmp(pattern, "{product}", 9) == 0) {
            used = strncmp(text, product, strlen(product)) == 0 ? strlen(product) : 0;
            pattern += 9;
        } else {
            used = *pattern != '{' && *pattern == *text;
            pattern++;
        }
        if (!used)
            return false;
        text += used;
    }
    return !*text;
}

// The device that the request's subject names by the recipe's pattern; its address perhaps by its serial number.
static bool find_device(const ds_signer_profile *p, const char *subject, found *ret)
{
    *ret = (found){.serial = ""};
    if (!match(p->subject, subject, p->recipe, ret) || !ret->serial[0])
        return false;
    found by_serial = {.serial = ""};
    if (!ret->mac[0] && match(p->serial_format, ret->serial, p->recipe, &by_serial))
        memcpy(ret->mac, by_serial.mac, sizeof ret->mac);
    for (char *c = ret->mac; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (!ret->mac[0]) // the recipe does without
        snprintf(ret->mac, sizeof ret->mac, "%012d", 0);
    return strlen(ret->mac) == MAC_LEN;
}

static enum ds_class find_profile(const ds_front_case *c, const char *recipe, const ds_csr_info *csr,
                                  const ds_signer_profile **ret, found *ret_device, ds_err *e)
{
    bool named = false, fits = false; // the product may be built on several chips, each with its kind of key
    for (size_t i = 0; i < c->config->profile_count; i++) {
        const ds_signer_profile *p = &c->config->profiles[i];
        if (strcmp(p->recipe, recipe) != 0)
            continue;
        named = true;
        *ret = p;
        bool subject = find_device(p, csr->subject, ret_device);
        if (subject && p->key_type == csr->key_type)
            return DS_OK;
        fits = fits || subject;
    }
    if (!named)
        return ds_fail(e, DS_POLICY, "the signer knows no recipe %.63s", recipe);
    if (!fits)
        return ds_fail(e, DS_POLICY, "the request's subject \"%s\" is not what recipe %s names", csr->subject, recipe);
    const ds_key_kind *kind = ds_key_kind_of((enum ds_key_type)csr->key_type);
    return ds_fail(e, DS_POLICY, "the request's key (%s) is not of the type that recipe %s names",
                   kind ? kind->label : "of no known type", recipe);
}

static enum ds_class make_serial(const char *recipe, const uint8_t key_digest[32], uint8_t ret[16], ds_err *e)
{
    static const char what[] = "devstamp est 1";
    DS_CLEANUP_BUF ds_buf text = {0};
    uint8_t digest[32];
    ds_buf_add(&text, what, sizeof what);
    ds_buf_add(&text, recipe, strlen(recipe) + 1);
    ds_buf_add(&text, key_digest, 32);
    if (EVP_Digest(text.ptr, text.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "SHA-256");
    memcpy(ret, digest, 16);
    return DS_OK;
}

static enum ds_class enroll(const ds_front_case *c, const char *recipe, ds_view csr, ds_buf *ret, ds_err *e)
{
    ds_csr_info info;
    const ds_signer_profile *p = NULL;
    found device;
    uint8_t serial[16];
    int64_t now = ds_utc_now();
    enum ds_class rc = ds_csr_check(csr, &info, e);
    if (!rc)
        rc = find_profile(c, recipe, &info, &p, &device, e);
    if (!rc)
        rc = ds_front_check_device(c->station, device.serial, e);
    if (!rc)
        rc = make_serial(recipe, info.public_key_digest, serial, e);
    if (rc)
        return rc;
    const ds_sign_request request = {
        .csr = csr,
        .serial = serial,
        .not_before_utc = now - BACKDATED,
        .not_after_utc = p->days ? now + (int64_t)p->days * DAY : DS_NO_EXPIRY,
        .subject = info.subject,
        .key_type = info.key_type,
        .recipe = recipe,
        .device_serial = device.serial,
        .mac = device.mac,
    };
    return ds_signer_sign(c->signer, &request, ret, e);
}

// "certs-only" (RFC 8551, 3.8), in base64.
static enum ds_class add_certificates(STACK_OF(X509) * certificates, ds_buf *ret, ds_err *e)
{
    PKCS7 *p7 = PKCS7_new();
    unsigned char *der = NULL;
    bool good = p7 && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 && PKCS7_content_new(p7, NID_pkcs7_data) == 1;
    if (good)
        PKCS7_set_detached(p7, 1);
    for (int i = 0; good && i < sk_X509_num(certificates); i++)
        good = PKCS7_add_certificate(p7, sk_X509_value(certificates, i)) == 1;
    int len = good ? i2d_PKCS7(p7, &der) : -1;
    PKCS7_free(p7);
    if (len <= 0)
        return ds_ossl_fail(e, DS_INTERNAL, "certificates as PKCS #7");
    ds_buf_resize(ret, 4 * (((size_t)len + 2) / 3) + 1, 0);
    ret->len = (size_t)EVP_EncodeBlock(ret->ptr, der, len);
    OPENSSL_free(der);
    return DS_OK;
}

static enum ds_class answer_with(const ds_buf *der, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    STACK_OF(X509) *all = sk_X509_new_null();
    enum ds_class rc = all ? ds_cert_parse(ds_buf_view(der), &cert, e) : ds_fail(e, DS_INTERNAL, "memory");
    if (!rc && sk_X509_push(all, cert) <= 0)
        rc = ds_ossl_fail(e, DS_INTERNAL, "certificates");
    if (!rc)
        rc = add_certificates(all, ret, e);
    sk_X509_free(all);
    return rc;
}

// The Sub CA's, as the signer shows it, and those above it that the configuration names.
static enum ds_class answer_cacerts(const ds_front_case *c, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *sub = NULL;
    STACK_OF(X509) *all = NULL;
    enum ds_class rc = ds_cert_parse(ds_buf_view(&ds_signer_get_status(c->signer)->ca_certificate), &sub, e);
    if (!rc && c->config->est_chain)
        rc = ds_cert_read_all(c->config->est_chain, &all, e);
    if (!rc && !all && !(all = sk_X509_new_null()))
        rc = ds_fail(e, DS_INTERNAL, "memory");
    bool there = false;
    for (int i = 0; !rc && i < sk_X509_num(all); i++)
        there = there || X509_cmp(sk_X509_value(all, i), sub) == 0;
    if (!rc && !there && X509_up_ref(sub) == 1 && sk_X509_unshift(all, sub) <= 0)
        rc = ds_ossl_fail(e, DS_INTERNAL, "certificates");
    if (!rc)
        rc = add_certificates(all, ret, e);
    sk_X509_pop_free(all, X509_free);
    return rc;
}

static void say(ds_est_answer *a, unsigned status, const char *text)
{
    a->status = status;
    a->type = "text/plain; charset=utf-8";
    a->base64 = false;
    ds_buf_clear(&a->body);
    ds_buf_add(&a->body, text, strlen(text));
    ds_buf_add_u8(&a->body, '\n');
}

static void say_failure(ds_est_answer *a, const ds_err *e)
{
    unsigned status = e->cls == DS_INPUT ? 400 : e->cls == DS_POLICY ? 403 : e->cls == DS_INTERNAL ? 500 : 503;
    say(a, status, e->text);
}

// "/.well-known/est/[LABEL/]OPERATION" -> the operation; label empty where there is none. NULL: not of that form.
static const char *operation_of(const char *path, char label[NAME_CAP])
{
    if (strncmp(path, ROOT, strlen(ROOT)) != 0)
        return NULL;
    const char *rest = path + strlen(ROOT), *slash = strchr(rest, '/');
    size_t len = slash ? (size_t)(slash - rest) : 0;
    if (len >= NAME_CAP || (slash && len == 0))
        return NULL;
    memcpy(label, rest, len);
    label[len] = '\0';
    return slash ? slash + 1 : rest;
}

static enum ds_class choose_recipe(const ds_front_case *c, char label[NAME_CAP], ds_err *e)
{
    const ds_front_station *s = c->station;
    if (!label[0] && s->recipe_count != 1)
        return ds_fail(e, DS_INPUT, "which recipe? name it: " ROOT "RECIPE/simpleenroll");
    if (!label[0])
        snprintf(label, NAME_CAP, "%s", s->recipes[0]);
    for (size_t i = 0; i < s->recipe_count; i++)
        if (strcmp(s->recipes[i], label) == 0)
            return DS_OK;
    return ds_fail(e, DS_POLICY, "%s may not ask for certificates of recipe \"%s\"", s->name, label);
}

static enum ds_class serve_enroll(const ds_front_case *c, const ds_est_request *request, char label[NAME_CAP],
                                  ds_est_answer *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf csr = {0}, der = {0};
    if (!request->content_type || strncasecmp(request->content_type, "application/pkcs10", 18) != 0)
        return ds_fail(e, DS_INPUT, "not application/pkcs10");
    if (!ds_est_decode(request->body, &csr))
        return ds_fail(e, DS_INPUT, "the body is not base64");
    enum ds_class rc = choose_recipe(c, label, e);
    if (!rc)
        rc = enroll(c, label, ds_buf_view(&csr), &der, e);
    if (!rc)
        rc = answer_with(&der, &ret->body, e);
    ret->type = "application/pkcs7-mime; smime-type=certs-only";
    return rc;
}

void ds_est_serve(const ds_front_case *c, const ds_est_request *request, ds_est_answer *ret)
{
    ds_err e = DS_ERR_INIT;
    char label[NAME_CAP];
    const char *operation = operation_of(request->path, label);
    bool certificates = operation && strcmp(operation, "cacerts") == 0;
    bool enrolls = operation && (strcmp(operation, "simpleenroll") == 0 || strcmp(operation, "simplereenroll") == 0);
    *ret = (ds_est_answer){.status = 200, .type = "application/pkcs7-mime", .base64 = true};
    if (!certificates && !enrolls) {
        say(ret, 404, "not found");
        return;
    }
    if (strcmp(request->method, certificates ? "GET" : "POST") != 0) {
        say(ret, 405, certificates ? "GET" : "POST");
        return;
    }
    enum ds_class rc = certificates ? answer_cacerts(c, &ret->body, &e) : serve_enroll(c, request, label, ret, &e);
    if (rc) {
        ds_front_complain(c->complaints, c->station->name, certificates ? "est cacerts" : "est enroll", e.text);
        say_failure(ret, &e);
    } else {
        ds_log(DS_LOG_INFO, "station %s: est %s", c->station->name, operation);
    }
}
