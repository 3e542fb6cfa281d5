// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The options of devstamp cloud's verbs: one table, of which each verb allows a part; and what several verbs do first.
#ifndef DS_CLI_CLOUD_ARGS_H
#define DS_CLI_CLOUD_ARGS_H

#include "src/cli/cli.h"
#include "src/cloud/aws/iot.h"
#include "src/signer/signer.h"

typedef struct ds_cloud_args {
    ds_aws_config cloud;
    ds_signer_config access; // module and PIN
    const char *dir, *certificate, *sub_key, *subject, *template_name, *template_file, *role_arn, *ca_id, *recipe,
        *ledger, *with_ca, *policy, *from, *to, *name, *document, *output, *lambda_arn, *bucket, *key, *account, *task,
        *pin_fd, *rate, *tries, *jobs;
    bool sni_only, inactive, auto_registration, things, all, json, dry_run, jitr, update, revoked, yes;
    unsigned job_count; // 1 where none is named
    int operands;       // argv's index of the first
} ds_cloud_args;

// Read the options named in allowed ("ledger json"); region, profile, endpoint-url, ca-file, rate, dry-run and help
// always are. false where the exit code is decided already.
bool ds_cloud_args_read(int argc, char **argv, const char *allowed, const char *usage, ds_cloud_args *o, int *ret_exit);

// What every verb's usage text ends with.
#define DS_CLOUD_COMMON                                                                             \
    "  --region R, --profile P  else AWS_REGION and the usual chain of credentials (docs/aws.md)\n" \
    "  --endpoint-url URL  https://host[:port], where it is not the region's own\n"                 \
    "  --ca-file FILE      trust these authorities (PEM) instead of the system's\n"                 \
    "  --rate N            calls a second of each kind, where the account's quota is another\n"     \
    "  --tries N           how often a call is made at most when the service is busy or away (8)\n" \
    "  --dry-run           print each request, and make none\n"

// The id of the CA that --ca-id, --dir or --certificate names, as 64 hex digits. DS_USAGE: not one of them.
enum ds_class ds_cloud_ca_id(const ds_cloud_args *o, char ret[65], ds_err *e) DS_MUST;

// A time of an option: RFC 3339 with Z, or a date alone (its first second). DS_USAGE otherwise.
enum ds_class ds_cloud_time(const char *text, int64_t *ret, ds_err *e) DS_MUST;

// A copy without control characters of what may come from the service and goes to a terminal: the caller's.
char *ds_cloud_clean(const char *text);

// A file's text of at most 64 KiB, with a terminating zero.
enum ds_class ds_cloud_text(const char *path, ds_buf *ret, ds_err *e) DS_MUST;

#endif
