// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Cloud and ledger held against each other, both ways.
#ifndef DS_AWS_CHECK_H
#define DS_AWS_CHECK_H

#include "src/cloud/aws/register.h"

typedef struct ds_aws_checking {
    const char *ca_id; // only the certificates of this CA in the cloud; NULL: all of the account
    bool jitr;         // devices register themselves: one that never connected is no difference
    bool update;       // note in the ledger what the cloud has registered
    ds_aws_line_fn line;
    void *arg;
} ds_aws_checking;

typedef struct ds_aws_checked {
    unsigned issued, installed, registered; // in the ledger, of certificates that are not revoked; each counts the next
    unsigned revoked;                       // in the ledger
    unsigned in_cloud;                      // certificates there
    unsigned never_seen;                    // installed, and not in the cloud
    unsigned updated;                       // noted as registered by this run
    unsigned differences;
} ds_aws_checked;

// Each difference goes through line. 64 bytes of memory for each certificate in the cloud.
enum ds_class ds_aws_check(ds_aws *c, ds_ledger *l, const ds_aws_checking *k, ds_aws_checked *ret, ds_err *e) DS_MUST;

#endif
