// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A client of AWS IoT's control plane: signs, keeps to the service's limits, tries again what may pass, and says in
// words what the service complains of. Calls may be made twice with one outcome, so that a connection cut after the
// request was sent is simply one more try; those of which that is not true say so. Not for threads.
#ifndef DS_AWS_CLIENT_H
#define DS_AWS_CLIENT_H

#include "src/cloud/aws/fault.h"

#include <jansson.h>
#include <stdio.h>

typedef struct ds_aws ds_aws;

typedef struct ds_aws_config {
    const char *region, *profile; // NULL: as ds_aws_region_find, ds_aws_keys_find
    const char *endpoint_url;     // NULL: the region's; "https://host[:port]"
    const char *ca_file;          // NULL: the system's authorities
    unsigned per_second;          // calls of each kind; 0: the service's limits
    unsigned tries;               // of one call; 0: 8
    ds_aws *limits_of;            // count calls together with that client, which is closed later; NULL: by itself
    FILE *dry_run;                // print each request there and make none; NULL: make them
} ds_aws_config;

// No request is made yet. DS_USAGE, DS_INPUT: region or address.
enum ds_class ds_aws_open(const ds_aws_config *cfg, ds_aws **ret, ds_err *e) DS_MUST;
void ds_aws_close(ds_aws *c);
const char *ds_aws_region(const ds_aws *c);
bool ds_aws_is_dry(const ds_aws *c);

enum { DS_AWS_PATH = 320, DS_AWS_QUERY = 4 };

typedef struct ds_aws_call {
    const char *action; // the operation's name in the API
    const char *method;
    char path[DS_AWS_PATH]; // ds_aws_path
    // In the order of the names; the values are encoded here. name NULL ends.
    struct {
        const char *name, *value;
    } query[DS_AWS_QUERY];
    const char *principal; // an ARN for x-amzn-principal; NULL: none
    const json_t *body;    // NULL: none
    bool no_repeat;        // not again, unless the service says that it did nothing
} ds_aws_call;

// Put "<before><name><after>" into path. DS_USAGE: a name that an address cannot carry as it is (letters, digits and
// -._~ only): what libcurl signs of others differs between its versions.
enum ds_class ds_aws_path(ds_aws_call *call, const char *before, const char *name, const char *after,
                          ds_err *e) DS_MUST;

// Make the call. *ret (may be NULL) becomes the answer, an object, empty in a dry run; json_decref. Blocks until there
// is an answer or the tries are used up. e->code: enum ds_aws_fault.
enum ds_class ds_aws_do(ds_aws *c, const ds_aws_call *call, json_t **ret, ds_err *e) DS_MUST;

// A text the answer must have; in a dry run "<name>" stands for it. DS_NETWORK: it is not there. Borrowed from answer.
enum ds_class ds_aws_text(const ds_aws *c, const json_t *answer, const char *name, const char **ret, ds_err *e) DS_MUST;

// The request as it goes out, for ds_aws_do, --dry-run and tests: url and body (NULL: none) are the caller's.
enum ds_class ds_aws_build(const ds_aws *c, const ds_aws_call *call, char **ret_url, char **ret_body,
                           ds_err *e) DS_MUST;

#endif
