// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the registry learns from elsewhere: issuance logs and revocation lists; the isolation of what a CA signed in
// some time; and a report of everybody who is out. Manifests come by ds_registry_expect (registry.h).
#ifndef DS_CLOUD_REGISTRY_IMPORT_H
#define DS_CLOUD_REGISTRY_IMPORT_H

#include "src/cloud/registry.h"

typedef struct ds_registry_log_result {
    uint8_t ca[32];
    uint64_t entries; // known of that log now
    uint64_t fresh;   // of them new
    uint64_t waiting; // whole, but not covered by a head of the known log key yet
} ds_registry_log_result;

// Take the certificates of a signer's issuance log, or of a mirror of it, which is read and verified from end to end.
// It must begin with what was imported before, and with what its head says (head; NULL: "<log>.head", where there is
// one). Where the CA's log key is known, that head must be signed by it, and nothing behind it is taken. Incremental
// and idempotent; cut off, it is simply run again. When an entry counts as signed: at its own time, but never before an
// entry that stands before it, so that nothing can be slipped in under an earlier time.
// DS_INPUT: no log of a CA of devices; DS_STORE: damaged, or no continuation; DS_POLICY: the head is not the key's.
enum ds_class ds_registry_import_log(ds_registry *r, const char *log, const char *head, ds_registry_log_result *ret,
                                     ds_err *e) DS_MUST;

typedef struct ds_registry_crl_result {
    uint8_t ca[32];
    char subject[256];
    unsigned listed;  // certificates in the list
    unsigned fresh;   // not known to be revoked before
    unsigned devices; // of them registered here
    unsigned cas;     // registered CAs that were switched off, because their own CA revoked them
    bool stale;       // its next update is past
} ds_registry_crl_result;

// Take a CRL (DER or PEM) of a registered CA: its certificates are revoked for good, those that never connected too,
// by their serial numbers; a CA that its root revoked becomes inactive. Idempotent. DS_INPUT: not a whole CRL of one
// CA; DS_POLICY: no registered CA signed it, or its number is older than the last one's.
enum ds_class ds_registry_import_crl(ds_registry *r, ds_view crl, int64_t now_utc, ds_registry_crl_result *ret,
                                     ds_err *e) DS_MUST;

// Isolate what a CA signed from from_utc on and before until_utc (DS_REGISTRY_FOR_EVER: and ever after): inactive,
// until it is taken back with the same times and the state active, or revoked for good. The issuance log tells when a
// certificate was signed; what is not in it is out as long as any isolation of its CA stands. Takes effect at the next
// connect, and within a second on who is connected. DS_POLICY: it was revoked; DS_INPUT: no such CA, or nothing to
// take back.
#define DS_REGISTRY_FOR_EVER INT64_MAX
typedef struct ds_registry_isolation {
    uint8_t ca[32];
    int64_t from_utc, until_utc;
    enum ds_registry_state state;
    int64_t set_utc;
} ds_registry_isolation;
enum ds_class ds_registry_isolate(ds_registry *r, const ds_registry_isolation *i, ds_err *e) DS_MUST;
typedef void (*ds_registry_isolation_fn)(void *arg, const ds_registry_isolation *i);
enum ds_class ds_registry_each_isolation(ds_registry *r, ds_registry_isolation_fn fn, void *arg, ds_err *e) DS_MUST;

// Somebody who is not admitted.
typedef struct ds_registry_outcast {
    uint8_t id[32], ca[32];
    char name[65];   // empty where only the log knows it, and could not read it
    const char *why; // "the certificate is revoked", …
    bool registered; // it connected once; the times of that follow
    int64_t registered_utc, last_seen_utc;
    uint64_t entry; // of the log; 0: it is not in it
    int64_t issued_utc;
} ds_registry_outcast;
typedef void (*ds_registry_outcast_fn)(void *arg, const ds_registry_outcast *o);
typedef struct ds_registry_report_result {
    uint64_t admitted; // registered devices that are
    uint64_t out;      // and that are not
    uint64_t unseen;   // certificates that never connected and would be refused, as far as the log knows them
} ds_registry_report_result;
// Tell of everybody who is out; ca NULL: of all CAs. fn may not use the registry.
enum ds_class ds_registry_report(ds_registry *r, const uint8_t *ca, ds_registry_outcast_fn fn, void *arg,
                                 ds_registry_report_result *ret, ds_err *e) DS_MUST;

#endif
