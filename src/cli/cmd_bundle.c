// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp bundle: make, show and verify release bundles; signing them is in cmd_bundle_sign.c.
#include "src/cli/cmd_bundle.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/cli/cli.h"
#include "src/cli/shown.h"
#include "src/signer/order.h"
#include "src/station/bundle_recipe.h"
#include "src/station/stationfile.h"

#include <errno.h>
#include <getopt.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char create_usage[] =
    "usage: devstamp bundle create --recipe FILE --release N -o BUNDLE [--time UTC]\n"
    "\n"
    "One file with a recipe, its images and all it names, checked as provision checks them, and a manifest over all "
    "of\n"
    "them: digests, versions, and what will be burned into every device. Not signed yet.\n"
    "\n"
    "  --release N      counts up with each bundle of a product for a chip; stations refuse older ones\n"
    "  --time UTC       when it was made, in seconds since 1970 (else SOURCE_DATE_EPOCH, else now)\n";

static const char show_usage[] =
    "usage: devstamp bundle show [--manifest] BUNDLE|ORDER\n"
    "       devstamp bundle show --recipe BUNDLE\n"
    "\n"
    "What a bundle holds and does, in plain words: what devices become, and what will be burned for ever. Of a bundle\n"
    "it is computed anew from its recipe and images, and compared. Whose signatures it has is printed, not judged:\n"
    "verify does that. Sign what you looked at: devstamp bundle sign --digest takes the digest that is printed here.\n"
    "\n"
    "  --manifest       the manifest's bytes, which are what is signed (docs/bundle.md)\n"
    "  --recipe         the recipe itself, byte by byte; refused where it holds characters that are not seen\n";

static const char verify_usage[] =
    "usage: devstamp bundle verify --release-key KEY ... [--approver-key KEY ... --approvals N] BUNDLE\n"
    "       devstamp bundle verify --station FILE BUNDLE\n"
    "\n"
    "Is it whole, does it say what its recipe and images do, and is it signed and approved by these?\n"
    "\n"
    "  --release-key KEY, --approver-key KEY\n"
    "                   a public key in PEM, or sha256: and the 64 digits that show prints\n"
    "  --approvals N    of that many different approvers, none of them the release key (0)\n"
    "  --station FILE   what the station file demands (bundles:)\n";

typedef struct options {
    const char *recipe, *out, *station, *file;
    uint64_t release, approvals;
    int64_t time_utc;
    ds_bundle_policy policy;
    bool manifest, show_recipe, help, bad;
    ds_err why;
} options;

static bool read_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    *ret = v;
    return !errno && *text >= '0' && *text <= '9' && !*end && v <= max;
}

static bool take_key(const char *text, uint8_t (*list)[32], size_t *count, ds_err *e)
{
    if (*count == DS_BUNDLE_KEYS || ds_bundle_key_id(text, list[*count], e))
        return false;
    ++*count;
    return true;
}

static bool take(options *o, int id, const char *value)
{
    uint64_t number = 0;
    switch (id) {
    case 'r':
        o->recipe = value;
        return true;
    case 'o':
        o->out = value;
        return true;
    case 's':
        o->station = value;
        return true;
    case 'n':
        return read_number(value, INT64_MAX, &o->release);
    case 't':
        if (!read_number(value, INT32_MAX, &number))
            return false;
        o->time_utc = (int64_t)number;
        return true;
    case 'a':
        return read_number(value, DS_BUNDLE_KEYS, &o->approvals);
    case 'k':
        return take_key(value, o->policy.release_keys, &o->policy.release_count, &o->why);
    case 'K':
        return take_key(value, o->policy.approvers, &o->policy.approver_count, &o->why);
    case 'R':
        return o->show_recipe = true;
    case 'm':
        return o->manifest = true;
    case 'h':
        return o->help = true;
    default:
        return false;
    }
}

// show: --recipe asks for the recipe, and names none.
static options parse(int argc, char **argv, bool show)
{
    const struct option names[] = {{"recipe", show ? no_argument : required_argument, NULL, show ? 'R' : 'r'},
                                   {"release", required_argument, NULL, 'n'},
                                   {"time", required_argument, NULL, 't'},
                                   {"output", required_argument, NULL, 'o'},
                                   {"station", required_argument, NULL, 's'},
                                   {"release-key", required_argument, NULL, 'k'},
                                   {"approver-key", required_argument, NULL, 'K'},
                                   {"approvals", required_argument, NULL, 'a'},
                                   {"manifest", no_argument, NULL, 'm'},
                                   {"help", no_argument, NULL, 'h'},
                                   {NULL, 0, NULL, 0}};
    options o = {.time_utc = -1};
    optind = 1;
    for (int id; !o.bad && (id = getopt_long(argc, argv, "o:h", names, NULL)) != -1;)
        o.bad = !take(&o, id, optarg);
    if (optind < argc)
        o.file = argv[optind++];
    o.bad = o.bad || (optind < argc && !o.help);
    return o;
}

// Usage, or what is wrong with a key that was named.
static int refuse(const options *o, const char *usage)
{
    return o->why.cls ? ds_cli_fail(&o->why) : ds_cli_usage(usage, o->help);
}

static int64_t time_of(const options *o)
{
    uint64_t epoch = 0;
    const char *text = getenv("SOURCE_DATE_EPOCH"); // reproducible-builds.org/specs/source-date-epoch
    if (o->time_utc >= 0)
        return o->time_utc;
    return text && read_number(text, INT32_MAX, &epoch) ? (int64_t)epoch : ds_utc_now();
}

static int create(int argc, char **argv)
{
    options o = parse(argc, argv, false);
    if (o.help || o.bad || o.file || !o.recipe || !o.out || !o.release)
        return refuse(&o, create_usage);
    ds_err e = DS_ERR_INIT;
    ds_recipe *r = NULL;
    ds_bundle b = {.count = 0};
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_recipe_load(o.recipe, &r, &e);
    if (!rc && ds_shown_check(ds_buf_view(&r->text), &e)) // approvers are to read it
        rc = ds_wrap(&e, "%s", o.recipe);
    if (!rc)
        rc = ds_bundle_of_recipe(r, o.release, time_of(&o), &bytes, &e);
    ds_recipe_free(r);
    r = NULL;
    if (!rc)
        rc = ds_bundle_parse(&bytes, &b, &e);
    if (!rc) // as a station will look at it
        rc = ds_recipe_of_bundle(&b, o.out, &r, &e);
    if (!rc)
        rc = ds_file_write(o.out, ds_buf_view(&b.bytes), 0644, &e);
    if (!rc)
        printf("%s: %s for %s, release %llu, %zu bytes; not signed yet\n", o.out, b.manifest.product, r->chip->title,
               (unsigned long long)b.manifest.release, b.bytes.len);
    ds_recipe_free(r);
    ds_bundle_free(&b);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// An order of a bundle, told by its first byte. *ret_order: it was one, and told or refused.
static enum ds_class show_order(const options *o, bool *ret_order, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_order order = {.what = DS_ORDER_IMAGE};
    uint8_t digest[32];
    *ret_order = !ds_file_read(o->file, DS_ORDER_MAX, &text, NULL) && text.len && text.ptr[0] == '{';
    if (!*ret_order)
        return DS_OK;
    enum ds_class rc = ds_order_parse(ds_buf_view(&text), &order, e);
    if (!rc && !order.manifest)
        rc = ds_fail(e, DS_INPUT, "it is of %s", order.what == DS_ORDER_IMAGE ? "an image" : "a statement");
    if (!rc && o->show_recipe)
        rc = ds_fail(e, DS_INPUT, "an order holds no recipe: the bundle does");
    if (rc) {
        ds_order_free(&order);
        return ds_wrap(e, "%s", o->file);
    }
    SHA256(order.text.ptr, order.text.len, digest);
    if (o->manifest)
        (void)fwrite(order.text.ptr, 1, order.text.len, stdout);
    else
        ds_bundle_tell(order.manifest, digest, NULL);
    ds_order_free(&order);
    return DS_OK;
}

enum ds_class ds_bundle_open(const char *path, ds_bundle *ret, ds_recipe **ret_recipe, ds_err *e)
{
    ds_recipe *r = NULL;
    enum ds_class rc = ds_bundle_read(path, ret, e);
    if (rc)
        return rc;
    rc = ds_recipe_of_bundle(ret, path, &r, e);
    if (rc)
        ds_bundle_free(ret);
    else if (ret_recipe)
        *ret_recipe = r;
    else
        ds_recipe_free(r);
    return rc;
}

static enum ds_class show_bundle(const options *o, const ds_bundle *b, const ds_recipe *r, ds_err *e)
{
    if (o->show_recipe) {
        if (ds_shown_check(b->parts[DS_PART_RECIPE], e))
            return ds_wrap(e, "%s: recipe", o->file);
        (void)fwrite(b->parts[DS_PART_RECIPE].ptr, 1, b->parts[DS_PART_RECIPE].len, stdout);
    } else if (o->manifest) {
        (void)fwrite(b->text.ptr, 1, b->text.len, stdout);
    } else {
        ds_bundle_tell(&b->manifest, b->digest, r);
        ds_bundle_tell_signatures(b);
    }
    return DS_OK;
}

static int show(int argc, char **argv)
{
    options o = parse(argc, argv, true);
    if (o.help || o.bad || !o.file || (o.show_recipe && o.manifest))
        return refuse(&o, show_usage);
    ds_err e = DS_ERR_INIT;
    ds_bundle b;
    ds_recipe *r = NULL;
    bool order = false;
    if (show_order(&o, &order, &e) || (!order && ds_bundle_open(o.file, &b, &r, &e)))
        return ds_cli_fail(&e);
    if (order)
        return DS_EXIT_OK;
    enum ds_class rc = show_bundle(&o, &b, r, &e);
    ds_recipe_free(r);
    ds_bundle_free(&b);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static enum ds_class find_policy(options *o, ds_err *e)
{
    ds_station *s = NULL;
    o->policy.approvals = (unsigned)o->approvals;
    if (!o->station)
        return DS_OK;
    enum ds_class rc = ds_station_load_signer(o->station, &s, e);
    if (!rc && !s->bundles_only)
        rc = ds_fail(e, DS_POLICY, "%s: it names no release keys", o->station);
    if (!rc)
        o->policy = s->bundles;
    ds_station_free(s);
    return rc;
}

static int verify(int argc, char **argv)
{
    options o = parse(argc, argv, false);
    bool keys = o.policy.release_count || o.policy.approver_count || o.approvals;
    if (o.help || o.bad || !o.file || (o.station ? keys : !o.policy.release_count))
        return refuse(&o, verify_usage);
    ds_err e = DS_ERR_INIT;
    ds_bundle b;
    ds_recipe *r = NULL;
    if (find_policy(&o, &e) || ds_bundle_read(o.file, &b, &e))
        return ds_cli_fail(&e);
    enum ds_class rc = ds_bundle_judge(&b, &o.policy, &e); // first: what a stranger made is not read further
    if (rc)
        (void)ds_wrap(&e, "%s", o.file);
    else
        rc = ds_recipe_of_bundle(&b, o.file, &r, &e);
    ds_recipe_free(r);
    if (!rc) {
        char digest[65];
        ds_hex(b.digest, 32, digest);
        printf("%s: release %llu of %s for %s, signed and approved as demanded\nbundle %s\n", o.file,
               (unsigned long long)b.manifest.release, b.manifest.product, b.manifest.chip, digest);
    }
    ds_bundle_free(&b);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_cmd_bundle(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"create", "a recipe and all it names, in one file", create},
        {"show", "what it does, in plain words", show},
        {"sign", "sign it as a release", ds_bundle_cmd_sign},
        {"approve", "approve it, beside the release key", ds_bundle_cmd_approve},
        {"order", "what a key on a machine apart is to sign", ds_bundle_cmd_order},
        {"sign-order", "there: sign it", ds_bundle_cmd_sign_order},
        {"attach", "put the signature that came back into the bundle", ds_bundle_cmd_attach},
        {"verify", "is it whole, signed and approved by these keys?", verify},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp bundle", verbs, argc, argv);
}
