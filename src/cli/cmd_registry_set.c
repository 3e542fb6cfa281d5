// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry set: one device, one CA, or what all devices may use; and reading what is wished of a CA.
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/cloud/registry_import.h"
#include "src/pki/keytype.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_FILE_MAX = 65536, RATE_MAX = 1000000 };

// The value whose name this is, from first to last; -1: none.
static int value_of(const char *text, const char *const *names, int first, int last)
{
    for (int i = first; i <= last; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

static enum ds_class read_key(const char *path, uint8_t ret[32], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_file_read(path, KEY_FILE_MAX, &pem, e);
    if (rc)
        return rc;
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    rc = key ? ds_public_key_digest(key, ret, e) : ds_fail(e, DS_INPUT, "log key %s: no public key in PEM", path);
    EVP_PKEY_free(key);
    return rc;
}

static enum ds_class read_rate(const char *text, unsigned *ret, ds_err *e)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 0 || n > RATE_MAX)
        return ds_fail(e, DS_USAGE, "rate '%s' is none of 0 to %d", text, RATE_MAX);
    *ret = (unsigned)n;
    return DS_OK;
}

enum ds_class ds_registry_read_wishes(const ds_registry_options *o, ds_registry_wishes *ret, ds_err *e)
{
    static const char *const registrations[] = {"off", "auto", "pending"};
    static const char *const policies[] = {"", "jitr", "logged", "manifest"};
    enum ds_class rc = DS_OK;
    *ret = (ds_registry_wishes){0};
    int registration = o->no_auto_registration ? DS_REGISTRY_OFF : -1, policy = -1;
    if (o->registration && (registration = value_of(o->registration, registrations, 0, DS_REGISTRY_AWAIT)) < 0)
        return ds_fail(e, DS_USAGE, "registration '%s' is none of auto, pending, off", o->registration);
    if (o->policy && (policy = value_of(o->policy, policies, DS_REGISTRY_JITR, DS_REGISTRY_MANIFEST)) < 0)
        return ds_fail(e, DS_USAGE, "policy '%s' is none of jitr, logged, manifest", o->policy);
    if (registration >= 0)
        ret->change.registration = &ret->registration;
    if (policy >= 0)
        ret->change.policy = &ret->policy;
    ret->registration = (enum ds_registry_registration)(registration < 0 ? 0 : registration);
    ret->policy = (enum ds_registry_policy)(policy < 0 ? 0 : policy);
    if (o->rate) {
        rc = read_rate(o->rate, &ret->rate, e);
        ret->change.rate = &ret->rate;
    }
    if (!rc && o->log_key) {
        rc = read_key(o->log_key, ret->log_key, e);
        ret->change.log_key = ret->log_key;
    }
    return rc;
}

enum ds_class ds_registry_read_ca_id(const ds_registry_options *o, uint8_t ret[32], ds_err *e)
{
    if (strlen(o->ca_id) == 64 && ds_unhex(o->ca_id, ret, 32))
        return DS_OK;
    return ds_fail(e, DS_USAGE, "--ca-id takes the 64 hexadecimal digits that list --json shows");
}

static enum ds_class set_ca(ds_registry *r, const ds_registry_options *o, enum ds_registry_state state, ds_err *e)
{
    uint8_t id[32];
    ds_registry_wishes w;
    enum ds_class rc = ds_registry_read_ca_id(o, id, e);
    if (!rc)
        rc = ds_registry_read_wishes(o, &w, e);
    if (rc)
        return rc;
    w.active = state == DS_REGISTRY_ACTIVE;
    if (o->state)
        w.change.active = &w.active;
    return ds_registry_set_ca(r, id, &w.change, e);
}

// One spelling, as we print it.
static enum ds_class read_time(const char *text, int64_t *ret, ds_err *e)
{
    struct tm tm = {0};
    char again[21];
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *ret = end && !*end ? (int64_t)timegm(&tm) : -1;
    if (*ret >= 0)
        ds_utc_format(*ret, again);
    if (*ret < 0 || strcmp(again, text) != 0)
        return ds_fail(e, DS_USAGE, "time '%s' is not written as 2026-01-31T14:00:00Z", text);
    return DS_OK;
}

static bool note_log(void *arg, const ds_registry_ca *ca)
{
    const uint8_t *id = arg;
    if (memcmp(ca->id, id, 32) == 0 && ca->log_size == 0)
        fputs("devstamp: no issuance log of this CA was imported: all its devices are out until one is\n", stderr);
    return true;
}

static enum ds_class isolate(ds_registry *r, const ds_registry_options *o, enum ds_registry_state state, ds_err *e)
{
    ds_registry_isolation i = {.until_utc = DS_REGISTRY_FOR_EVER, .state = state};
    enum ds_class rc = ds_registry_read_ca_id(o, i.ca, e);
    if (!rc)
        rc = read_time(o->issued_from, &i.from_utc, e);
    if (!rc && o->issued_until)
        rc = read_time(o->issued_until, &i.until_utc, e);
    if (!rc)
        rc = ds_registry_isolate(r, &i, e);
    if (!rc && state != DS_REGISTRY_ACTIVE)
        rc = ds_registry_each_ca(r, note_log, i.ca, e);
    if (!rc)
        puts("noted; devstamp registry report names whom it keeps out");
    return rc;
}

int ds_registry_cmd_set(const ds_registry_options *o)
{
    static const char *const states[] = {"", "active", "inactive", "revoked"};
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    int state = o->state ? value_of(o->state, states, DS_REGISTRY_ACTIVE, DS_REGISTRY_REVOKED) : 0;
    enum ds_class rc = ds_registry_open(o->registry, false, &r, &e);
    if (!rc && o->device)
        rc = ds_registry_set_device(r, o->device, (enum ds_registry_state)state, &e);
    else if (!rc && o->issued_from)
        rc = isolate(r, o, (enum ds_registry_state)state, &e);
    else if (!rc && o->ca_id)
        rc = set_ca(r, o, (enum ds_registry_state)state, &e);
    else if (!rc)
        rc = ds_registry_set_topics(r, o->topics, &e);
    ds_registry_close(r);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
