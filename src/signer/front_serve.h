// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One request of a known station: what it may ask for, and the answer. Apart from the connections (front.c).
#ifndef DS_SIGNER_FRONT_SERVE_H
#define DS_SIGNER_FRONT_SERVE_H

#include "proto/signer.pb-c.h"
#include "src/signer/front.h"
#include "src/signer/front_complaints.h"

typedef struct ds_front_case {
    const ds_front_config *config;
    const ds_front_station *station;
    ds_signer *signer;
    ds_front_complaints *complaints; // the station's
    void (*on_touch)(void *arg);     // the token waits to be touched for this request
    void *arg;
} ds_front_case;

// *ret: devstamp__signer__reply__free_unpacked. DS_OK or not, e says what went wrong; then *ret is NULL.
// May the station have a device of that serial number? DS_POLICY.
enum ds_class ds_front_check_device(const ds_front_station *s, const char *serial, ds_err *e) DS_MUST;

enum ds_class ds_front_answer(const ds_front_case *c, const Devstamp__Signer__Request *request,
                              Devstamp__Signer__Reply **ret, ds_err *e) DS_MUST;

#endif
