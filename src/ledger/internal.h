// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of this room share. Functions without lock/begin in their name expect the caller to hold the ledger.
#ifndef DS_LEDGER_INTERNAL_H
#define DS_LEDGER_INTERNAL_H

#include "src/ledger/ledger.h"
#include "src/ledger/sql.h"

#include <pthread.h>

struct ds_ledger {
    ds_sql sql;
    pthread_mutex_t mutex;
    int lock_fd; // holds the flock; -1 where read only
};

extern const ds_sql_schema ds_ledger_schema;

// Hold the ledger for reading / for one writing transaction. end commits where rc is DS_OK; both release it.
void ds_ledger_lock(ds_ledger *l);
void ds_ledger_unlock(ds_ledger *l);
enum ds_class ds_ledger_begin(ds_ledger *l, ds_err *e) DS_MUST;
enum ds_class ds_ledger_end(ds_ledger *l, enum ds_class rc, ds_err *e) DS_MUST;

// DS_INPUT where there is no such device.
enum ds_class ds_ledger_load_device(ds_ledger *l, int64_t id, ds_ledger_device *ret, ds_err *e) DS_MUST;

// The certificate a one-argument condition on table certificate selects; *found false where none.
enum ds_class ds_ledger_load_cert(ds_ledger *l, const char *sql, ds_sql_arg key, ds_ledger_cert *ret, bool *found,
                                  ds_err *e) DS_MUST;
// DS_POLICY: this key is another device's.
enum ds_class ds_ledger_refuse_owner(ds_ledger *l, int64_t owner, ds_err *e) DS_MUST;
// The row ds_ledger_cert_newest returns; zeros where none.
enum ds_class ds_ledger_load_newest(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e) DS_MUST;
#define DS_LEDGER_CERT_COLUMNS                                                                                 \
    "SELECT id, device, state, serial, key_digest, not_before, not_after, subject, fingerprint, reserved_at, " \
    "signed_at, installed_at, registered_at, revoked_at, csr, der FROM certificate "

// Kinds of the events this room writes itself; no other may write them.
#define DS_LEDGER_KIND_DEVICE "ledger.device"
#define DS_LEDGER_KIND_CERT "ledger.certificate"
#define DS_LEDGER_KIND_REVOKED "ledger.revocation"
#define DS_LEDGER_KIND_PROOF "ledger.proof"
#define DS_LEDGER_KIND_KEY "ledger.key"
#define DS_LEDGER_KIND_SIGNER "ledger.signer"
#define DS_LEDGER_KIND_BUNDLE "ledger.bundle"

// Certificates that this station's signer made: those that were adopted, or came from a CA elsewhere, have an empty
// request.
#define DS_LEDGER_OF_SIGNER "length(csr) > 0"

// Append to the evidence chain, inside the caller's transaction.
enum ds_class ds_ledger_append(ds_ledger *l, int64_t device, const char *kind, const char *text, ds_err *e) DS_MUST;

// The hash of a link: SHA-256 over previous hash, time, device, kind and text, each length-prefixed where it varies.
typedef struct ds_ledger_link {
    int64_t at_utc, device;
    const char *kind, *text;
} ds_ledger_link;
void ds_ledger_link_hash(const uint8_t previous[32], const ds_ledger_link *link, uint8_t ret[32]);

// Does this certificate carry the reserved serial number and the reserved public key? DS_INPUT: no certificate at all.
enum ds_class ds_ledger_match(ds_view der, const uint8_t serial[16], const uint8_t key_digest[32], ds_err *e) DS_MUST;

// The same of a certificate whose CA chose the serial number.
enum ds_class ds_ledger_match_key(ds_view der, const uint8_t key_digest[32], ds_err *e) DS_MUST;
// Is this the number of a reservation whose certificate has another? Its first bit is set, which no certificate's is.
static inline bool ds_ledger_is_elsewhere(const uint8_t serial[16])
{
    return serial[0] & 0x80;
}

// The parts of ds_ledger_check; each reports through say().
typedef struct ds_ledger_checker {
    ds_ledger *l;
    void (*fn)(void *arg, const char *line);
    void *arg;
    unsigned problems;
} ds_ledger_checker;
void ds_ledger_say(ds_ledger_checker *k, const char *fmt, ...) DS_PRINTF(2, 3);
enum ds_class ds_ledger_check_chain(ds_ledger_checker *k, ds_err *e) DS_MUST;
enum ds_class ds_ledger_check_evidence(ds_ledger_checker *k, ds_err *e) DS_MUST;
enum ds_class ds_ledger_check_signer(ds_ledger_checker *k, ds_err *e) DS_MUST;

void ds_sha256(const void *data, size_t len, uint8_t ret[32]);

#endif
