// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Requests judged by the recipes' profiles; see profile.h.
#include "src/signer/profile.h"

#include "src/pki/dn.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PROFILES_MAX = 64, NAME_MAX_LEN = 63, TEXT_MAX = 255, BACKDATED = 3600, DIGEST = 32 };

static void free_text(const char *text)
{
    void *p = NULL;
    memcpy(&p, &text, sizeof p); // const for all others
    free(p);
}

void ds_profiles_free(ds_profiles *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free_text(p->profile[i].recipe);
        free_text(p->profile[i].subject);
        free_text(p->profile[i].serial_format);
        free_text(p->profile[i].subject_alt_uri);
        free_text((const char *)p->profile[i].digest);
    }
    free(p->profile);
    *p = (ds_profiles){0};
}

static const uint8_t *copy_digest(const ProtobufCBinaryData *wire)
{
    if (!wire->len)
        return NULL;
    uint8_t *copy = ds_alloc(wire->len);
    memcpy(copy, wire->data, wire->len);
    return copy;
}

enum ds_class ds_profiles_take(ds_profiles *p, Devstamp__Signer__Profile *const *wire, size_t count, ds_err *e)
{
    if (p->count)
        return ds_fail(e, DS_POLICY, "the recipes' profiles are set once");
    if (count > PROFILES_MAX)
        return ds_fail(e, DS_INPUT, "more than %d profiles", PROFILES_MAX);
    for (size_t i = 0; i < count; i++) {
        const Devstamp__Signer__Profile *w = wire[i];
        if (!w->recipe[0] || strlen(w->recipe) > NAME_MAX_LEN || !w->subject[0] || strlen(w->subject) > TEXT_MAX ||
            strlen(w->serial_format) > TEXT_MAX || strlen(w->subject_alt_uri) > TEXT_MAX ||
            !ds_key_kind_of((enum ds_key_type)w->key_type) || w->origin > DS_ORIGIN_REMOTE ||
            (w->digest.len && w->digest.len != DIGEST))
            return ds_fail(e, DS_INPUT, "profile %zu cannot be", i + 1);
    }
    p->profile = ds_alloc((count ? count : 1) * sizeof *p->profile);
    for (size_t i = 0; i < count; i++)
        p->profile[i] = (ds_signer_profile){
            .recipe = ds_strdup(wire[i]->recipe),
            .subject = ds_strdup(wire[i]->subject),
            .serial_format = ds_strdup(wire[i]->serial_format),
            .subject_alt_uri = ds_strdup(wire[i]->subject_alt_uri),
            .key_type = (int)wire[i]->key_type,
            .days = wire[i]->days,
            .digest = copy_digest(&wire[i]->digest),
            .origin = (enum ds_origin)wire[i]->origin,
        };
    p->count = count;
    return DS_OK;
}

// How many digits from p on, at most max.
static size_t digits(const char *p, size_t max)
{
    size_t n = 0;
    while (n < max && isdigit((unsigned char)p[n]))
        n++;
    return n;
}

// {counter} or {counter:N}: its length in the format and the digits it takes (0: 1 to 18 of them); 0 where it is
// neither.
static size_t counter_at(const char *format, size_t *ret_width)
{
    unsigned width = 0;
    int used = 0;
    *ret_width = 0;
    if (strncmp(format, "{counter}", 9) == 0)
        return 9;
    if (sscanf(format, "{counter:%2u}%n", &width, &used) != 1 || used == 0 || width < 1 || width > 18)
        return 0;
    *ret_width = width;
    return (size_t)used;
}

// A serial number that came in a list may be any; no other characters than the ledger accepts.
static bool listed_fits(const char *serial)
{
    size_t len = strlen(serial);
    return len > 0 && len < 64 &&
           strspn(serial, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:") == len;
}

bool ds_profile_serial_fits(const char *format, const char *serial, const char *mac)
{
    if (strcmp(format, "{list}") == 0)
        return listed_fits(serial);
    while (*format && *format != '{')
        if (*format++ != *serial++)
            return false;
    if (!*format)
        return !*serial;
    if (strncmp(format, "{mac}", 5) == 0) {
        size_t len = strlen(mac);
        return strncasecmp(serial, mac, len) == 0 && ds_profile_serial_fits(format + 5, serial + len, mac);
    }
    size_t width = 0, used = counter_at(format, &width), has = digits(serial, 18);
    if (used == 0)
        return false;
    if (width)
        return digits(serial, width) == width && ds_profile_serial_fits(format + used, serial + width, mac);
    for (size_t n = has; n > 0; n--) // digits may follow the counter
        if ((n == 1 || serial[0] != '0') && ds_profile_serial_fits(format + used, serial + n, mac))
            return true;
    return false;
}

// {serial}, {mac} and {product} replaced; false where it does not fit or holds another placeholder.
static bool expand(const char *pattern, const Devstamp__Signer__Sign *sign, char *ret, size_t cap)
{
    const struct {
        const char *name, *value;
    } known[] = {{"{serial}", sign->device_serial}, {"{mac}", sign->mac}, {"{product}", sign->recipe}};
    size_t len = 0;
    for (const char *p = pattern; *p;) {
        char one[2] = {*p, '\0'};
        const char *put = NULL;
        for (size_t i = 0; *p == '{' && i < sizeof known / sizeof *known; i++)
            if (strncmp(p, known[i].name, strlen(known[i].name)) == 0)
                put = known[i].value, p += strlen(known[i].name);
        if (!put && *p == '{')
            return false;
        if (!put)
            put = one, p++;
        int n = snprintf(ret + len, cap - len, "%s", put);
        if (n < 0 || (size_t)n >= cap - len)
            return false;
        len += (size_t)n;
    }
    ret[len] = '\0';
    return true;
}

static bool plain(const char *text, const char *others, size_t max)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i]))
            return false;
    return len > 0 && len <= max;
}

static enum ds_class check_subject(const ds_signer_profile *p, const Devstamp__Signer__Sign *sign,
                                   const ds_request *csr, ds_err *e)
{
    char subject[TEXT_MAX + 1];
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    if (!expand(p->subject, sign, subject, sizeof subject))
        return ds_fail(e, DS_POLICY, "the recipe's subject \"%s\" makes no name for device %s", p->subject,
                       sign->device_serial);
    enum ds_class rc = ds_dn_parse(subject, &name, e);
    if (rc)
        return rc;
    if (!ds_dn_equal(name, csr->subject))
        return ds_fail(e, DS_POLICY, "the request's subject is \"%s\", but recipe %s names \"%s\"", csr->info.subject,
                       p->recipe, subject);
    return DS_OK;
}

static enum ds_class check_one(const ds_signer_profile *p, const Devstamp__Signer__Sign *sign, const ds_request *csr,
                               ds_err *e)
{
    char uri[TEXT_MAX + 1];
    const char *has = ds_key_kind_of((enum ds_key_type)csr->info.key_type)->label;
    if (csr->info.key_type != p->key_type)
        return ds_fail(e, DS_POLICY, "the request's key is %s, but recipe %s names %s", has, p->recipe,
                       ds_key_kind_of((enum ds_key_type)p->key_type)->label);
    if (!ds_profile_serial_fits(p->serial_format, sign->device_serial, sign->mac))
        return ds_hint((ds_fail(e, DS_POLICY, "serial number %s is not of recipe %s, which names %s",
                                sign->device_serial, p->recipe, p->serial_format),
                        e),
                       "use the recipe the device was begun with");
    if (check_subject(p, sign, csr, e))
        return DS_POLICY;
    if (!expand(p->subject_alt_uri, sign, uri, sizeof uri) || strcmp(uri, sign->subject_alt_uri) != 0)
        return ds_fail(e, DS_POLICY, "the alternative name \"%.100s\" is not what recipe %s names",
                       sign->subject_alt_uri, p->recipe);
    return ds_request_check_wishes(csr->wishes, uri, e);
}

enum ds_class ds_profile_check(const ds_profiles *p, const Devstamp__Signer__Sign *sign, const ds_request *csr,
                               const ds_signer_profile **ret, ds_err *e)
{
    if (!plain(sign->device_serial, "-._:", NAME_MAX_LEN) || !plain(sign->mac, "", 12) || strlen(sign->mac) != 12)
        return ds_fail(e, DS_INPUT, "the request names no device: serial number or address is missing or strange");
    enum ds_class rc = ds_hint((ds_fail(e, DS_POLICY, "the signer knows no recipe %.63s", sign->recipe), e),
                               "name the recipe when the utility is started");
    bool met = false;
    for (size_t i = 0; i < p->count; i++) { // one product may have several, for its chips
        if (strcmp(p->profile[i].recipe, sign->recipe) != 0)
            continue;
        ds_err why = DS_ERR_INIT;
        enum ds_class cls = check_one(&p->profile[i], sign, csr, &why);
        if (!cls) {
            *ret = &p->profile[i];
            return DS_OK;
        }
        if (!met || p->profile[i].key_type == csr->info.key_type) { // of several the one of its kind tells more
            rc = cls;
            if (e)
                *e = why;
        }
        met = true;
    }
    return rc;
}

enum ds_class ds_profile_check_validity(const ds_signer_profile *p, int64_t not_before_utc, int64_t not_after_utc,
                                        ds_err *e)
{
    bool good = p->days ? not_after_utc - not_before_utc == (int64_t)p->days * 86400 + BACKDATED
                        : not_after_utc == DS_NO_EXPIRY;
    if (good)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "the validity demanded is not the %u days of recipe %s (0: without end)",
                            p->days, p->recipe),
                    e),
                   "correct the recipe's certificate.days");
}
