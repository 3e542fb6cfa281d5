// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp signer listen: this process speaks with the network, and its child, which is started as for a station, holds
// the token.
#include "src/cli/cmd_signer.h"
#include "src/cli/cli.h"

#include "src/base/log.h"
#include "src/cli/signer_access.h"
#include "src/signer/front.h"
#include "src/station/products.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FILES = 4096 };

static const char usage[] =
    "usage: devstamp signer listen --config FILE --recipe FILE [--recipe FILE ...] [options]\n"
    "\n"
    "Signs for stations elsewhere, over TLS 1.3 with certificates on both sides, until SIGTERM or Ctrl-C; requests "
    "under\n"
    "way are answered first, a second signal does not wait. docs/remote-signer.md tells how to set it up.\n"
    "\n"
    "  --config FILE    a station file with a 'listen' part; slots and ledger are not needed\n"
    "  --recipe FILE    what products certificates are signed for; profiles are taken from here alone\n"
    "  --bundle FILE    the same in a signed release bundle; a configuration with bundles: takes nothing else\n"
    "  --pin-file FILE, --pin-fd N, --passphrase-file FILE, --passphrase-fd N, --passphrase\n"
    "                   as of 'devstamp provision'\n"
    "  -v, --verbose    tell of every request on standard error, not only of what is refused\n";

typedef struct options {
    const char *config;
    ds_product_files files;
    ds_signer_access access;
    bool verbose, help;
} options;

static bool parse(int argc, char **argv, options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"recipe", required_argument, NULL, 'r'},
        {"bundle", required_argument, NULL, 'b'},
        DS_SIGNER_ACCESS_OPTIONS,
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *o = (options){.access = DS_SIGNER_ACCESS_INIT};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "vh", known, NULL)) != -1;) {
        bool good = true;
        if (c == 'c')
            o->config = optarg;
        else if (c == 'r' || c == 'b')
            good = ds_product_files_add(&o->files, c == 'b', optarg);
        else if (c == 'v')
            o->verbose = true;
        else if (c == 'h')
            return o->help = true;
        else
            good = ds_signer_access_take(&o->access, c, optarg);
        if (!good)
            return false;
    }
    return optind == argc && o->config && o->files.recipe_count + o->files.bundle_count &&
           ds_signer_access_is_one(&o->access);
}

static int stop_pipe[2] = {-1, -1};

static void on_stop(int number)
{
    struct sigaction end = {.sa_handler = SIG_DFL};
    int err = errno;
    ssize_t ignored = write(stop_pipe[1], "", 1);
    (void)ignored;
    sigaction(number, &end, NULL);
    errno = err;
}

static enum ds_class heed_signals(ds_err *e)
{
    struct sigaction act = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "pipe");
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    return DS_OK;
}

// A descriptor for each connection, and some.
static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES)
        return;
    limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

typedef struct running {
    ds_station *station;
    ds_recipe *recipes[DS_PRODUCTS_MAX];
    unsigned recipe_count;
    ds_signer_profile profiles[DS_PRODUCTS_MAX];
    ds_signer *signer;
    ds_front *front;
} running;

static void stop(running *r)
{
    ds_front_close(r->front);
    ds_signer_stop(r->signer);
    for (unsigned i = 0; i < r->recipe_count; i++)
        ds_recipe_free(r->recipes[i]);
    ds_station_free(r->station);
}

// What a station may ask for must be something that can be signed.
static enum ds_class check_recipes(const options *o, const running *r, ds_err *e)
{
    const ds_front_config *c = r->station->listen;
    for (size_t s = 0; s < c->station_count; s++)
        for (size_t i = 0; i < c->stations[s].recipe_count; i++) {
            bool known = false;
            for (unsigned n = 0; n < r->recipe_count; n++)
                known = known || strcmp(r->profiles[n].recipe, c->stations[s].recipes[i]) == 0;
            if (!known)
                return ds_hint((ds_fail(e, DS_INPUT, "%s: station %s: no recipe is of product \"%s\"", o->config,
                                        c->stations[s].name, c->stations[s].recipes[i]),
                                e),
                               "recipes are named by their product; give its file with --recipe");
        }
    return DS_OK;
}

static enum ds_class start(options *o, running *r, ds_err *e)
{
    enum ds_class rc = ds_station_load_signer(o->config, &r->station, e);
    if (!rc && !r->station->listen)
        rc = ds_hint((ds_fail(e, DS_INPUT, "%s: it has no 'listen' part", o->config), e),
                     "docs/remote-signer.md shows one");
    if (!rc)
        rc = ds_products_load(r->station, &o->files, r->recipes, &r->recipe_count, e);
    for (unsigned i = 0; !rc && i < r->recipe_count; i++)
        r->profiles[i] = ds_recipe_profile(r->recipes[i]);
    if (!rc)
        rc = check_recipes(o, r, e);
    if (!rc)
        rc = ds_signer_access_check(&o->access, r->station, e);
    if (rc)
        return rc;
    r->station->listen->profiles = r->profiles;
    r->station->listen->profile_count = r->recipe_count;
    const ds_signer_config c = ds_signer_access_config(&o->access, r->station, r->profiles, r->recipe_count);
    if (ds_signer_start(&c, &r->signer, e))
        return ds_wrap(e, "signer");
    allow_files();
    return ds_front_open(r->station->listen, r->signer, &r->front, e);
}

int ds_cmd_signer_listen(int argc, char **argv)
{
    options o;
    running r = {0};
    ds_err e = DS_ERR_INIT;
    if (!parse(argc, argv, &o) || o.help)
        return ds_cli_usage(usage, o.help);
    if (o.verbose)
        ds_log_set_level(DS_LOG_INFO);
    enum ds_class rc = start(&o, &r, &e);
    if (!rc)
        rc = heed_signals(&e);
    if (!rc) {
        const ds_signer_status *s = ds_signer_get_status(r.signer);
        printf("signing as %s, %llu in the log; listening at %s, port %u\n", s->ca_subject,
               (unsigned long long)s->log_entries, r.station->listen->address, ds_front_port(r.front));
        if (r.station->listen->est_address)
            printf("est at %s, port %u\n", r.station->listen->est_address, ds_front_est_port(r.front));
        fflush(stdout);
        rc = ds_front_run(r.front, stop_pipe[0], &e);
    }
    stop(&r);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
