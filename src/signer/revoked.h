// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the signer was told is revoked: a log of its own beside the issuance log, "<log>.revoked", of the same format
// (log_scan.h) with a head of its own, made by the first revocation. Each entry names a certificate of the issuance
// log by its serial number, key and recipe, and holds in place of the certificate
//   SEQUENCE { revokedAt INTEGER, reason INTEGER, by UTF8String }
// with the time in seconds since 1970 UTC and the reason of RFC 5280, 5.3.1. "devstamp ca crl" reads it, and the signer
// hands no certificate out again that stands in it.
#ifndef DS_SIGNER_REVOKED_H
#define DS_SIGNER_REVOKED_H

#include "src/signer/issuer.h"

typedef struct ds_revocation {
    uint8_t serial[16];
    char recipe[DS_LOG_RECIPE];
    int64_t revoked_utc;
    int reason;
    char by[64];
} ds_revocation;

// Open the one that belongs to the issuance log at path, where there is one.
enum ds_class ds_revoked_open(const char *path, ds_issuer *i, ds_err *e) DS_MUST;

// DS_POLICY: the certificate of that serial number is revoked.
enum ds_class ds_revoked_check(const ds_issuer *i, const uint8_t serial[16], ds_err *e) DS_MUST;

// Revoke; on disk before this returns. *ret: the revocation as it stands, *ret_before: that it did already. Of i only
// info, log, revoked_path and revoked are used. DS_POLICY: not in the issuance log, or of none of the recipes asked
// for.
enum ds_class ds_issuer_revoke(ds_issuer *i, const Devstamp__Signer__Revoke *req, ds_revocation *ret, bool *ret_before,
                               ds_err *e) DS_MUST;

// The same where no signer runs and none is needed: a revocation takes no key.
enum ds_class ds_revoke_here(const char *certificate, const char *log, const uint8_t serial[16], int reason,
                             const char *by, ds_revocation *ret, bool *ret_before, ds_err *e) DS_MUST;

// Every revocation in the file at path, verified, without being its signer.
typedef enum ds_class (*ds_revoked_fn)(void *arg, const ds_revocation *r, ds_err *e);
enum ds_class ds_revoked_each(const char *path, const uint8_t ca[32], ds_revoked_fn fn, void *arg, ds_err *e) DS_MUST;

#endif
