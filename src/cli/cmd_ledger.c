// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ledger: list, show, check, head, revoke and init on the record. All but the last two open it read-only and
// take no lock, so that they work while a utility runs.
#include "src/cli/cli.h"
#include "src/cli/cmd_ledger.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp ledger list --ledger PLACE [--json]\n"
    "       devstamp ledger show --ledger PLACE [--json] [--pem] [--secrets] SERIAL|MAC\n"
    "       devstamp ledger check --ledger PLACE [--json] [--registered] [--head HASH]...\n"
    "       devstamp ledger head --ledger PLACE [--json]\n"
    "       devstamp ledger revoke --ledger PLACE --reason TEXT SERIAL|MAC\n"
    "       devstamp ledger init --ledger PLACE\n"
    "       devstamp ledger push|pull|stations --help\n"
    "\n"
    "  list      one line a device\n"
    "  show      everything known of one device\n"
    "  check     name every device and certificate that is not whole, and why; exit 0 when all is whole, 6 when not\n"
    "  head      the newest hash of the evidence chain (in a database, of each station's): kept elsewhere, it shows\n"
    "            later whether the end was cut off\n"
    "  revoke    give up a device's certificate for good, so that it may get another one\n"
    "  init      make the record where there is none, and bring a database's tables to this version\n"
    "  push      write what happened since the last push as a signed batch\n"
    "  pull      take such a batch over into this ledger\n"
    "  stations  whose batches were pulled, and how far\n"
    "\n"
    "  --ledger PLACE  the record: a file, or a database as postgresql://USER@HOST:PORT/DATABASE (no password in it:\n"
    "                  PGPASSFILE names a file that holds it)\n"
    "  --json          for machines\n"
    "  --pem           show: print the certificate too\n"
    "  --secrets       show: print the proof of possession too\n"
    "  --registered    check: a certificate that no endpoint has registered is not whole\n"
    "  --head HASH     check: the evidence chain must contain this hash, noted earlier; again for further ones\n"
    "  --reason TEXT   revoke: why, for the record; a reason of RFC 5280 before it (\"keyCompromise: ...\") goes into\n"
    "                  the CRL too\n";

static bool parse(int argc, char **argv, ds_ledger_options *o, bool *ret_help)
{
    static const struct option options[] = {
        {"ledger", required_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'},
        {"pem", no_argument, NULL, 'p'},
        {"secrets", no_argument, NULL, 's'},
        {"registered", no_argument, NULL, 'r'},
        {"head", required_argument, NULL, 'H'},
        {"reason", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (opt) {
        case 'l':
            o->ledger = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'p':
            o->pem = true;
            break;
        case 's':
            o->secrets = true;
            break;
        case 'r':
            o->registered = true;
            break;
        case 'H':
            if (o->head_count == DS_LEDGER_HEADS_MAX)
                return false;
            o->heads[o->head_count++] = optarg;
            break;
        case 'R':
            o->reason = optarg;
            break;
        case 'h':
            *ret_help = true;
            return true;
        default:
            return false;
        }
    }
    return true;
}

void ds_ledger_mac_text(const uint8_t mac[6], char ret[18])
{
    snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static bool list_row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    char mac[18], at[21];
    DS_CLEANUP_FREE char *stage = ds_ledger_clean_text(d->stage);
    DS_CLEANUP_FREE char *serial = ds_ledger_clean_text(d->serial[0] ? d->serial : "-");
    (void)arg;
    ds_ledger_mac_text(d->mac, mac);
    printf("%-24s %-17s %-9s %-12s %-11s %-20s %s\n", serial, mac, ds_ledger_chip_text(d->chip_id),
           stage[0] ? stage : "-", ds_ledger_cert_text(c), ds_ledger_time_text(c->registered_utc, at),
           d->locked               ? "yes"
           : ds_ledger_can_lock(d) ? "no"
                                   : "no lock");
    return true;
}

static bool list_json(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    return json_array_append_new(arg, ds_ledger_row_json(d, c, false)) == 0;
}

static int print_json(json_t *value)
{
    int rc = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(value);
    return rc == 0 ? DS_EXIT_OK : DS_EXIT_INTERNAL;
}

static int cmd_list(ds_ledger *l, const ds_ledger_options *o)
{
    ds_err e = DS_ERR_INIT;
    json_t *rows = o->json ? json_array() : NULL;
    if (!o->json)
        printf("%-24s %-17s %-9s %-12s %-11s %-20s %s\n", "SERIAL", "MAC", "CHIP", "STAGE", "CERTIFICATE", "REGISTERED",
               "LOCKED");
    if (ds_ledger_each(l, o->json ? list_json : list_row, rows, &e)) {
        json_decref(rows);
        return ds_cli_fail(&e);
    }
    return o->json ? print_json(rows) : DS_EXIT_OK;
}

typedef struct findings {
    json_t *lines;
    unsigned problems, devices, waiting, lockless;
    bool json, registered;
} findings;

static void finding(findings *f, const char *line)
{
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(line);
    if (f->json)
        json_array_append_new(f->lines, json_string(clean));
    else
        puts(clean);
}

static void check_line(void *arg, const char *line)
{
    finding(arg, line);
}

static bool check_registered(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    findings *f = arg;
    char mac[18];
    f->devices++;
    f->lockless += !ds_ledger_can_lock(d);
    if (c->state != DS_LEDGER_INSTALLED || c->revoked)
        return true;
    f->waiting++;
    if (!f->registered)
        return true;
    ds_ledger_mac_text(d->mac, mac);
    DS_CLEANUP_FREE char *line =
        ds_asprintf("device %s (%s): its certificate is installed and not registered", d->serial, mac);
    finding(f, line);
    f->problems++;
    return true;
}

static enum ds_class check_head(ds_ledger *l, const char *text, findings *f, ds_err *e)
{
    uint8_t hash[32];
    bool has = false;
    if (!ds_unhex(text, hash, sizeof hash))
        return ds_fail(e, DS_USAGE, "--head takes 64 hexadecimal digits");
    enum ds_class rc = ds_ledger_contains(l, hash, &has, e);
    if (rc || has)
        return rc;
    finding(f, "evidence chain: does not contain the noted hash: its end was cut off, or it was made anew");
    f->problems++;
    return DS_OK;
}

// Every chain's end, as JSON.
static void add_head(void *arg, const char *station, int64_t count, const uint8_t hash[32])
{
    char hex[65];
    ds_hex(hash, 32, hex);
    json_array_append_new(arg,
                          json_pack("{s:s, s:I, s:s}", "station", station, "events", (json_int_t)count, "head", hex));
}

static void print_heads(const json_t *heads)
{
    size_t i;
    const json_t *h;
    json_array_foreach(heads, i, h)
    {
        DS_CLEANUP_FREE char *station = ds_ledger_clean_text(json_string_value(json_object_get(h, "station")));
        printf("evidence chain%s%s: %lld events, head %s\n", station[0] ? " of station " : "", station,
               (long long)json_integer_value(json_object_get(h, "events")),
               json_string_value(json_object_get(h, "head")));
    }
}

static int cmd_head(ds_ledger *l, const ds_ledger_options *o)
{
    ds_err e = DS_ERR_INIT;
    json_t *heads = json_array();
    int code = DS_EXIT_OK;
    if (ds_ledger_each_head(l, add_head, heads, &e))
        code = ds_cli_fail(&e);
    else if (o->json)
        return print_json(heads);
    else
        print_heads(heads);
    json_decref(heads);
    return code;
}

static int report(const findings *f, json_t *heads)
{
    if (f->json) {
        json_t *o = json_pack("{s:b, s:i, s:i, s:i, s:O, s:O}", "whole", f->problems == 0, "devices", (int)f->devices,
                              "without_lock", (int)f->lockless, "waiting_for_registration", (int)f->waiting, "chains",
                              heads, "problems", f->lines);
        const json_t *one = json_array_get(heads, 0);
        if (json_array_size(heads) == 1) { // a file's, or of the one station there is
            json_object_set(o, "events", json_object_get(one, "events"));
            json_object_set(o, "head", json_object_get(one, "head"));
        }
        print_json(o);
    } else {
        printf("%u device%s, %u problem%s, %u waiting for their first connect\n", f->devices,
               f->devices == 1 ? "" : "s", f->problems, f->problems == 1 ? "" : "s", f->waiting);
        if (f->lockless)
            printf("%u of them on a platform without a lock: what they hold can be read and changed\n", f->lockless);
        print_heads(heads);
    }
    return f->problems ? DS_EXIT_STORE : DS_EXIT_OK;
}

static int cmd_check(ds_ledger *l, const ds_ledger_options *o)
{
    ds_err e = DS_ERR_INIT;
    findings f = {.lines = json_array(), .json = o->json, .registered = o->registered};
    json_t *heads = json_array();
    enum ds_class rc = ds_ledger_check(l, check_line, &f, &f.problems, &e);
    if (!rc)
        rc = ds_ledger_each(l, check_registered, &f, &e);
    for (unsigned i = 0; !rc && i < o->head_count; i++)
        rc = check_head(l, o->heads[i], &f, &e);
    if (!rc)
        rc = ds_ledger_each_head(l, add_head, heads, &e);
    int code = rc ? ds_cli_fail(&e) : report(&f, heads);
    json_decref(heads);
    json_decref(f.lines);
    return code;
}

// The next step that keeps the certificate out: the ledger itself is asked by nobody who connects.
static void tell_revoked(const ds_ledger_options *o, const ds_ledger_cert *c, const char *key)
{
    char serial[41], id[65];
    ds_ledger_serial_text(c, serial);
    ds_hex(c->fingerprint, sizeof c->fingerprint, id);
    if (c->state < DS_LEDGER_SIGNED && c->elsewhere) {
        printf("the reservation of %s is given up; its CA may have signed: ask there for certificates of %s\n", key,
               c->subject);
        return;
    }
    if (c->state < DS_LEDGER_SIGNED) {
        printf("the reservation %s of %s is given up; no certificate was signed for it\n", serial, key);
        return;
    }
    if (c->elsewhere)
        printf("certificate %s is to be revoked by its CA too, which knows nothing of this ledger\n", serial);
    printf("certificate %s of %s is revoked in the ledger; the endpoint refuses it after:\n"
           "  devstamp registry sync --registry FILE --ledger %s\n"
           "or, at an endpoint that cannot read this ledger:\n"
           "  devstamp registry set --registry FILE --device %s --state revoked\n",
           serial, key, o->ledger, id);
}

static int cmd_revoke(ds_ledger *l, const ds_ledger_options *o, const char *key)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_device d;
    ds_ledger_cert c = {0};
    enum ds_class rc = ds_ledger_find(l, key, &d, &e);
    if (!rc)
        rc = ds_ledger_cert_of(l, d.id, &c, &e);
    if (!rc)
        rc = ds_ledger_cert_revoke(l, c.id, o->reason, &e);
    if (!rc)
        tell_revoked(o, &c, key);
    ds_ledger_cert_free(&c);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static int run(const char *verb, const ds_ledger_options *o, const char *key)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger *l = NULL;
    bool init = strcmp(verb, "init") == 0, revoke = strcmp(verb, "revoke") == 0;
    if (ds_ledger_open(o->ledger, !revoke && !init, &l, &e))
        return ds_cli_fail(&e);
    int code = DS_EXIT_OK;
    if (init)
        puts("the ledger is ready");
    else if (strcmp(verb, "list") == 0)
        code = cmd_list(l, o);
    else if (strcmp(verb, "check") == 0)
        code = cmd_check(l, o);
    else if (strcmp(verb, "head") == 0)
        code = cmd_head(l, o);
    else if (strcmp(verb, "show") == 0)
        code = ds_ledger_cmd_show(l, o, key);
    else
        code = cmd_revoke(l, o, key);
    ds_ledger_close(l);
    return code;
}

// Does the verb exist, and does it have what it needs?
static bool complete(const char *verb, const ds_ledger_options *o, int operands)
{
    bool plain = strcmp(verb, "list") == 0 || strcmp(verb, "check") == 0 || strcmp(verb, "head") == 0 ||
                 strcmp(verb, "init") == 0;
    bool keyed = strcmp(verb, "show") == 0 || strcmp(verb, "revoke") == 0;
    if (!o->ledger || !(plain || keyed) || operands != (keyed ? 1 : 0))
        return false;
    return strcmp(verb, "revoke") != 0 || o->reason;
}

// The verbs with options of their own.
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} batch_verbs[] = {{"push", ds_ledger_cmd_push}, {"pull", ds_ledger_cmd_pull}, {"stations", ds_ledger_cmd_stations}};

int ds_cmd_ledger(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof batch_verbs / sizeof *batch_verbs; i++)
        if (strcmp(argv[1], batch_verbs[i].name) == 0)
            return batch_verbs[i].run(argc - 1, argv + 1);
    ds_ledger_options o = {0};
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (help || argc < 2)
        return ds_cli_usage(usage, help);
    if (!parse(argc - 1, argv + 1, &o, &help) || (!help && !complete(argv[1], &o, argc - 1 - optind)))
        return ds_cli_usage(usage, false);
    if (help)
        return ds_cli_usage(usage, true);
    return run(argv[1], &o, optind < argc - 1 ? argv[1 + optind] : NULL);
}
