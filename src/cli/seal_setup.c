// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Options of devstamp seal, and the station; see seal_setup.h.
#include "src/cli/seal_setup.h"

#include "src/pki/token.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_number(const char *text, uint32_t max, uint32_t *ret)
{
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 10);
    *ret = (uint32_t)v;
    return *text >= '0' && *text <= '9' && !*end && v <= max;
}

static bool read_fd(const char *text, int *ret)
{
    uint32_t v = 0;
    bool good = read_number(text, 1023, &v);
    *ret = (int)v;
    return good;
}

// "0,7" into bits.
static bool read_pcrs(const char *text, uint32_t *ret)
{
    for (char *end = NULL; *text; text = *end == ',' ? end + 1 : end) {
        unsigned long n = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || n >= DS_SEAL_PCRS || (*end && (*end != ',' || !end[1])))
            return false;
        *ret |= 1u << n;
    }
    return *ret != 0;
}

static bool has_room(const ds_product_files *f)
{
    return f->recipe_count + f->bundle_count < DS_PRODUCTS_MAX;
}

static const char **text_option(ds_seal_options *o, int id)
{
    switch (id) {
    case 's':
        return &o->station;
    case 'o':
        return &o->output;
    case 'p':
        return &o->pin_file;
    case 'P':
        return &o->passphrase_file;
    case 't':
        return &o->token_serial;
    case 'c':
        return &o->computer;
    case 'r':
        return has_room(&o->files) ? &o->files.recipes[o->files.recipe_count++] : NULL;
    case 'B':
        return has_room(&o->files) ? &o->files.bundles[o->files.bundle_count++] : NULL;
    case 'b':
        return o->by_count < DS_SEAL_UNLOCKERS ? &o->by[o->by_count++] : NULL;
    default:
        return NULL;
    }
}

static bool take(ds_seal_options *o, int id, const char *value)
{
    const char **text = text_option(o, id);
    if (text)
        return *text = value, true;
    switch (id) {
    case 'd':
        return read_fd(value, &o->pin_fd);
    case 'D':
        return read_fd(value, &o->passphrase_fd);
    case 'T':
        return read_number(value, DS_SEAL_PASSES_MAX, &o->passes);
    case 'm':
        return read_number(value, DS_SEAL_MEMORY_MAX / 1024, &o->memory_mib);
    case 'R':
        return read_pcrs(value, &o->pcrs);
    case 'A':
        return o->ask = true;
    case 'a':
        return o->all = true;
    case 'h':
        return o->help = true;
    default:
        return false;
    }
}

bool ds_seal_options_parse(int argc, char **argv, ds_seal_options *ret)
{
    static const struct option options[] = {
        {"station", required_argument, NULL, 's'},
        {"recipe", required_argument, NULL, 'r'},
        {"bundle", required_argument, NULL, 'B'},
        {"output", required_argument, NULL, 'o'},
        {"by", required_argument, NULL, 'b'},
        {"all", no_argument, NULL, 'a'},
        {"pin-file", required_argument, NULL, 'p'},
        {"pin-fd", required_argument, NULL, 'd'},
        {"passphrase-file", required_argument, NULL, 'P'},
        {"passphrase-fd", required_argument, NULL, 'D'},
        {"passphrase", no_argument, NULL, 'A'},
        {"token-serial", required_argument, NULL, 't'},
        {"computer", required_argument, NULL, 'c'},
        {"kdf-passes", required_argument, NULL, 'T'},
        {"kdf-memory", required_argument, NULL, 'm'},
        {"tpm-pcrs", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *ret = (ds_seal_options){.pin_fd = -1, .passphrase_fd = -1, .passes = 3, .memory_mib = 256};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "ho:", options, NULL)) != -1;)
        if (!take(ret, id, optarg))
            return false;
    if (optind < argc)
        ret->file = argv[optind++];
    return optind == argc && (!ret->pin_file || ret->pin_fd < 0) &&
           (ret->passphrase_file != NULL) + (ret->passphrase_fd >= 0) + ret->ask <= 1;
}

static enum ds_class find_serial(const ds_seal_options *o, bool identify, ds_seal_setup *s, ds_err *e)
{
    const char *known = o->token_serial ? o->token_serial : s->station->token_serial;
    enum ds_class rc = DS_OK;
    if (known && strlen(known) >= sizeof s->serial)
        return ds_fail(e, DS_USAGE, "'%.60s' is no serial number of a token", known);
    if (known)
        snprintf(s->serial, sizeof s->serial, "%s", known);
    else if (identify)
        rc = ds_token_identify(s->config.key, s->config.module, s->serial, e);
    if (!rc && identify && !s->serial[0])
        rc = ds_hint((ds_fail(e, DS_TOKEN, "the token has no serial number"), e), "seal for one that has");
    s->config.token_serial = s->serial[0] ? s->serial : NULL;
    return rc;
}

static enum ds_class find_computer(const ds_seal_options *o, ds_seal_setup *s, ds_err *e)
{
    if (!o->computer) {
        (void)gethostname(s->host, sizeof s->host - 1);
        return ds_seal_machine(NULL, s->machine, e);
    }
    snprintf(s->host, sizeof s->host, "told by --computer");
    if (!ds_unhex(o->computer, s->machine, sizeof s->machine))
        return ds_hint((ds_fail(e, DS_USAGE, "--computer wants 64 hexadecimal digits"), e),
                       "run on the station: devstamp seal computer");
    return DS_OK;
}

static enum ds_class load(const ds_seal_options *o, ds_seal_setup *s, ds_err *e)
{
    enum ds_class rc = ds_station_load_signer(o->station, &s->station, e);
    if (!rc && s->station->est.url)
        rc = ds_fail(e, DS_USAGE, "%s: certificates come from an EST server; there is no PIN to seal", o->station);
    if (!rc && s->station->remote.address)
        rc = ds_fail(e, DS_USAGE, "%s: its signer is elsewhere, and has the seal", o->station);
    if (!rc)
        rc = ds_products_load(s->station, &o->files, s->recipes, &s->recipe_count, e);
    for (unsigned i = 0; i < s->recipe_count; i++)
        s->profiles[i] = ds_recipe_profile(s->recipes[i]);
    if (!rc)
        rc = ds_token_uri_check(s->station->signer_key, e);
    if (!rc)
        rc = ds_cert_read(s->station->signer_certificate, &s->ca, e);
    if (!rc)
        rc = ds_cert_describe(s->ca, &s->info, e);
    if (!rc && s->station->signer_quota)
        rc = ds_quota_read(s->station->signer_quota, s->info.fingerprint, &s->quota, e);
    return rc;
}

enum ds_class ds_seal_setup_open(const ds_seal_options *o, bool identify, ds_seal_setup *ret, ds_err *e)
{
    *ret = (ds_seal_setup){.part_count = 0};
    enum ds_class rc = load(o, ret, e);
    if (rc)
        return rc;
    ret->config = (ds_signer_config){
        .key = ret->station->signer_key,
        .module = ret->station->signer_module,
        .log_key = ret->station->signer_log_key,
        .station = ret->station->name,
        .profiles = ret->profiles,
        .profile_count = ret->recipe_count,
    };
    rc = find_serial(o, identify, ret, e);
    if (!rc)
        rc = find_computer(o, ret, e);
    const ds_seal_station st = {
        .cfg = &ret->config,
        .ca_subject = ret->info.subject,
        .ca = ret->info.fingerprint,
        .quota = ret->quota ? ds_quota_digest(ret->quota) : NULL,
        .machine = ret->machine,
        .machine_text = ret->host,
    };
    return rc ? rc : ds_seal_describe(&st, ret->parts, &ret->part_count, e);
}

void ds_seal_setup_close(ds_seal_setup *s)
{
    ds_quota_free(s->quota);
    X509_free(s->ca);
    for (unsigned i = 0; i < s->recipe_count; i++)
        ds_recipe_free(s->recipes[i]);
    ds_station_free(s->station);
}
