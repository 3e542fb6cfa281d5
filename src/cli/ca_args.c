// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Options of devstamp ca; see ca_args.h.
#include "src/cli/ca_args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
    DIR_ = 256,
    ROOT_KEY,
    SUB_KEY,
    NAME,
    REQUEST,
    CERTIFICATE,
    ROOT_FILE,
    FINGERPRINT,
    KEY_FINGERPRINT,
    LIST,
    REVOKED,
    REASON,
    FORMAT,
    KEY,
    MAKER_ROOT,
    ATTESTATION,
    MODULE,
    LAST_TEXT, // those above are texts
    PIN_FILE,
    PIN_FD,
    LEDGER,
    PERMIT,
    EXCLUDE,
    TYPE,
    ROOT_TYPE,
    HOST,
    EXISTING,
    SUB_EXISTING,
    OF_ROOT,
    PREVIOUS_LOST,
    WITHOUT_ROOT,
    YEARS,
    DAYS
};

static const struct option known[] = {
    {"dir", required_argument, NULL, DIR_},
    {"root-key", required_argument, NULL, ROOT_KEY},
    {"sub-key", required_argument, NULL, SUB_KEY},
    {"name", required_argument, NULL, NAME},
    {"request", required_argument, NULL, REQUEST},
    {"certificate", required_argument, NULL, CERTIFICATE},
    {"root-certificate", required_argument, NULL, ROOT_FILE},
    {"root-fingerprint", required_argument, NULL, FINGERPRINT},
    {"key-fingerprint", required_argument, NULL, KEY_FINGERPRINT},
    {"list", required_argument, NULL, LIST},
    {"revoked", required_argument, NULL, REVOKED},
    {"reason", required_argument, NULL, REASON},
    {"format", required_argument, NULL, FORMAT},
    {"key", required_argument, NULL, KEY},
    {"maker-root", required_argument, NULL, MAKER_ROOT},
    {"attestation", required_argument, NULL, ATTESTATION},
    {"module", required_argument, NULL, MODULE},
    {"pin-file", required_argument, NULL, PIN_FILE},
    {"pin-fd", required_argument, NULL, PIN_FD},
    {"ledger", required_argument, NULL, LEDGER},
    {"permit", required_argument, NULL, PERMIT},
    {"exclude", required_argument, NULL, EXCLUDE},
    {"key-type", required_argument, NULL, TYPE},
    {"root-key-type", required_argument, NULL, ROOT_TYPE},
    {"host", required_argument, NULL, HOST},
    {"sub-existing", no_argument, NULL, SUB_EXISTING},
    {"existing", no_argument, NULL, EXISTING},
    {"root", no_argument, NULL, OF_ROOT},
    {"previous-lost", no_argument, NULL, PREVIOUS_LOST},
    {"no-root", no_argument, NULL, WITHOUT_ROOT},
    {"years", required_argument, NULL, YEARS},
    {"days", required_argument, NULL, DAYS},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool read_number(const char *text, long min, long max, long *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtol(text, &end, 10);
    return !errno && end != text && !*end && *ret >= min && *ret <= max;
}

static const char **text_of(ds_ca_args *o, int id)
{
    switch (id) {
    case DIR_:
        return &o->dir;
    case ROOT_KEY:
        return &o->root_key;
    case SUB_KEY:
        return &o->sub_key;
    case NAME:
        return &o->name;
    case REQUEST:
        return &o->request;
    case CERTIFICATE:
        return &o->certificate;
    case ROOT_FILE:
        return &o->root;
    case FINGERPRINT:
        return &o->fingerprint;
    case KEY_FINGERPRINT:
        return &o->key_fingerprint;
    case LIST:
        return &o->list;
    case REVOKED:
        return &o->revoked;
    case REASON:
        return &o->reason;
    case FORMAT:
        return &o->format;
    case KEY:
        return &o->key;
    case MAKER_ROOT:
        return &o->maker_root;
    case ATTESTATION:
        return &o->attestation;
    case MODULE:
        return &o->access.module;
    default:
        return &o->output;
    }
}

// "dn:O=Acme", "dns:example.com", "uri:.example.com".
static bool take_constraint(ds_ca_args *o, bool excluded, const char *text)
{
    static const char *const kinds[] = {
        [DS_CONSTRAINT_DN] = "dn:", [DS_CONSTRAINT_DNS] = "dns:", [DS_CONSTRAINT_URI] = "uri:"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && o->constraint_count < DS_CA_CONSTRAINTS; i++)
        if (strncmp(text, kinds[i], strlen(kinds[i])) == 0) {
            o->constraints[o->constraint_count++] =
                (ds_constraint){excluded, (enum ds_constraint_kind)i, text + strlen(kinds[i])};
            return true;
        }
    return false;
}

static bool take_ledger(ds_ca_args *o, const char *path)
{
    if (o->ledger_count == DS_CA_LEDGERS)
        return false;
    o->ledgers[o->ledger_count++] = path;
    return true;
}

static bool take_host(ds_ca_args *o, const char *host)
{
    if (o->host_count == DS_CA_HOSTS)
        return false;
    o->hosts[o->host_count++] = host;
    return true;
}

static bool take_type(const char *text, enum ds_key_type *ret)
{
    *ret = ds_key_type_parse(text);
    return *ret != DS_KEY_NONE;
}

static bool take_pin_fd(ds_ca_args *o, const char *text)
{
    long fd = -1;
    o->access.pin = DS_PIN_FD;
    bool good = read_number(text, 0, 65535, &fd);
    o->access.pin_fd = (int)fd;
    return good;
}

static bool take_flag(ds_ca_args *o, int id)
{
    o->existing |= id == EXISTING;
    o->sub_existing |= id == SUB_EXISTING;
    o->of_root |= id == OF_ROOT;
    o->previous_lost |= id == PREVIOUS_LOST;
    o->without_root |= id == WITHOUT_ROOT;
    return true;
}

static bool take(ds_ca_args *o, int id, const char *value)
{
    if (id < LAST_TEXT) {
        *text_of(o, id) = value;
        return true;
    }
    switch (id) {
    case PIN_FILE:
        o->access.pin = DS_PIN_FILE;
        o->access.pin_file = value;
        return true;
    case PIN_FD:
        return take_pin_fd(o, value);
    case LEDGER:
        return take_ledger(o, value);
    case PERMIT:
    case EXCLUDE:
        return take_constraint(o, id == EXCLUDE, value);
    case TYPE:
        return take_type(value, &o->type);
    case ROOT_TYPE:
        return take_type(value, &o->root_type);
    case HOST:
        return take_host(o, value);
    case YEARS:
        return read_number(value, 0, 1000, &o->years);
    case DAYS:
        return read_number(value, 1, 36500, &o->days);
    default:
        return take_flag(o, id);
    }
}

static bool is_allowed(const char *allowed, int id)
{
    const char *name = NULL;
    for (const struct option *k = known; k->name && !name; k++)
        name = k->val == id ? k->name : NULL;
    size_t len = name ? strlen(name) : 0;
    if (id == MODULE || id == PIN_FILE || id == PIN_FD)
        return true;
    for (const char *p = allowed; name && (p = strstr(p, name)); p += len)
        if ((p == allowed || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

bool ds_ca_args_read(int argc, char **argv, const char *allowed, const char *usage, ds_ca_args *o, int *ret_exit)
{
    int id;
    optind = 1;
    while ((id = getopt_long(argc, argv, "ho:", known, NULL)) != -1) {
        bool good = id != 'h' && id != '?' && is_allowed(allowed, id);
        if (good && take(o, id, optarg))
            continue;
        if (good)
            fprintf(stderr, "devstamp: bad value: %s\n", optarg);
        *ret_exit = ds_cli_usage(usage, id == 'h');
        return false;
    }
    o->operands = optind;
    return true;
}

void ds_ca_args_pin(ds_ca_args *o, const char *key)
{
    if (key && strncmp(key, "pkcs11:", 7) == 0 && o->access.pin == DS_PIN_NONE)
        o->access.pin = DS_PIN_PROMPT;
}
