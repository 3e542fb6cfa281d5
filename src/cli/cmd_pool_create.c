// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp pool create: the signer makes stamps for a range of serial numbers, each key sealed to the pool's. Each
// number is noted in the pool before the signer is asked: a run that is cut off between its signature and the file
// leaves a number without a stamp, which is never asked for again.
#include "src/cli/cmd_pool.h"
#include "src/cli/cli.h"
#include "src/cli/signer_access.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/hpke.h"
#include "src/station/pool.h"
#include "src/station/products.h"

#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { COUNT_MAX = 1000000, DIGITS_MAX = 12 };
static const int64_t NO_EXPIRY = 253402300799; // RFC 5280, 4.1.2.5: 99991231235959Z

static const char usage[] =
    "usage: devstamp pool create --recipe FILE --station FILE --to FILE.pub --pool FOLDER --first N --count N "
    "[options]\n"
    "       devstamp pool create --bundle FILE --station FILE --to FILE.pub --pool FOLDER --first N --count N "
    "[options]\n"
    "\n"
    "Has the station file's signer make stamps (key and certificate) for the serial numbers N and following of a "
    "recipe\n"
    "with origin: remote, each key sealed to the pool's key, into FOLDER. Numbers that are there are left alone.\n"
    "Profile, quota and log are those of any certificate. Use a Sub CA, log and ledger for pools alone: the log's\n"
    "certificates are in the ledgers of the stations that use them.\n"
    "\n"
    "  --bundle FILE    a signed release bundle; a station file with bundles: takes nothing else\n"
    "  --pin-file FILE, --pin-fd N                the token's PIN, else asked for\n"
    "  --passphrase-file FILE, --passphrase-fd N, --passphrase  what opens the seal\n";

typedef struct options {
    ds_product_files files; // one
    const char *station, *to, *pool;
    ds_signer_access access;
    unsigned long long first, count;
} options;

typedef struct work {
    ds_recipe *recipe[DS_PRODUCTS_MAX]; // one
    unsigned recipe_count;
    ds_station *station;
    ds_signer *signer;
    ds_signer_profile profile;
    uint8_t to[DS_HPKE_PUBLIC];
    unsigned made, there;
} work;

// {counter} or {counter:digits}, which the recipe has and no other placeholder.
static enum ds_class make_serial(const char *format, unsigned long long n, char ret[64], ds_err *e)
{
    const char *at = strstr(format, "{counter"), *end = at ? strchr(at, '}') : NULL;
    int width = 0, len = 0;
    if (!end || (at[8] == ':' && (sscanf(at + 9, "%2d", &width) != 1 || width < 1 || width > DIGITS_MAX)))
        return ds_fail(e, DS_INPUT, "serial format %s: {counter} or {counter:1} to {counter:%d}", format, DIGITS_MAX);
    char digits[24];
    len = snprintf(digits, sizeof digits, "%0*llu", width, n);
    if (width && len > width)
        return ds_fail(e, DS_INPUT, "serial number %llu has more than %d digits", n, width);
    len = snprintf(ret, 64, "%.*s%s%s", (int)(at - format), format, digits, end + 1);
    return len < 64 ? DS_OK : ds_fail(e, DS_INPUT, "serial number longer than 63 bytes");
}

static enum ds_class read_recipient(const char *path, uint8_t ret[DS_HPKE_PUBLIC], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    enum ds_class rc = ds_file_read(path, 4096, &text, e);
    if (rc)
        return rc;
    DS_CLEANUP_BIO BIO *in = BIO_new_mem_buf(text.ptr, (int)text.len);
    DS_CLEANUP_PKEY EVP_PKEY *key = in ? PEM_read_bio_PUBKEY(in, NULL, NULL, NULL) : NULL;
    if (!key)
        return ds_hint((ds_ossl_fail(e, DS_INPUT, "%s: no public key", path), e),
                       "it is the .pub of devstamp pool key");
    rc = ds_hpke_public(key, ret, e);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

// Stamps are made where the CA's key is: what makes them is not asked for from elsewhere.
static enum ds_class start_signer(work *w, const options *o, ds_err *e)
{
    ds_signer_access access = o->access;
    if (w->station->est.url)
        return ds_fail(e, DS_INPUT, "%s: certificates come from an EST server, which makes no stamps", o->station);
    if (w->station->remote.address)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "%s: the signer is elsewhere, and makes stamps for nobody", o->station), e),
            "make them on the signer's own computer, with its station file");
    if (ds_signer_access_check(&access, w->station, e))
        return e->cls;
    w->profile = ds_recipe_profile(w->recipe[0]);
    const ds_signer_config c = ds_signer_access_config(&access, w->station, &w->profile, 1);
    enum ds_class rc = ds_signer_start(&c, &w->signer, e);
    return rc ? ds_wrap(e, "signer") : DS_OK;
}

// A number that is noted in the pool.
static enum ds_class make_stamp(work *w, const char *pool, ds_pool_stamp *s, ds_err *e)
{
    uint8_t number[16];
    char subject[256];
    static const uint8_t no_mac[6];
    int64_t now = ds_utc_now();
    do { // RFC 5280, 4.1.2.2: positive, and all of its bytes are written
        ds_random(number, sizeof number);
        number[0] &= 0x7F;
    } while (number[0] == 0);
    if (ds_recipe_subject(w->recipe[0], s->serial, no_mac, subject, e))
        return e->cls;
    const ds_sign_request req = {
        .serial = number,
        .not_before_utc = now - 3600,
        .not_after_utc =
            w->recipe[0]->certificate_days ? now + (int64_t)w->recipe[0]->certificate_days * 86400 : NO_EXPIRY,
        .subject = subject,
        .key_type = w->recipe[0]->key_type,
        .recipe = w->recipe[0]->product,
        .device_serial = s->serial,
        .mac = "000000000000",
    };
    enum ds_class rc =
        ds_signer_make_stamp(w->signer, &req, (ds_view){w->to, sizeof w->to}, &s->certificate, &s->key, e);
    ds_err lost = DS_ERR_INIT;
    if ((rc == DS_POLICY || rc == DS_INPUT) && ds_pool_unask(pool, s->serial, &lost))
        return ds_wrap(e, "%s", lost.text);
    return rc ? rc : ds_pool_put(pool, s, e);
}

static enum ds_class make_all(work *w, const options *o, ds_err *e)
{
    const ds_buf *ca = &ds_signer_get_status(w->signer)->ca_certificate;
    enum ds_class rc = DS_OK;
    for (unsigned long long i = 0; i < o->count && !rc; i++) {
        ds_pool_stamp s = {.key_type = w->recipe[0]->key_type};
        bool new = false;
        snprintf(s.recipe, sizeof s.recipe, "%s", w->recipe[0]->product);
        rc = make_serial(w->recipe[0]->serial_format, o->first + i, s.serial, e);
        if (!rc)
            rc = ds_pool_ask(o->pool, s.serial, &new, e);
        ds_buf_add(&s.issuer, ca->ptr, ca->len);
        if (!rc && new)
            rc = make_stamp(w, o->pool, &s, e);
        if (rc)
            (void)ds_wrap(e, "stamp %s", s.serial);
        w->made += !rc && new;
        w->there += !rc && !new;
        ds_pool_stamp_free(&s);
    }
    return rc;
}

static enum ds_class create(work *w, const options *o, ds_err *e)
{
    enum ds_class rc = ds_station_load_signer(o->station, &w->station, e);
    if (!rc)
        rc = ds_products_load(w->station, &o->files, w->recipe, &w->recipe_count, e);
    if (!rc && w->recipe[0]->origin != DS_ORIGIN_REMOTE)
        rc = ds_fail(e, DS_INPUT, "%s: only a recipe with origin: remote has a pool", w->recipe[0]->product);
    if (!rc)
        rc = read_recipient(o->to, w->to, e);
    if (!rc)
        rc = start_signer(w, o, e);
    if (!rc)
        (void)mkdir(o->pool, 0700); // where it cannot be made, that is told when it is opened
    return rc ? rc : make_all(w, o, e);
}

static bool parse_number(const char *text, unsigned long long max, unsigned long long *ret)
{
    char *end = NULL;
    *ret = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && *ret >= 1 && *ret <= max;
}

int ds_pool_cmd_create(int argc, char **argv)
{
    static const struct option names[] = {
        {"recipe", required_argument, NULL, 'r'},  {"bundle", required_argument, NULL, 'b'},
        {"station", required_argument, NULL, 's'}, DS_SIGNER_ACCESS_OPTIONS,
        {"to", required_argument, NULL, 't'},      {"pool", required_argument, NULL, 'p'},
        {"first", required_argument, NULL, 'f'},   {"count", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    options o = {.access = DS_SIGNER_ACCESS_INIT};
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        bool ok = c != '?';
        if (c == 'h')
            return ds_cli_usage(usage, true);
        if (c == 'r' || c == 'b')
            ok = ds_product_files_add(&o.files, c == 'b', optarg);
        else if (c == 's')
            o.station = optarg;
        else if (c == 't')
            o.to = optarg;
        else if (c == 'p')
            o.pool = optarg;
        else if (c == 'f')
            ok = parse_number(optarg, 999999999999, &o.first);
        else if (c == 'c')
            ok = parse_number(optarg, COUNT_MAX, &o.count);
        else
            ok = ds_signer_access_take(&o.access, c, optarg);
        if (!ok)
            return ds_cli_usage(usage, false);
    }
    if (optind != argc || o.files.recipe_count + o.files.bundle_count != 1 || !ds_signer_access_is_one(&o.access) ||
        !o.station || !o.to || !o.pool || !o.first || !o.count)
        return ds_cli_usage(usage, false);
    ds_err e = DS_ERR_INIT;
    work w = {.made = 0};
    enum ds_class rc = create(&w, &o, &e);
    printf("%u stamps made, %u numbers were there already\n", w.made, w.there);
    ds_signer_stop(w.signer);
    ds_station_free(w.station);
    for (unsigned i = 0; i < w.recipe_count; i++)
        ds_recipe_free(w.recipe[i]);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
