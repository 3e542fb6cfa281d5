// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the service complains of, in words and with what to do next. Source: AWS IoT API Reference, "Errors" of each
// operation; the common errors of AWS query signatures.
#ifndef DS_AWS_FAULT_H
#define DS_AWS_FAULT_H

#include "src/cloud/aws/http.h"

// In ds_err.code of what ds_aws_do fails with, where a caller may act on it.
enum ds_aws_fault {
    DS_AWS_OTHER = 0x41570000, // "AW"
    DS_AWS_THROTTLED,          // try again, slower
    DS_AWS_PASSING,            // try again: 5xx, a connection that was cut
    DS_AWS_EXPIRED,            // the credentials are over: look for new ones
    DS_AWS_OTHER_SCOPE,        // signed for another service name than this endpoint's
    DS_AWS_NOT_FOUND,
    DS_AWS_EXISTS,
    DS_AWS_CONFLICT,       // something is still attached
    DS_AWS_REFUSED_DEVICE, // this one certificate is not taken; the next may be
};

// Did it fail of that?
static inline bool ds_aws_is(enum ds_class rc, const ds_err *e, enum ds_aws_fault fault)
{
    return rc && e->code == (uint32_t)fault;
}

// Put the failure that a is (a status that is not 2xx) into e. Returns its class.
enum ds_class ds_aws_explain(const ds_aws_answer *a, ds_err *e);

#endif
