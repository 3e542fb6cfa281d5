// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp manifest export: from the ledger, from a manifest, or from a text of serial numbers.
#include "src/cli/cmd_manifest.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp manifest export --ledger FILE --key KEY [choice] [--parts N] -o OUT\n"
    "       devstamp manifest export --ledger FILE --format FORMAT [choice] -o OUT\n"
    "       devstamp manifest export --signed-by KEY ... --format FORMAT [--ca FILE] -o OUT FILE ...\n"
    "       devstamp manifest export --serials FILE --product NAME --key KEY [--parts N] -o OUT\n"
    "\n"
    "The first writes a signed manifest of devices (docs/manifest.md), the second a list for others, which is not\n"
    "signed; the third makes the same from a manifest, after verifying it. The last signs a list of serial numbers, "
    "one\n"
    "a line, for stations whose recipe says {list}. -o - is standard output.\n"
    "\n"
    "  --format FORMAT  aws (bulk registration task), azure (DPS bulk enrollment), csv, json\n"
    "  --parts N        OUT.part-1-of-N and so on\n"
    "choice: devices whose certificate is live and which hold it, and of those\n"
    "  --product NAME   of this recipe\n"
    "  --ca FILE        with a certificate by this CA; aws: its PEM goes into each line\n"
    "  --from TIME, --until TIME  signed since, before (2026-01-31T12:00:00Z)\n"
    "  --only SERIAL    this one, as often as there are such\n"
    "  --not-installed  those too that have not echoed their certificate yet\n"
    "  --name NAME      record in the ledger that they were exported under this name\n"
    "  --new            with --name: only those that were in no export of that name\n" DS_LIST_KEY_OPTIONS
        DS_LIST_SIGNED_BY;

static enum ds_class sign_and_write(const ds_list_args *a, ds_roll_spool *s, ds_roll_head *head, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_statement_signature signature;
    head->created_utc = ds_utc_now();
    ds_roll_spool_measure(s, head);
    enum ds_class rc = ds_roll_head_write(head, &text, e);
    if (!rc)
        rc = ds_list_sign(a, ds_buf_view(&text), &signature, e);
    if (!rc)
        rc = ds_roll_write_spool(s, head, &signature, a->out, a->parts, e);
    if (!rc && strcmp(a->out, "-") != 0)
        ds_manifest_tell_head(head);
    return rc;
}

// One file, whole or not at all.
static enum ds_class open_output(const char *path, FILE **ret, char **ret_name, ds_err *e)
{
    bool standard = strcmp(path, "-") == 0;
    *ret_name = ds_asprintf("%s.new", path);
    *ret = standard ? stdout : fopen(*ret_name, "we");
    return *ret ? DS_OK : ds_fail_errno(e, DS_STORE, errno, "%s", *ret_name);
}

static enum ds_class close_output(const char *path, FILE *f, const char *name, enum ds_class rc, ds_err *e)
{
    if (f == stdout)
        return rc;
    if (!rc && fsync(fileno(f)) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (fclose(f) != 0 && !rc)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (!rc && rename(name, path) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (rc)
        (void)unlink(name);
    return rc;
}

typedef enum ds_class (*next_fn)(void *arg, ds_view *ret, bool *more, ds_err *e);

static enum ds_class print_one(ds_manifest_printer *p, ds_view entry, ds_err *e)
{
    ds_listed d = {.serial = ""};
    enum ds_class rc = ds_listed_parse(entry, &d, e);
    if (!rc)
        rc = ds_manifest_print(p, &d, e);
    ds_listed_free(&d);
    return rc;
}

static enum ds_class print_all(const ds_list_args *a, X509 *ca, next_fn next, void *arg, ds_err *e)
{
    DS_CLEANUP_FREE char *name = NULL;
    ds_manifest_printer p = {.format = ds_manifest_format_parse(a->format), .ca = ca};
    bool more = true;
    ds_view entry;
    enum ds_class rc = open_output(a->out, &p.out, &name, e);
    if (rc)
        return rc;
    while (!rc && !(rc = next(arg, &entry, &more, e)) && more)
        rc = print_one(&p, entry, e);
    enum ds_class end = ds_manifest_print_end(&p, rc ? NULL : e);
    rc = close_output(a->out, p.out, name, rc ? rc : end, e);
    if (!rc && p.out != stdout)
        printf("%llu device%s\n", (unsigned long long)p.count, p.count == 1 ? "" : "s");
    return rc;
}

typedef struct from_spool {
    ds_roll_spool *s;
    uint64_t left;
} from_spool;

static enum ds_class next_of_spool(void *arg, ds_view *ret, bool *more, ds_err *e)
{
    from_spool *f = arg;
    *more = f->left > 0;
    return f->left && f->left-- ? ds_roll_spool_next(f->s, ret, e) : DS_OK;
}

typedef struct from_files {
    ds_roll_files *f;
    ds_roll_block b;
    uint64_t next; // entry
} from_files;

static enum ds_class next_of_files(void *arg, ds_view *ret, bool *more, ds_err *e)
{
    from_files *f = arg;
    unsigned i = (unsigned)(f->next % DS_ROLL_BLOCK);
    *more = f->next < f->f->head.count;
    if (!*more)
        return DS_OK;
    enum ds_class rc = i == 0 ? ds_roll_load(f->f, f->next / DS_ROLL_BLOCK, &f->b, e) : DS_OK;
    if (!rc)
        *ret = f->b.entry[i];
    f->next++;
    return rc;
}

static enum ds_class write_ledgers(const ds_list_args *a, ds_ledger *l, const ds_manifest_choice *c, ds_roll_spool *s,
                                   ds_err *e)
{
    ds_roll_head head = {.kind = DS_STATEMENT_DEVICES};
    enum ds_class rc = ds_roll_spool_rewind(s, e);
    if (!rc && a->format)
        rc = print_all(a, c->ca, next_of_spool, &(from_spool){s, ds_roll_spool_count(s)}, e);
    if (!rc && !a->format)
        rc = ds_manifest_about(c, head.about, e);
    if (!rc && !a->format)
        rc = sign_and_write(a, s, &head, e);
    if (!rc && c->name[0]) // after it is written: cut off here, the next export lists them again, and none is left out
        rc = ds_roll_spool_rewind(s, e);
    return rc || !c->name[0] ? rc : ds_manifest_record(l, c, s, e);
}

static enum ds_class export_ledger(const ds_list_args *a, X509 *ca, ds_err *e)
{
    ds_ledger *l = NULL;
    ds_roll_spool *s = NULL;
    ds_manifest_choice c = a->choice;
    unsigned len = sizeof c.ca_id;
    c.ca = ca;
    c.by_ca = ca;
    if (ca && X509_digest(ca, EVP_sha256(), c.ca_id, &len) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "digest of the CA");
    enum ds_class rc = ds_list_open_ledger(a, !c.name[0], &l, e);
    if (!rc)
        rc = ds_roll_spool_new(a->out, &s, e);
    if (!rc)
        rc = ds_manifest_collect(l, &c, s, e);
    if (!rc && !ds_roll_spool_count(s)) {
        if (!c.fresh)
            rc = ds_fail(e, DS_INPUT, "the ledger has no such device");
        else if (strcmp(a->out, "-") != 0)
            printf("nothing new since the last export as %s\n", c.name);
    } else if (!rc) {
        rc = write_ledgers(a, l, &c, s, e);
    }
    ds_roll_spool_free(s);
    ds_ledger_close(l);
    return rc;
}

static enum ds_class export_files(const ds_list_args *a, X509 *ca, ds_err *e)
{
    ds_roll_files f;
    const ds_roll_options o = ds_list_options(a, ds_list_tell_fault, NULL);
    enum ds_class rc = ds_roll_survey(a->operands, a->count, &o, &f, e);
    if (rc)
        return rc;
    from_files *from = ds_alloc(sizeof *from);
    from->f = &f;
    rc = ds_list_demand_whole(&f, e);
    if (!rc && f.head.kind != DS_STATEMENT_DEVICES)
        rc = ds_fail(e, DS_INPUT, "%s: is no manifest of devices", a->operands[0]);
    if (!rc)
        rc = print_all(a, ca, next_of_files, from, e);
    free(from);
    ds_roll_files_free(&f);
    return rc;
}

static enum ds_class spool_serials(FILE *in, const char *path, ds_roll_spool *s, ds_err *e)
{
    char line[130], serial[64], rest;
    enum ds_class rc = DS_OK;
    for (unsigned n = 1; !rc && fgets(line, sizeof line, in); n++) {
        DS_CLEANUP_BUF ds_buf entry = {0};
        int fields = sscanf(line, "%63s %c", serial, &rest);
        if (fields == EOF)
            continue;
        if (fields != 1 || !strchr(line, '\n') ||
            strspn(serial, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:") != strlen(serial))
            return ds_fail(e, DS_INPUT, "%s: line %u: one serial number of 1 to 63 letters, digits and -._: a line",
                           path, n);
        rc = ds_listed_serial_write(serial, &entry, e);
        if (!rc)
            rc = ds_roll_spool_add(s, ds_buf_view(&entry), e);
    }
    if (!rc && ferror(in))
        rc = ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    return rc;
}

static enum ds_class export_serials(const ds_list_args *a, ds_err *e)
{
    ds_roll_spool *s = NULL;
    ds_roll_head head = {.kind = DS_STATEMENT_SERIALS};
    const ds_manifest_choice about = {.product = ""};
    ds_manifest_choice c = about;
    memcpy(c.product, a->choice.product, sizeof c.product);
    bool standard = strcmp(a->serials, "-") == 0;
    FILE *in = standard ? stdin : fopen(a->serials, "re");
    if (!in)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", a->serials);
    enum ds_class rc = ds_roll_spool_new(a->out, &s, e);
    if (!rc)
        rc = spool_serials(in, a->serials, s, e);
    if (!rc && !ds_roll_spool_count(s))
        rc = ds_fail(e, DS_INPUT, "%s: has no serial number", a->serials);
    if (!rc)
        rc = ds_roll_spool_rewind(s, e);
    if (!rc)
        rc = ds_manifest_about(&c, head.about, e);
    if (!rc)
        rc = sign_and_write(a, s, &head, e);
    ds_roll_spool_free(s);
    if (!standard)
        (void)fclose(in);
    return rc;
}

static bool is_complete(const ds_list_args *a)
{
    const ds_manifest_choice *c = &a->choice;
    bool choosing = c->from_utc || c->until_utc || c->serial_count || c->not_installed || c->name[0] || c->fresh;
    if (!a->out || (a->format && (ds_manifest_format_parse(a->format) == DS_FORMATS || a->key || a->parts > 1)) ||
        (c->fresh && !c->name[0]) || (a->parts > 1 && strcmp(a->out, "-") == 0))
        return false;
    if (a->ledger)
        return !a->serials && !a->count && !a->signed_by_count && (a->format || a->key);
    if (a->serials)
        return !a->count && !a->signed_by_count && !a->format && a->key && c->product[0] && !choosing && !a->ca;
    return a->count && a->signed_by_count && a->format && !choosing && !c->product[0];
}

int ds_manifest_cmd_export(int argc, char **argv)
{
    ds_list_args a;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_X509 X509 *ca = NULL;
    int code = 0;
    if (!ds_list_args_read(
            argc, argv, usage,
            " ledger key format product ca from until only not-installed name new parts output signed-by "
            "serials ",
            &a, &code))
        return code;
    if (!is_complete(&a))
        return ds_cli_usage(usage, false);
    enum ds_class rc = a.ca ? ds_cert_read(a.ca, &ca, &e) : DS_OK;
    if (!rc)
        rc = a.ledger ? export_ledger(&a, ca, &e) : a.serials ? export_serials(&a, &e) : export_files(&a, ca, &e);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
