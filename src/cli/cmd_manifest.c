// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp manifest: verify, split and join signed lists of devices and of serial numbers.
#include "src/cli/cmd_manifest.h"

#include "src/base/clock.h"
#include "src/cli/cmd_ledger.h"
#include "src/pki/cert.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char verify_usage[] =
    "usage: devstamp manifest verify --signed-by KEY ... [--json] FILE ...\n"
    "\n"
    "Are these files, which are one list or its parts in any order, signed by this key and whole? Each entry that is\n"
    "lost, edited, doubled or moved is named; exit 3 where there is one. Nothing but the files and the key is needed.\n"
    "\n" DS_LIST_SIGNED_BY "  --json           for machines\n";

static const char split_usage[] =
    "usage: devstamp manifest split --signed-by KEY ... --parts N -o OUT FILE ...\n"
    "\n"
    "Write a whole list as OUT.part-1-of-N and so on. Each part says which it is, and can be verified alone.\n"
    "\n" DS_LIST_SIGNED_BY;

static const char join_usage[] =
    "usage: devstamp manifest join --signed-by KEY ... [--repair --ledger FILE [--ca FILE]] -o OUT FILE ...\n"
    "\n"
    "Write the whole list from its parts, given in any order; of parts that are there twice the better one counts.\n"
    "Where something is lost or edited, nothing is written; with --repair it is made again from the ledger, and the\n"
    "whole then holds under the signature it had.\n"
    "\n" DS_LIST_SIGNED_BY "  --ledger FILE    the ledger the list was exported from\n"
    "  --ca FILE        the CA that the list was made for, where it was made for one\n";

void ds_manifest_tell_head(const ds_roll_head *h)
{
    char root[65], created[21];
    ds_hex(h->root, 32, root);
    ds_utc_format(h->created_utc, created);
    printf("%s of %s, %llu entr%s\nroot %s\n", ds_statement_name(h->kind), created, (unsigned long long)h->count,
           h->count == 1 ? "y" : "ies", root);
}

static void gather_fault(void *arg, const ds_roll_fault *f)
{
    DS_CLEANUP_FREE char *text = ds_list_fault_text(f);
    json_array_append_new(arg, json_string(text));
}

static int report_json(const ds_roll_files *f, json_t *faults)
{
    char root[65], id[65], created[21];
    ds_hex(f->head.root, 32, root);
    ds_hex(f->signature.key_id, 32, id);
    ds_utc_format(f->head.created_utc, created);
    bool whole = !f->missing && !f->faults;
    json_t *o = json_pack("{s:b,s:s,s:s,s:I,s:I,s:s,s:s,s:o}", "whole", whole, "what", ds_statement_name(f->head.kind),
                          "created", created, "entries", (json_int_t)f->head.count, "missing", (json_int_t)f->missing,
                          "root", root, "key", id, "faults", faults);
    int bad = json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
    return bad ? DS_EXIT_INTERNAL : whole ? DS_EXIT_OK : DS_EXIT_INPUT;
}

static int verify(int argc, char **argv)
{
    ds_list_args a;
    ds_roll_files f;
    ds_err e = DS_ERR_INIT;
    int code = 0;
    if (!ds_list_args_read(argc, argv, verify_usage, " signed-by json ", &a, &code))
        return code;
    if (!a.count || !a.signed_by_count)
        return ds_cli_usage(verify_usage, false);
    json_t *faults = a.json ? json_array() : NULL;
    const ds_roll_options o = ds_list_options(&a, a.json ? gather_fault : ds_list_tell_fault, faults);
    if (ds_roll_survey(a.operands, a.count, &o, &f, &e)) {
        json_decref(faults);
        return ds_cli_fail(&e);
    }
    if (a.json) {
        code = report_json(&f, faults);
    } else {
        ds_manifest_tell_head(&f.head);
        code = ds_list_demand_whole(&f, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
        if (code == DS_EXIT_OK)
            puts("whole, and signed as demanded");
    }
    ds_roll_files_free(&f);
    return code;
}

static int split(int argc, char **argv)
{
    ds_list_args a;
    ds_roll_files f;
    ds_err e = DS_ERR_INIT;
    int code = 0;
    if (!ds_list_args_read(argc, argv, split_usage, " signed-by parts output ", &a, &code))
        return code;
    if (!a.count || !a.signed_by_count || !a.out || a.parts < 2)
        return ds_cli_usage(split_usage, false);
    const ds_roll_options o = ds_list_options(&a, ds_list_tell_fault, NULL);
    if (ds_roll_survey(a.operands, a.count, &o, &f, &e))
        return ds_cli_fail(&e);
    enum ds_class rc = ds_list_demand_whole(&f, &e);
    if (!rc)
        rc = ds_roll_write_files(&f, a.out, a.parts, &e);
    if (!rc)
        printf("%u parts\n", a.parts);
    ds_roll_files_free(&f);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static void tell_made(void *arg, uint64_t index, const char *serial)
{
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(serial);
    (void)arg;
    printf("entry %llu: %s, made again from the ledger\n", (unsigned long long)index + 1, clean);
}

static enum ds_class repair(const ds_list_args *a, ds_roll_files *f, ds_err *e)
{
    ds_ledger *l = NULL;
    DS_CLEANUP_X509 X509 *ca = NULL;
    enum ds_class rc = ds_ledger_open(a->ledger, true, &l, e);
    if (!rc && a->ca)
        rc = ds_cert_read(a->ca, &ca, e);
    const ds_manifest_repair r = {f, l, ca, tell_made, NULL};
    if (!rc)
        rc = ds_manifest_write_repaired(&r, a->out, e);
    ds_ledger_close(l);
    return rc;
}

static enum ds_class join_files(const ds_list_args *a, ds_roll_files *f, ds_err *e)
{
    if (!f->missing)
        return ds_roll_write_files(f, a->out, 1, e);
    if (a->repair)
        return repair(a, f, e);
    enum ds_class rc = ds_list_demand_whole(f, e);
    return rc ? ds_hint(e, "nothing was written; --repair --ledger makes them again") : DS_OK;
}

static int join(int argc, char **argv)
{
    ds_list_args a;
    ds_roll_files f;
    ds_err e = DS_ERR_INIT;
    int code = 0;
    if (!ds_list_args_read(argc, argv, join_usage, " signed-by repair ledger ca output ", &a, &code))
        return code;
    if (!a.count || !a.signed_by_count || !a.out || a.repair != (a.ledger != NULL) || (a.ca && !a.repair))
        return ds_cli_usage(join_usage, false);
    const ds_roll_options o = ds_list_options(&a, ds_list_tell_fault, NULL);
    if (ds_roll_survey(a.operands, a.count, &o, &f, &e))
        return ds_cli_fail(&e);
    enum ds_class rc = join_files(&a, &f, &e);
    if (!rc)
        ds_manifest_tell_head(&f.head);
    ds_roll_files_free(&f);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_cmd_manifest(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"export", "list the ledger's devices, signed, or as others want it", ds_manifest_cmd_export},
        {"verify", "is a list, or its parts, whole and signed by this key?", verify},
        {"import", "announce devices to an endpoint, serial numbers to a station", ds_manifest_cmd_import},
        {"split", "write a list in parts", split},
        {"join", "put parts together, and repair what was lost", join},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp manifest", verbs, argc, argv);
}
