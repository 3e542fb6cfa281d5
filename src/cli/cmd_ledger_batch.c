// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ledger push, pull and stations: what happened in one ledger, carried into another as signed batches.
#include "src/cli/cmd_ledger.h"
#include "src/cli/list_args.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/ledger/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char push_usage[] =
    "usage: devstamp ledger push --ledger FILE --key KEY [--from-event N] -o BATCH\n"
    "\n"
    "Write what happened since the last push as a signed batch: devices, certificates, proofs, and the events of the\n"
    "evidence chain. Proofs of possession stay here. The key names this station to those who pull: keep it. -o - is\n"
    "standard output.\n"
    "\n"
    "  --from-event N   what happened after event N, which devstamp ledger stations tells there (0: "
    "all)\n" DS_LIST_KEY_OPTIONS;

static const char pull_usage[] =
    "usage: devstamp ledger pull --ledger FILE --signed-by KEY ... BATCH|-\n"
    "\n"
    "Take a batch over, all of it or nothing. The same again changes nothing, nothing goes back, and a batch that\n"
    "contradicts this ledger is refused by the name of the device.\n"
    "\n" DS_LIST_SIGNED_BY;

static const char stations_usage[] = "usage: devstamp ledger stations --ledger FILE\n"
                                     "\n"
                                     "Each station whose batches were pulled: its key, and how far its evidence chain "
                                     "is here, verified event by event;\n"
                                     "exit 6 where a chain is broken or has a gap. The hash is what devstamp ledger "
                                     "check prints there as head, when the\n"
                                     "last batch was pushed.\n";

static void tell_range(const ds_batch_range *r)
{
    char head[65];
    ds_hex(r->to_hash, 32, head);
    printf("events %llu to %llu, head %s\n", (unsigned long long)r->from + 1, (unsigned long long)r->to, head);
}

static enum ds_class write_batch(const ds_list_args *a, ds_roll_spool *s, ds_roll_head *head, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_statement_signature signature;
    head->created_utc = ds_utc_now();
    enum ds_class rc = ds_roll_spool_rewind(s, e);
    ds_roll_spool_measure(s, head);
    if (!rc)
        rc = ds_roll_head_write(head, &text, e);
    if (!rc)
        rc = ds_list_sign(a, ds_buf_view(&text), &signature, e);
    return rc ? rc : ds_roll_write_spool(s, head, &signature, a->out, 1, e);
}

static enum ds_class push(const ds_list_args *a, ds_err *e)
{
    ds_ledger *l = NULL;
    ds_roll_spool *s = NULL;
    ds_roll_head head = {.kind = DS_STATEMENT_BATCH};
    ds_batch_range range = {0};
    uint64_t from = a->from;
    bool quiet = strcmp(a->out, "-") == 0;
    enum ds_class rc = ds_list_open_ledger(a, false, &l, e);
    if (!rc && !a->has_from)
        rc = ds_ledger_push_known(l, &from, e);
    if (!rc)
        rc = ds_roll_spool_new(a->out, &s, e);
    if (!rc)
        rc = ds_ledger_push(l, from, s, head.about, &range, e);
    bool any = !rc && range.to > range.from;
    if (any)
        rc = write_batch(a, s, &head, e);
    if (any && !rc) // after it is written: cut off here, the next batch has the same again, which does no harm
        rc = ds_ledger_pushed(l, &range, e);
    ds_roll_spool_free(s);
    ds_ledger_close(l);
    if (!rc && any && !quiet)
        tell_range(&range);
    else if (!rc && !any)
        fputs("nothing happened since the last push; no batch was written\n", quiet ? stderr : stdout);
    return rc;
}

int ds_ledger_cmd_push(int argc, char **argv)
{
    ds_list_args a;
    ds_err e = DS_ERR_INIT;
    int code = 0;
    if (!ds_list_args_read(argc, argv, push_usage, " ledger key from-event output ", &a, &code))
        return code;
    if (!a.ledger || !a.key || !a.out || a.count)
        return ds_cli_usage(push_usage, false);
    return push(&a, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// Standard input is read twice: it is kept in a file until it was.
static enum ds_class keep_input(const char *ledger, char **ret_path, ds_err *e)
{
    const char *folder = getenv("TMPDIR");
    char *path = ds_ledger_is_database(ledger)
                     ? ds_asprintf("%s/devstamp-batch-XXXXXX", folder && folder[0] ? folder : "/tmp")
                     : ds_asprintf("%s.batch-XXXXXX", ledger);
    uint8_t chunk[65536];
    size_t n = sizeof chunk;
    int fd = mkostemp(path, O_CLOEXEC);
    enum ds_class rc = fd < 0 ? ds_fail_errno(e, DS_STORE, errno, "%s", path) : DS_OK;
    while (!rc && n == sizeof chunk) {
        rc = ds_fd_read_full(STDIN_FILENO, chunk, sizeof chunk, &n, e);
        if (!rc)
            rc = ds_fd_write_all(fd, chunk, n, e);
    }
    if (fd >= 0)
        close(fd);
    *ret_path = path;
    return rc;
}

static enum ds_class pull_file(const ds_list_args *a, const char *path, ds_ledger_pulled *ret, ds_err *e)
{
    ds_ledger *l = NULL;
    ds_roll_files f;
    const ds_roll_options o = ds_list_options(a, ds_list_tell_fault, NULL);
    enum ds_class rc = ds_roll_survey(&path, 1, &o, &f, e);
    if (rc)
        return rc;
    rc = ds_list_demand_whole(&f, e);
    if (rc)
        rc = ds_hint(e, "nothing was taken over; have the station push again: devstamp ledger push --from-event");
    if (!rc)
        rc = ds_ledger_open(a->ledger, false, &l, e);
    if (!rc)
        rc = ds_ledger_pull(l, &f, ret, e);
    ds_ledger_close(l);
    ds_roll_files_free(&f);
    return rc;
}

static enum ds_class pull(const ds_list_args *a, ds_ledger_pulled *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *kept = NULL;
    bool standard = strcmp(a->operands[0], "-") == 0;
    enum ds_class rc = standard ? keep_input(a->ledger, &kept, e) : DS_OK;
    if (!rc)
        rc = pull_file(a, standard ? kept : a->operands[0], ret, e);
    if (kept)
        (void)unlink(kept);
    return rc;
}

int ds_ledger_cmd_pull(int argc, char **argv)
{
    ds_list_args a;
    ds_err e = DS_ERR_INIT;
    ds_ledger_pulled done = {0};
    int code = 0;
    if (!ds_list_args_read(argc, argv, pull_usage, " ledger signed-by ", &a, &code))
        return code;
    if (!a.ledger || !a.signed_by_count || a.count != 1)
        return ds_cli_usage(pull_usage, false);
    if (pull(&a, &done, &e))
        return ds_cli_fail(&e);
    tell_range(&done.range);
    printf("new here: %llu events, %llu devices, %llu certificates; %llu certificates went forward\n",
           (unsigned long long)done.events, (unsigned long long)done.devices, (unsigned long long)done.certificates,
           (unsigned long long)done.advanced);
    return DS_EXIT_OK;
}

typedef struct stations_told {
    bool any, whole;
} stations_told;

static void tell_station(void *arg, const ds_ledger_station *s)
{
    char head[65];
    stations_told *told = arg;
    told->any = true;
    ds_hex(s->head, 32, head);
    printf("sha256:%s: %llu events, head %s\n", s->key, (unsigned long long)s->events, head);
    if (s->broken)
        printf("  broken at event %llu: it, or one before it, was changed\n", (unsigned long long)s->broken);
    if (s->events != s->last)
        printf("  %llu events before number %llu are not here: pull the batches between, or "
               "have the station push anew (--from-event 0)\n",
               (unsigned long long)(s->last - s->events), (unsigned long long)s->last);
    told->whole = told->whole && !s->broken && s->events == s->last;
}

int ds_ledger_cmd_stations(int argc, char **argv)
{
    ds_list_args a;
    ds_err e = DS_ERR_INIT;
    ds_ledger *l = NULL;
    stations_told told = {.whole = true};
    int code = 0;
    if (!ds_list_args_read(argc, argv, stations_usage, " ledger ", &a, &code))
        return code;
    if (!a.ledger || a.count)
        return ds_cli_usage(stations_usage, false);
    enum ds_class rc = ds_ledger_open(a.ledger, true, &l, &e);
    if (!rc)
        rc = ds_ledger_each_station(l, tell_station, &told, &e);
    ds_ledger_close(l);
    if (!rc && !told.any)
        fputs("no batches were pulled into this ledger\n", stderr);
    return rc ? ds_cli_fail(&e) : told.whole ? DS_EXIT_OK : DS_EXIT_STORE;
}
