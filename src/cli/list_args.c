// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Options of lists; see list_args.h.
#include "src/cli/list_args.h"

#include "src/base/clock.h"
#include "src/cli/cmd_ledger.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum option_id {
    LEDGER = 256,
    REGISTRY,
    FORMAT,
    CA,
    SERIALS,
    SIGNED_BY,
    KEY,
    MODULE,
    TOKEN_SERIAL,
    PIN_FILE,
    PIN_FD,
    NO_PIN,
    NETWORK,
    PRODUCT,
    FROM,
    UNTIL,
    NOT_INSTALLED,
    NAME,
    NEW,
    ONLY,
    PARTS,
    REPAIR,
    JSON,
    FROM_EVENT
};

static const struct option known[] = {
    {"ledger", required_argument, NULL, LEDGER},
    {"registry", required_argument, NULL, REGISTRY},
    {"format", required_argument, NULL, FORMAT},
    {"ca", required_argument, NULL, CA},
    {"serials", required_argument, NULL, SERIALS},
    {"signed-by", required_argument, NULL, SIGNED_BY},
    {"key", required_argument, NULL, KEY},
    {"module", required_argument, NULL, MODULE},
    {"token-serial", required_argument, NULL, TOKEN_SERIAL},
    {"pin-file", required_argument, NULL, PIN_FILE},
    {"pin-fd", required_argument, NULL, PIN_FD},
    {"no-pin", no_argument, NULL, NO_PIN},
    {"network", no_argument, NULL, NETWORK},
    {"product", required_argument, NULL, PRODUCT},
    {"from", required_argument, NULL, FROM},
    {"until", required_argument, NULL, UNTIL},
    {"not-installed", no_argument, NULL, NOT_INSTALLED},
    {"name", required_argument, NULL, NAME},
    {"new", no_argument, NULL, NEW},
    {"only", required_argument, NULL, ONLY},
    {"parts", required_argument, NULL, PARTS},
    {"repair", no_argument, NULL, REPAIR},
    {"json", no_argument, NULL, JSON},
    {"from-event", required_argument, NULL, FROM_EVENT},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool is_allowed(const char *allowed, int id)
{
    const char *name = id >= MODULE && id <= NETWORK ? "key" : NULL; // what belongs to a key's token
    for (const struct option *k = known; k->name && !name; k++)
        name = k->val == id ? k->name : NULL;
    DS_CLEANUP_FREE char *word = ds_asprintf(" %s ", name ? name : "");
    return name && strstr(allowed, word);
}

static bool take_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    *ret = v;
    return !errno && *text >= '0' && *text <= '9' && !*end && v <= max;
}

// "2026-01-31T12:34:56Z"
static bool take_time(const char *text, int64_t *ret)
{
    char again[21], rest;
    struct tm t = {0};
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%c", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec,
               &rest) != 6)
        return false;
    t.tm_year -= 1900;
    t.tm_mon--;
    *ret = timegm(&t);
    ds_utc_format(*ret, again);
    return *ret > 0 && strcmp(text, again) == 0;
}

static bool take_word(const char *text, char *ret, size_t cap)
{
    size_t len = strlen(text);
    if (len == 0 || len >= cap)
        return false;
    memcpy(ret, text, len + 1);
    return true;
}

static bool take_fd(ds_list_args *a, const char *text)
{
    uint64_t v = 0;
    bool good = take_number(text, 1023, &v);
    a->access.pin = DS_PIN_FD;
    a->access.pin_fd = (int)v;
    return good;
}

static bool take_signed_by(ds_list_args *a, const char *text, ds_err *e)
{
    if (a->signed_by_count == DS_LIST_KEYS || ds_bundle_key_id(text, a->signed_by[a->signed_by_count], e))
        return false;
    a->signed_by_count++;
    return true;
}

static bool take_choice(ds_list_args *a, int id, const char *value)
{
    switch (id) {
    case PRODUCT:
        return take_word(value, a->choice.product, sizeof a->choice.product);
    case NAME:
        return take_word(value, a->choice.name, sizeof a->choice.name);
    case FROM:
        return take_time(value, &a->choice.from_utc);
    case UNTIL:
        return take_time(value, &a->choice.until_utc);
    case NOT_INSTALLED:
        return a->choice.not_installed = true;
    case NEW:
        return a->choice.fresh = true;
    case ONLY:
        if (a->only_count == DS_LIST_ONLY)
            return false;
        a->only[a->only_count++] = value;
        return true;
    default:
        return false;
    }
}

static bool take(ds_list_args *a, int id, const char *value, ds_err *e)
{
    uint64_t number = 0;
    const char **text = id == LEDGER         ? &a->ledger
                        : id == REGISTRY     ? &a->registry
                        : id == FORMAT       ? &a->format
                        : id == CA           ? &a->ca
                        : id == SERIALS      ? &a->serials
                        : id == KEY          ? &a->key
                        : id == MODULE       ? &a->access.module
                        : id == TOKEN_SERIAL ? &a->access.token_serial
                        : id == 'o'          ? &a->out
                                             : NULL;
    if (text)
        *text = value;
    switch (id) {
    case SIGNED_BY:
        return take_signed_by(a, value, e);
    case PIN_FILE:
        a->access.pin = DS_PIN_FILE;
        a->access.pin_file = value;
        return true;
    case PIN_FD:
        return take_fd(a, value);
    case NO_PIN:
        a->access.pin = DS_PIN_NONE;
        return a->no_pin = true;
    case NETWORK:
        return a->network = true;
    case PARTS:
        if (!take_number(value, DS_ROLL_PARTS_MAX, &number) || !number)
            return false;
        a->parts = (unsigned)number;
        return true;
    case FROM_EVENT:
        return a->has_from = take_number(value, INT64_MAX, &a->from);
    case REPAIR:
        return a->repair = true;
    case JSON:
        return a->json = true;
    default:
        return text || take_choice(a, id, value);
    }
}

bool ds_list_args_read(int argc, char **argv, const char *usage, const char *allowed, ds_list_args *ret, int *ret_exit)
{
    ds_err e = DS_ERR_INIT;
    *ret = (ds_list_args){.access = {.pin_fd = -1}, .parts = 1};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "o:h", known, NULL)) != -1;) {
        if (id == 'o' ? strstr(allowed, " output ") && take(ret, id, optarg, &e)
                      : id != 'h' && id != '?' && is_allowed(allowed, id) && take(ret, id, optarg, &e))
            continue;
        *ret_exit = e.cls ? ds_cli_fail(&e) : ds_cli_usage(usage, id == 'h');
        return false;
    }
    ret->operands = (const char **)(void *)(argv + optind);
    ret->count = (size_t)(argc - optind);
    ret->choice.serial = ret->only;
    ret->choice.serial_count = ret->only_count;
    bool token = ret->key && strncmp(ret->key, "pkcs11:", 7) == 0;
    if (token && ret->access.pin == DS_PIN_NONE && !ret->no_pin)
        ret->access.pin = DS_PIN_PROMPT;
    return true;
}

ds_roll_options ds_list_options(const ds_list_args *a, ds_roll_fault_fn fault, void *arg)
{
    return (ds_roll_options){{a->signed_by, a->signed_by_count}, fault, arg};
}

enum ds_class ds_list_open_ledger(const ds_list_args *a, bool read_only, ds_ledger **ret, ds_err *e)
{
    if (!ds_ledger_is_database(a->ledger) && access(a->ledger, F_OK) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "ledger %s", a->ledger);
    return ds_ledger_open(a->ledger, read_only, ret, e);
}

enum ds_class ds_list_sign(const ds_list_args *a, ds_view statement, ds_statement_signature *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0}, line = {0};
    bool named = strncmp(a->key, "pkcs11:", 7) == 0 || strncmp(a->key, "file:", 5) == 0;
    DS_CLEANUP_FREE char *uri = named ? ds_strdup(a->key) : ds_asprintf("file:%s", a->key);
    // Beside the PIN file, so that every run finds the note; else beside what is made.
    const char *beside = a->access.pin == DS_PIN_FILE ? a->access.pin_file : a->out;
    ds_order order = {.what = DS_ORDER_STATEMENT};
    ds_answer answer = {.what = DS_ORDER_STATEMENT};
    enum ds_class rc = ds_order_of_statement(statement, &order, e);
    if (!rc)
        rc = ds_order_write(&order, &text, e);
    const ds_order_sign s = {uri, NULL, beside, ds_buf_view(&text), a->network};
    if (!rc)
        rc = ds_order_have_signed(&a->access, &s, &answer, e);
    ds_order_free(&order);
    if (rc)
        return rc;
    ds_statement_signature made = {.key_len = answer.key_len, .signature_len = answer.signature_len};
    memcpy(made.key, answer.key, answer.key_len);
    memcpy(made.signature, answer.signature, answer.signature_len);
    ds_statement_signature_write(&made, &line); // and read again: its key's id
    return ds_statement_signature_parse(ds_buf_view(&line), ret, e);
}

char *ds_list_fault_text(const ds_roll_fault *f)
{
    DS_CLEANUP_FREE char *serial = ds_ledger_clean_text(f->serial);
    DS_CLEANUP_FREE char *says = serial[0] ? ds_asprintf(" (it says it is %s)", serial) : ds_strdup("");
    DS_CLEANUP_FREE char *where = f->path ? ds_asprintf("%s: ", f->path) : ds_strdup("");
    unsigned long long first = f->first + 1, last = f->first + f->count, line = f->line, count = f->count;
    DS_CLEANUP_FREE char *entries =
        count == 1 ? ds_asprintf("entry %llu", first) : ds_asprintf("entries %llu to %llu", first, last);
    switch (f->kind) {
    case DS_ROLL_EDITED:
        return ds_asprintf("%s%s: edited%s", where, entries, says);
    case DS_ROLL_LOST:
        return ds_asprintf("%s%s: lost", where, entries);
    case DS_ROLL_DOUBLED:
        return ds_asprintf("%s%s: doubled", where, entries);
    case DS_ROLL_MOVED:
        return ds_asprintf("%s%s: moved to another place", where, entries);
    case DS_ROLL_STRANGE:
        return ds_asprintf("%s%llu line%s from line %llu on: not of this list%s", where, count, count == 1 ? "" : "s",
                           line, says);
    case DS_ROLL_BLOCK_BAD:
        return ds_asprintf("%sline %llu: edited: the entries behind it cannot be judged", where, line);
    case DS_ROLL_PLACE_BAD:
        return ds_asprintf("%sline 3: edited: the part is another than it says", where);
    case DS_ROLL_HEAD_BAD:
    default: {
        DS_CLEANUP_FREE char *text = ds_ledger_clean_text(f->text ? f->text : "");
        return ds_asprintf("%s: the file cannot be used", text);
    }
    }
}

void ds_list_tell_fault(void *arg, const ds_roll_fault *f)
{
    DS_CLEANUP_FREE char *text = ds_list_fault_text(f);
    (void)arg;
    puts(text);
}

enum ds_class ds_list_demand_whole(const ds_roll_files *f, ds_err *e)
{
    if (f->missing)
        return ds_fail(e, DS_INPUT, "%llu of %llu entries are lost or edited", (unsigned long long)f->missing,
                       (unsigned long long)f->head.count);
    return f->faults ? ds_fail(e, DS_INPUT, "not whole: %llu faults", (unsigned long long)f->faults) : DS_OK;
}
