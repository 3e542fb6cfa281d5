// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a device reports of itself, and whether it was the device that said so. Internal to src/station.
#ifndef DS_STATION_EVIDENCE_H
#define DS_STATION_EVIDENCE_H

#include "src/station/job.h"

#define DS_EVIDENCE_NONCE 32

typedef struct ds_evidence {
    uint8_t nonce[DS_EVIDENCE_NONCE];
    ds_buf evidence, signature; // as received; owned
    Devstamp__Evidence *says;   // evidence, parsed; owned; not NULL
} ds_evidence;
void ds_evidence_free(ds_evidence *v);

// Ask for a report over a fresh nonce. Nothing of it is proved yet.
enum ds_class ds_evidence_ask(ds_job *j, int try_ms, ds_evidence *ret, ds_err *e) DS_MUST;

// Was it signed over this nonce with the private key of this certificate (DER)? DS_POLICY where not.
enum ds_class ds_evidence_verify(const ds_evidence *v, ds_view certificate, ds_err *e) DS_MUST;

#endif
