// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's end of the agent's protocol and a small CA, for tests of the agent. Everything here is written apart
// from the agent's own framing, so that a mistake there shows. Tests include fake_station.c after fake_port.c.
#ifndef DS_TEST_FAKE_STATION_H
#define DS_TEST_FAKE_STATION_H

#include "tests/unit/fake_port.h"

typedef struct fake_cert {
    uint8_t der[1500];
    size_t len;
} fake_cert;

// What the device told and was given, over any number of tries.
typedef struct fake_station {
    uint32_t id;
    int progress; // Progress messages seen with the last answer
    fake_cert root, sub;
    uint8_t public_key[512];
    size_t public_key_len;
    fake_cert device; // issued for that key
} fake_station;

// One frame around message, in a buffer of at least 2 * len + 20 bytes.
size_t fake_frame(const uint8_t *message, size_t len, uint8_t *to);
void fake_send_raw(fake_port *f, const uint8_t *data, size_t len); // to the agent's console; polls until all is read
// Send a request and give the answer; NULL where none came. Free with fake_free.
Devstamp__Response *fake_call(fake_port *f, fake_station *st, Devstamp__Request *q);
void fake_free(Devstamp__Response *r);
// Send a request and give the status code (CODE_...), or -1 without answer.
int fake_status(fake_port *f, fake_station *st, Devstamp__Request *q);

void fake_station_init(fake_station *st);
// A certificate for a SubjectPublicKeyInfo, signed by the Sub CA.
void fake_issue(const fake_station *st, const uint8_t *spki, size_t len, fake_cert *ret);

// The usual requests.
int fake_make_key(fake_port *f, fake_station *st, int type, bool replace, bool *ret_made); // keeps the public key in st
int fake_write_chain(fake_port *f, fake_station *st, const fake_cert *own);
int fake_write_value(fake_port *f, fake_station *st, const char *name_space, const char *key, int type,
                     const void *data, size_t len);
int fake_finish(fake_port *f, fake_station *st, uint32_t count, const uint8_t digest[32]);
int fake_stage(fake_port *f, fake_station *st); // by Hello; -1 where it failed
Devstamp__Response *fake_report(fake_port *f, fake_station *st, uint8_t *nonce, size_t len); // free with fake_free

// All mfg requests in order, as a station runs them; stops at the first that fails and gives its code. Run again until
// 0.
int fake_provision(fake_port *f, fake_station *st);

// What fake_provision writes: count and digest.
#define FAKE_STAMP_COUNT 6
extern const uint8_t fake_stamp_digest[32];

#endif
