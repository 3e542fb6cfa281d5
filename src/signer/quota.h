// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The quota: how many certificates the officer lets this Sub CA's log hold for each recipe, for which serial numbers,
// until when. A JSON file:
//   {"quota": 1,
//    "ca": "<SHA-256 of the Sub CA certificate's DER, 64 hex digits>",   optional: a quota of another CA is refused
//    "recipes": [{"recipe": "lamp",
//                 "certificates": 1000,
//                 "first": "LAMP-000001", "last": "LAMP-001000",         optional, both or none
//                 "until": "2027-01-31T00:00:00Z"}]}                     optional
// What is used up is counted from the issuance log itself, whose records name their recipe: there is no counter that
// could be lost, doubled or put back alone. Serial numbers are compared by length, then byte by byte, so that numbers
// of one format keep their order. A recipe the file does not name has no quota: nothing is signed for it.
#ifndef DS_SIGNER_QUOTA_H
#define DS_SIGNER_QUOTA_H

#include "src/signer/log.h"
#include "src/signer/signer.h"

typedef struct ds_quota ds_quota;

// By length, then byte by byte, as strcmp.
int ds_quota_compare(const char *a, const char *b);

// DS_INPUT names what is wrong; DS_POLICY: of another CA.
enum ds_class ds_quota_read(const char *path, const uint8_t ca[32], ds_quota **ret, ds_err *e) DS_MUST;
void ds_quota_free(ds_quota *q);

// SHA-256 of the file as it was read: what a seal is bound to. 32 bytes, borrowed.
const uint8_t *ds_quota_digest(const ds_quota *q);

// May one more certificate be signed for that recipe and device, now? DS_POLICY says why not, how many are left, and
// what to do. q NULL: there is no quota, and it may.
enum ds_class ds_quota_check(const ds_quota *q, const ds_log_file *log, const char *recipe, const char *device_serial,
                             int64_t now_utc, ds_err *e) DS_MUST;

// How many certificates are left for a recipe; UINT64_MAX where q is NULL, 0 for one it does not name.
uint64_t ds_quota_left(const ds_quota *q, const ds_log_file *log, const char *recipe);

// What is left, one line of *ret each; the number of lines. ret: DS_QUOTA_MAX.
size_t ds_quota_list(const ds_quota *q, const ds_log_file *log, ds_signer_quota *ret);

#endif
