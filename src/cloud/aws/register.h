// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ledger's devices, registered in the cloud certificate by certificate, so that a factory that was off-line catches
// up and a run that was cut is simply run again: a certificate counts as done only once the ledger says so, and doing
// one twice changes nothing.
#ifndef DS_AWS_REGISTER_H
#define DS_AWS_REGISTER_H

#include "src/cloud/aws/iot.h"
#include "src/ledger/ledger.h"

// Something about one device: its serial number, its certificate's id (hex), what there is to say.
typedef void (*ds_aws_line_fn)(void *arg, const char *device, const char *id, const char *what);

typedef struct ds_aws_registration {
    const char *ca_pem; // register with this CA; NULL: without one
    const char *policy; // attach it; NULL: none
    bool things;        // make a thing named as the device's serial number
    bool inactive;      // not to be used yet
    bool all;           // those too that the ledger has as registered
    ds_aws_line_fn line;
    void *arg;
} ds_aws_registration;

typedef struct ds_aws_registered {
    unsigned registered; // by this run
    unsigned already;    // they were there, and the ledger knows it now
    unsigned before;     // the ledger knew it
    unsigned waiting;    // signed, and no device confirmed that it has it
    unsigned revoked;    // left out
    unsigned differing;  // there, in a state that is not to be changed unasked
    unsigned failed;     // refused, each for itself
} ds_aws_registered;

// What concerns one certificate alone is told through line and counted, and the next one follows; what concerns all
// (keys, network, ledger), or twenty such in a row, end the run. In a dry run the ledger is not changed. ret is filled
// in either case.
// Several clients work at once, each in a thread; line is called by one at a time.
enum { DS_AWS_JOBS = 16 };
enum ds_class ds_aws_register_all(ds_aws *const *clients, size_t client_count, ds_ledger *l,
                                  const ds_aws_registration *r, ds_aws_registered *ret, ds_err *e) DS_MUST;

#endif
