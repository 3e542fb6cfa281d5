// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp provision: every device on the station's slots through the way of a device.
#include "src/cli/cli.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/cli/progress.h"
#include "src/cli/signer_access.h"
#include "src/station/products.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp provision --recipe FILE [--recipe FILE ...] --station FILE [options]\n"
    "       devstamp provision --bundle FILE [--bundle FILE ...] --station FILE [options]\n"
    "\n"
    "Takes the device on every slot through: connect, versions, key, csr, certificate, stamp, bootloader, select,\n"
    "firstboot, proof. A step that holds already is skipped, so a run that was cut off is simply run again.\n"
    "Ctrl-C or SIGTERM lets the steps under way end; a second one does not wait.\n"
    "\n"
    "  --recipe FILE    what a product is; several: each device gets the one for its chip (or its slot's product)\n"
    "  --bundle FILE    the same in a signed release bundle; a station file with bundles: takes nothing else\n"
    "  --station FILE   slots, signer and ledger\n"
    "  --pin-file FILE  token PIN in a file that only its owner can read (else the station file's, else asked for)\n"
    "  --pin-fd N       token PIN from an open file descriptor\n"
    "  --passphrase-file FILE, --passphrase-fd N, --passphrase\n"
    "                   where the PIN is sealed (signer.seal): the seal's passphrase in a file, from a descriptor, or "
    "asked\n"
    "                   for; asked for by itself where nothing else opens the seal\n"
    "  --json           one JSON document on standard output\n"
    "  --report FILE    the same document in a file\n"
    "  --qr             print each device's proof-of-possession QR code\n"
    "  -v, --verbose    what the devices say on their consoles, on standard error\n"
    "\n"
    "exit code: 0 all passed, 1 some devices failed, 2.. the station cannot work (docs/exit-codes.md)\n";

typedef struct options {
    ds_product_files files;
    const char *station, *report;
    ds_signer_access access;
    bool json, qr, verbose;
} options;

static const struct option long_options[] = {
    {"recipe", required_argument, NULL, 'r'},
    {"bundle", required_argument, NULL, 'b'},
    {"station", required_argument, NULL, 's'},
    DS_SIGNER_ACCESS_OPTIONS,
    {"report", required_argument, NULL, 'R'},
    {"json", no_argument, NULL, 'j'},
    {"qr", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

// 0 = go on, otherwise the exit code + 1.
static int parse(int argc, char **argv, options *o)
{
    *o = (options){.access = DS_SIGNER_ACCESS_INIT};
    for (int c; (c = getopt_long(argc, argv, "vh", long_options, NULL)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'r':
        case 'b':
            ok = ds_product_files_add(&o->files, c == 'b', optarg);
            break;
        case 's':
            o->station = optarg;
            break;
        case 'R':
            o->report = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'q':
            o->qr = true;
            break;
        case 'v':
            o->verbose = true;
            break;
        case 'h':
            return ds_cli_usage(usage, true) + 1;
        default:
            ok = ds_signer_access_take(&o->access, c, optarg);
        }
        if (!ok)
            return ds_cli_usage(usage, false) + 1;
    }
    if (optind != argc || !(o->files.recipe_count + o->files.bundle_count) || !o->station ||
        !ds_signer_access_is_one(&o->access))
        return ds_cli_usage(usage, false) + 1;
    return 0;
}

static volatile sig_atomic_t stop_asked;

// The first signal lets the steps under way end, the second does not wait. A rerun goes on after either.
static void on_stop(int number)
{
    static const char word[] = "\nstopping after the steps under way; once more stops at once\n";
    struct sigaction end = {.sa_handler = SIG_DFL};
    ssize_t ignored = write(STDERR_FILENO, word, sizeof word - 1);
    (void)ignored;
    stop_asked = 1;
    sigaction(number, &end, NULL);
}

static void heed_signals(void)
{
    struct sigaction act = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

// Everything a run needs; opened in order, closed in reverse.
typedef struct run {
    ds_recipe *recipes[DS_PRODUCTS_MAX];
    unsigned recipe_count;
    ds_station *station;
    ds_ledger *ledger;
    ds_signer *signer;
    ds_slot_result *results;
    ds_signer_profile profiles[DS_PRODUCTS_MAX];
} run;

static void run_close(run *r)
{
    free(r->results);
    ds_signer_stop(r->signer);
    ds_ledger_close(r->ledger);
    ds_station_free(r->station);
    for (unsigned i = 0; i < r->recipe_count; i++)
        ds_recipe_free(r->recipes[i]);
}

// What the recipes say of certificates, for the signer to judge by.
static void make_profiles(run *r)
{
    for (unsigned i = 0; i < r->recipe_count; i++)
        r->profiles[i] = ds_recipe_profile(r->recipes[i]);
}

static enum ds_class compare_log(const run *r, const uint8_t ca[32], ds_err *e)
{
    uint64_t entries = 0;
    uint8_t root[32];
    bool has_root = false;
    ds_signer_proof p;
    enum ds_class rc = ds_ledger_signer_known(r->ledger, ca, &entries, root, &has_root, e);
    if (!rc)
        rc = ds_signer_prove(r->signer, entries, &p, e);
    if (rc)
        return rc;
    const ds_ledger_log log = {ca, p.log_entries, p.log_root, p.from, p.proof.hash, p.proof.count};
    return ds_ledger_signer_head(r->ledger, &log, e);
}

// The issuance log the ledger saw last is the beginning of the one there is; before the line runs and after.
static enum ds_class record_signer(const run *r, ds_err *e)
{
    const ds_signer_status *s = ds_signer_get_status(r->signer);
    if (s->est) // whatever it logs is its own matter
        return DS_OK;
    enum ds_class rc = compare_log(r, s->ca_fingerprint, e);
    const char *where = r->station->remote.address ? r->station->remote.address : r->station->signer_log;
    return rc ? ds_wrap(e, "signer of %s: %s", s->ca_subject, where) : DS_OK;
}

// Told before a device is touched; the report of an earlier run stays until this one's is whole.
static enum ds_class report_can_be_written(const char *path, ds_err *e)
{
    DS_CLEANUP_FREE char *probe = ds_asprintf("%s.probe", path);
    if (ds_file_write(probe, (ds_view){(const uint8_t *)"", 0}, 0644, e))
        return ds_wrap(e, "report");
    unlink(probe);
    return DS_OK;
}

// Before a device is touched: no older release comes back. Where the run fails later, a newer one was used all the
// same.
static enum ds_class record_bundles(const run *r, ds_err *e)
{
    for (unsigned i = 0; i < r->recipe_count; i++) {
        const ds_recipe *p = r->recipes[i];
        const ds_ledger_bundle b = {p->product, p->chip->name, p->bundle_release, p->digest, r->station->allow_older};
        if (p->bundle_release && ds_ledger_use_bundle(r->ledger, &b, e))
            return ds_wrap(e, "%s", p->path);
    }
    return DS_OK;
}

static enum ds_class run_open(run *r, options *o, ds_err *e)
{
    if (ds_station_load(o->station, &r->station, e) ||
        ds_products_load(r->station, &o->files, r->recipes, &r->recipe_count, e) ||
        ds_signer_access_check(&o->access, r->station, e) ||
        ds_ledger_open_as(r->station->ledger, r->station->name, false, &r->ledger, e) || record_bundles(r, e))
        return e->cls;
    make_profiles(r);
    const ds_signer_config c = ds_signer_access_config(&o->access, r->station, r->profiles, r->recipe_count);
    if (ds_signer_start(&c, &r->signer, e))
        return ds_wrap(e, "signer");
    if (record_signer(r, e))
        return e->cls;
    r->results = ds_alloc(r->station->slot_count * sizeof *r->results);
    return o->report ? report_can_be_written(o->report, e) : DS_OK;
}

// How much of the quota is left, before a device is touched.
static void print_quota(const ds_signer_status *s)
{
    for (size_t i = 0; i < s->quota_count; i++) {
        const ds_signer_quota *q = &s->quota[i];
        char until[21];
        printf("quota for %s: %llu of %llu certificates left", q->recipe, (unsigned long long)q->left,
               (unsigned long long)q->certificates);
        if (q->first[0])
            printf(", serial numbers %s to %s", q->first, q->last);
        if (q->until_utc != INT64_MAX) {
            ds_utc_format(q->until_utc, until);
            printf(", until %s", until);
        }
        putchar('\n');
    }
}

static void print_labels(const run *r)
{
    for (unsigned i = 0; i < r->station->slot_count; i++) {
        ds_err e = DS_ERR_INIT;
        ds_ledger_device d;
        if (!r->results[i].ok || ds_ledger_find(r->ledger, r->results[i].serial, &d, &e))
            continue;
        DS_CLEANUP_FREE char *qr = ds_label_qr(d.serial, d.pop, &e);
        if (qr)
            printf("\n%s (%s)\n%s", d.serial, d.product, qr);
    }
}

// A slot that failed for the station's sake (token or remote signer, ledger, a defect) makes the station unusable: the
// next devices would fail as well. Its class decides the exit code.
static int exit_code(const run *r)
{
    int code = DS_EXIT_OK;
    for (unsigned i = 0; i < r->station->slot_count; i++) {
        const ds_slot_result *s = &r->results[i];
        if (s->ok)
            continue;
        if (s->err.cls == DS_TOKEN || s->err.cls == DS_STORE || s->err.cls == DS_NETWORK || s->err.cls == DS_INTERNAL)
            return ds_cli_exit(s->err.cls);
        code = DS_EXIT_SOME_FAILED;
    }
    return code;
}

int ds_cmd_provision(int argc, char **argv)
{
    options o;
    int stop = parse(argc, argv, &o);
    if (stop)
        return stop - 1;
    if (o.verbose)
        ds_log_set_level(DS_LOG_INFO);
    run r = {0};
    ds_err e = DS_ERR_INIT;
    if (run_open(&r, &o, &e)) {
        run_close(&r);
        if (o.json)
            ds_progress_no_run(&e);
        return ds_cli_fail(&e);
    }
    if (!o.json)
        print_quota(ds_signer_get_status(r.signer));
    ds_progress progress;
    ds_progress_init(&progress, r.results, r.station->slot_count, o.json);
    const ds_line_options line = {
        .station = r.station,
        .recipes = r.recipes,
        .recipe_count = r.recipe_count,
        .ledger = r.ledger,
        .signer = r.signer,
        .observer = ds_progress_observe,
        .observer_arg = &progress,
        .verbose = o.verbose,
        .stop = &stop_asked,
    };
    heed_signals();
    (void)ds_line_run(&line, r.results);
    ds_progress_summary(&progress);
    if (o.qr && !o.json)
        print_labels(&r);
    int code = exit_code(&r);
    if (record_signer(&r, &e))
        code = ds_cli_fail(&e);
    if (o.report && ds_progress_report(&progress, o.report, &e))
        code = ds_cli_fail(&e);
    ds_progress_deinit(&progress);
    run_close(&r);
    return code;
}
