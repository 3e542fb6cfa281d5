// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Quotas; see quota.h.
#include "src/signer/quota.h"

#include "src/base/clock.h"
#include "src/base/file.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILE_MAX = 65536 };

typedef struct limit {
    char recipe[64], first[64], last[64];
    uint64_t certificates;
    int64_t until_utc; // INT64_MAX: none
} limit;

struct ds_quota {
    char *path;
    limit limits[DS_QUOTA_MAX];
    size_t count;
    uint8_t digest[32]; // of the file
};

void ds_quota_free(ds_quota *q)
{
    if (!q)
        return;
    free(q->path);
    free(q);
}

static enum ds_class bad(const ds_quota *q, ds_err *e, size_t i, const char *what)
{
    return ds_fail(e, DS_INPUT, "quota %s: recipe %zu: %s", q->path, i + 1, what);
}

// A text member into ret; false where it is there and none that fits. Not there: ret stays.
static bool take_text(const json_t *o, const char *name, char *ret, size_t cap)
{
    const json_t *value = json_object_get(o, name);
    const char *text = json_string_value(value);
    if (!value)
        return true;
    if (!text || !text[0] || strlen(text) >= cap)
        return false;
    snprintf(ret, cap, "%s", text);
    return true;
}

static bool take_time(const json_t *o, const char *name, int64_t *ret)
{
    char text[24] = "";
    struct tm tm = {0};
    if (!take_text(o, name, text, sizeof text))
        return false;
    if (!text[0])
        return true;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *ret = (int64_t)timegm(&tm);
    return end && *end == '\0';
}

// Are there no members but these?
static bool knows_all(const json_t *o, const char *const *names, size_t count)
{
    size_t known = 0;
    for (size_t i = 0; i < count; i++)
        known += json_object_get(o, names[i]) != NULL;
    return known == json_object_size(o);
}

int ds_quota_compare(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    return a_len != b_len ? (a_len < b_len ? -1 : 1) : strcmp(a, b);
}

static enum ds_class take_limit(ds_quota *q, size_t i, const json_t *o, ds_err *e)
{
    static const char *const names[] = {"recipe", "certificates", "first", "last", "until"};
    limit *l = &q->limits[i];
    const json_t *number = json_object_get(o, "certificates");
    l->until_utc = INT64_MAX;
    if (!json_is_object(o) || !knows_all(o, names, sizeof names / sizeof *names))
        return bad(q, e, i, "members are recipe, certificates, first, last, until");
    if (!take_text(o, "recipe", l->recipe, sizeof l->recipe) || !l->recipe[0])
        return bad(q, e, i, "recipe must be the product's name");
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        return bad(q, e, i, "certificates must be a number");
    l->certificates = (uint64_t)json_integer_value(number);
    if (!take_text(o, "first", l->first, sizeof l->first) || !take_text(o, "last", l->last, sizeof l->last) ||
        !l->first[0] != !l->last[0] || (l->first[0] && ds_quota_compare(l->first, l->last) > 0))
        return bad(q, e, i, "first and last must be serial numbers in their order, both or none");
    if (!take_time(o, "until", &l->until_utc))
        return bad(q, e, i, "until must be a time like 2027-01-31T00:00:00Z");
    for (size_t k = 0; k < i; k++)
        if (strcmp(q->limits[k].recipe, l->recipe) == 0)
            return bad(q, e, i, "the recipe is there twice");
    return DS_OK;
}

static enum ds_class take(ds_quota *q, const json_t *doc, const uint8_t ca[32], ds_err *e)
{
    static const char *const names[] = {"quota", "ca", "recipes"};
    char text[65] = "";
    uint8_t of[32];
    const json_t *recipes = json_object_get(doc, "recipes");
    if (!json_is_object(doc) || json_integer_value(json_object_get(doc, "quota")) != 1)
        return ds_fail(e, DS_INPUT, "quota %s: version is not 1", q->path);
    if (!knows_all(doc, names, sizeof names / sizeof *names) || !json_is_array(recipes) ||
        json_array_size(recipes) > DS_QUOTA_MAX)
        return ds_fail(e, DS_INPUT, "quota %s: members are quota, ca, and a list recipes of at most %d", q->path,
                       DS_QUOTA_MAX);
    if (!take_text(doc, "ca", text, sizeof text) || (text[0] && !ds_unhex(text, of, sizeof of)))
        return ds_fail(e, DS_INPUT, "quota %s: ca must be 64 hexadecimal digits", q->path);
    if (text[0] && memcmp(of, ca, 32) != 0)
        return ds_hint((ds_fail(e, DS_POLICY, "quota %s is for another CA", q->path), e),
                       "ask the officer for a quota for this Sub CA");
    enum ds_class rc = DS_OK;
    for (; !rc && q->count < json_array_size(recipes); q->count++)
        rc = take_limit(q, q->count, json_array_get(recipes, q->count), e);
    return rc;
}

enum ds_class ds_quota_read(const char *path, const uint8_t ca[32], ds_quota **ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    json_error_t why;
    enum ds_class rc = ds_file_read(path, FILE_MAX, &text, e);
    if (rc)
        return ds_wrap(e, "quota");
    json_t *doc = json_loadb(text.ptr ? (const char *)text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        return ds_fail(e, DS_INPUT, "quota %s:%d: %s", path, why.line, why.text);
    ds_quota *q = ds_alloc(sizeof *q);
    q->path = ds_strdup(path);
    (void)crypto_hash_sha256(q->digest, text.ptr, text.len);
    rc = take(q, doc, ca, e);
    json_decref(doc);
    if (rc) {
        ds_quota_free(q);
        return rc;
    }
    *ret = q;
    return DS_OK;
}

const uint8_t *ds_quota_digest(const ds_quota *q)
{
    return q->digest;
}

static const limit *find(const ds_quota *q, const char *recipe)
{
    for (size_t i = 0; i < q->count; i++)
        if (strcmp(q->limits[i].recipe, recipe) == 0)
            return &q->limits[i];
    return NULL;
}

static uint64_t left_of(const limit *l, const ds_log_file *log)
{
    uint64_t used = ds_log_count(log, l->recipe);
    return used < l->certificates ? l->certificates - used : 0;
}

enum ds_class ds_quota_check(const ds_quota *q, const ds_log_file *log, const char *recipe, const char *device_serial,
                             int64_t now_utc, ds_err *e)
{
    static const char ask[] = "ask the officer for a new quota file, put it in place, then start the utility again";
    if (!q)
        return DS_OK;
    const limit *l = find(q, recipe);
    if (!l)
        return ds_hint((ds_fail(e, DS_POLICY, "the quota names no certificates for recipe %.63s", recipe), e), ask);
    unsigned long long left = left_of(l, log), all = l->certificates;
    char until[21];
    ds_utc_format(l->until_utc == INT64_MAX ? 0 : l->until_utc, until);
    if (now_utc >= l->until_utc)
        (void)ds_fail(e, DS_POLICY, "the quota for recipe %s ended on %s, with %llu of %llu certificates left", recipe,
                      until, left, all);
    else if (left == 0)
        (void)ds_fail(e, DS_POLICY, "the quota for recipe %s is used up: 0 of %llu certificates left", recipe, all);
    else if (l->first[0] &&
             (ds_quota_compare(device_serial, l->first) < 0 || ds_quota_compare(device_serial, l->last) > 0))
        (void)ds_fail(e, DS_POLICY,
                      "serial number %s is not within the quota's %s to %s; %llu of %llu certificates left",
                      device_serial, l->first, l->last, left, all);
    else
        return DS_OK;
    (void)ds_hint(e, ask);
    return DS_POLICY;
}

uint64_t ds_quota_left(const ds_quota *q, const ds_log_file *log, const char *recipe)
{
    const limit *l = q ? find(q, recipe) : NULL;
    if (!q)
        return UINT64_MAX;
    return l ? left_of(l, log) : 0;
}

size_t ds_quota_list(const ds_quota *q, const ds_log_file *log, ds_signer_quota *ret)
{
    for (size_t i = 0; q && i < q->count; i++) {
        const limit *l = &q->limits[i];
        ret[i] = (ds_signer_quota){.certificates = l->certificates, .left = left_of(l, log), .until_utc = l->until_utc};
        snprintf(ret[i].recipe, sizeof ret[i].recipe, "%s", l->recipe);
        snprintf(ret[i].first, sizeof ret[i].first, "%s", l->first);
        snprintf(ret[i].last, sizeof ret[i].last, "%s", l->last);
    }
    return q ? q->count : 0;
}
