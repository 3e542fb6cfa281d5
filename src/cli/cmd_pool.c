// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp pool: stamps that are made before their devices are known (origin: remote). Making them is
// cmd_pool_create.c.
#include "src/cli/cmd_pool.h"
#include "src/cli/cli.h"

#include "src/base/file.h"
#include "src/pki/key.h"
#include "src/station/pool.h"
#include "src/station/products.h"

#include <getopt.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { COUNT_MAX = 1000000 };

// --- key

static const char key_usage[] =
    "usage: devstamp pool key FILE\n"
    "\n"
    "Makes the key that stamps of a pool are sealed to: FILE, readable by its owner alone, stays with the station\n"
    "(signer.pool_key: \"file:FILE\"); FILE.pub goes to whoever makes the stamps (devstamp pool create --to "
    "FILE.pub).\n";

static enum ds_class write_public(const char *path, EVP_PKEY *key, ds_err *e)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool ok = out && PEM_write_bio_PUBKEY(out, key) == 1;
    long len = ok ? BIO_get_mem_data(out, &text) : 0;
    enum ds_class rc = len > 0 ? ds_file_write(path, (ds_view){(const uint8_t *)text, (size_t)len}, 0644, e)
                               : ds_ossl_fail(e, DS_INTERNAL, "encode a public key");
    BIO_free(out);
    return rc;
}

static int cmd_key(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    if (argc != 2 || argv[1][0] == '-')
        return ds_cli_usage(key_usage, argc == 2 && strcmp(argv[1], "--help") == 0);
    DS_CLEANUP_FREE char *pub = ds_asprintf("%s.pub", argv[1]);
    enum ds_class rc = ds_key_make(DS_KEY_ECDSA_P256, &key, &e);
    if (!rc)
        rc = ds_key_file_write(argv[1], key, &e);
    if (!rc)
        rc = write_public(pub, key, &e);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// --- import

static const char import_usage[] =
    "usage: devstamp pool import --from FOLDER --station FILE --recipe FILE [--recipe FILE ...] [--count N]\n"
    "       devstamp pool import --from FOLDER --station FILE --bundle FILE [--bundle FILE ...] [--count N]\n"
    "\n"
    "Moves free stamps (all, or N) from the folder they came in to the station's pool (signer.pool). Each is taken by "
    "one\n"
    "pool alone, also where two import from one folder at once; what was cut off is gone on with. A stamp whose\n"
    "certificate is not by signer.pool_ca, or not as a recipe demands, is refused, and left where it is.\n";

typedef struct import {
    const char *from, *station;
    ds_product_files files;
    unsigned long count;
} import;

typedef struct products {
    const ds_station *station;
    ds_recipe *recipe[DS_PRODUCTS_MAX];
    unsigned count;
} products;

static enum ds_class judge(const void *arg, const ds_pool_stamp *s, ds_err *e)
{
    static const uint8_t no_mac[6];
    const products *p = arg;
    ds_cert_info info;
    if (ds_pool_judge_issuer(s, p->station->pool_ca, e))
        return e->cls;
    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->recipe[i]->product, s->recipe) == 0)
            return ds_pool_judge_words(s, p->recipe[i], no_mac, &info, e);
    return ds_fail(e, DS_POLICY, "the stamp %s is for %s, and no such recipe is given", s->serial, s->recipe);
}

static enum ds_class take(const import *o, unsigned *taken, ds_err *e)
{
    ds_station *station = NULL;
    enum ds_class rc = ds_station_load_signer(o->station, &station, e);
    products p = {.station = station};
    if (!rc && !station->pool)
        rc = ds_fail(e, DS_INPUT, "%s: names no pool", o->station);
    if (!rc)
        rc = ds_products_load(station, &o->files, p.recipe, &p.count, e);
    if (!rc) {
        (void)mkdir(station->pool, 0700); // where it cannot be made, that is told when it is opened
        const ds_pool_taker to = {station->pool, station->name, judge, &p, (unsigned)o->count};
        rc = ds_pool_take(o->from, &to, taken, e);
    }
    for (unsigned i = 0; i < p.count; i++)
        ds_recipe_free(p.recipe[i]);
    ds_station_free(station);
    return rc;
}

static int cmd_import(int argc, char **argv)
{
    static const struct option names[] = {{"from", required_argument, NULL, 'f'},
                                          {"station", required_argument, NULL, 's'},
                                          {"recipe", required_argument, NULL, 'r'},
                                          {"bundle", required_argument, NULL, 'b'},
                                          {"count", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
import o = {.count = COUNT_MAX };
    char *end = NULL;
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        bool ok = c != '?';
        if (c == 'h')
            return ds_cli_usage(import_usage, true);
        if (c == 'f')
            o.from = optarg;
        else if (c == 's')
            o.station = optarg;
        else if (c == 'r' || c == 'b')
            ok = ds_product_files_add(&o.files, c == 'b', optarg);
        else if (c == 'c')
            ok = (o.count = strtoul(optarg, &end, 10)) >= 1 && !*end && o.count <= COUNT_MAX;
        if (!ok)
            return ds_cli_usage(import_usage, false);
    }
    if (optind != argc || !o.from || !o.station || !(o.files.recipe_count + o.files.bundle_count))
        return ds_cli_usage(import_usage, false);
    ds_err e = DS_ERR_INIT;
    unsigned taken = 0;
    enum ds_class rc = take(&o, &taken, &e);
    printf("%u stamps imported\n", taken);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// --- status

static const char status_usage[] =
    "usage: devstamp pool status --pool FOLDER [--json]\n"
    "\n"
    "How many stamps are free; claimed by a device that is on its way; used; spoiled, because the line was cut off "
    "while\n"
    "the key was on its way to a device; taken to another pool; and how many serial numbers were lost, because the "
    "run\n"
    "that made them was cut off: where they were signed, their key is gone.\n";

static void print_status(const ds_pool_count *c, bool json)
{
    const struct {
        const char *name;
        unsigned n;
    } rows[] = {{"free", c->free},       {"claimed", c->claimed}, {"used", c->used},
                {"spoiled", c->spoiled}, {"taken", c->taken},     {"lost", c->lost}};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!json)
            printf("%-8s %u\n", rows[i].name, rows[i].n);
        json_object_set_new(o, rows[i].name, json_integer(rows[i].n));
    }
    if (json) {
        json_dumpf(o, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(o);
}

static int cmd_status(int argc, char **argv)
{
    static const struct option names[] = {{"pool", required_argument, NULL, 'p'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *pool = NULL;
    bool json = false;
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        if (c == 'h')
            return ds_cli_usage(status_usage, true);
        if (c != 'p' && c != 'j')
            return ds_cli_usage(status_usage, false);
        if (c == 'p')
            pool = optarg;
        else
            json = true;
    }
    if (optind != argc || !pool)
        return ds_cli_usage(status_usage, false);
    ds_err e = DS_ERR_INIT;
    ds_pool_count count;
    if (ds_pool_status(pool, &count, &e))
        return ds_cli_fail(&e);
    print_status(&count, json);
    return DS_EXIT_OK;
}

int ds_cmd_pool(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"key", "make the key that stamps are sealed to", cmd_key},
        {"create", "have the signer make stamps", ds_pool_cmd_create},
        {"import", "take stamps into a station's pool", cmd_import},
        {"status", "how many are left", cmd_status},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp pool", verbs, argc, argv);
}
