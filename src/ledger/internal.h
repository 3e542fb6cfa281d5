// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of this room share. Functions without lock/begin in their name expect the caller to hold the ledger.
#ifndef DS_LEDGER_INTERNAL_H
#define DS_LEDGER_INTERNAL_H

#include "src/ledger/ledger.h"
#include "src/ledger/sql.h"
#include "src/ledger/sql_pg.h"

#include <pthread.h>

struct ds_ledger {
    ds_sql sql;
    pthread_mutex_t mutex; // of a file: one thread at a time
    int lock_fd;           // of a file: holds the flock; -1 where read only
    int64_t station;       // of a database: whose chain events go to, 1 to 4095; 0: this station wrote nothing yet
};

extern const ds_sql_schema ds_ledger_schema;
extern const ds_pg_schema ds_ledger_pg_schema;

// Hold the ledger (a file's, or one connection to a database) for reading / for one writing transaction. end commits
// where rc is DS_OK; both release it.
void ds_ledger_lock(ds_ledger *l);
void ds_ledger_unlock(ds_ledger *l);
enum ds_class ds_ledger_begin(ds_ledger *l, ds_err *e) DS_MUST;
enum ds_class ds_ledger_end(ds_ledger *l, enum ds_class rc, ds_err *e) DS_MUST;

// A writing transaction that is run again where other stations were quicker or the database was lost:
//     do {
//         rc = ds_ledger_begin(l, e);
//         if (rc)
//             return rc;
//         rc = what is to be done;
//     } while (ds_ledger_again(l, &rc, e));
// Ends the transaction as ds_ledger_end() does. Where the answer to a COMMIT was lost it asks for the event that was
// appended last; what appends none must do nothing when it is run twice.
bool ds_ledger_again(ds_ledger *l, enum ds_class *rc, ds_err *e);

// Find the station's chain or begin one (a name of 1 to 63 bytes); read_only: 0 where it has none.
enum ds_class ds_ledger_register(ds_ledger *l, const char *name, bool read_only, ds_err *e) DS_MUST;

// May this station go on with a reservation? DS_POLICY: another station made it, and its signer, which is another than
// ours, or a CA elsewhere may have signed it.
enum ds_class ds_ledger_may_take_over(ds_ledger *l, const ds_ledger_cert *c, ds_err *e) DS_MUST;
// The CA whose log a station of a database recorded last, by its fingerprint's digits; "" where it recorded none.
enum ds_class ds_ledger_ca_of(ds_ledger *l, int64_t station, char ret[65], ds_err *e) DS_MUST;

// A new row's id: NULL for a file, which counts by itself. In a transaction.
enum ds_class ds_ledger_new_id(ds_ledger *l, ds_sql_arg *ret, ds_err *e) DS_MUST;

// The number a product's next device gets, and that it got it.
enum ds_class ds_ledger_counter_next(ds_ledger *l, const char *product, int64_t *ret, ds_err *e) DS_MUST;
enum ds_class ds_ledger_counter_take(ds_ledger *l, const char *product, int64_t number, ds_err *e) DS_MUST;

// Release what it holds and make it zeros.
void ds_ledger_cert_clear(ds_ledger_cert *c);

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
// In a database: the station that made a row, from its id.
#define DS_LEDGER_OF_STATION "((id >> 10) & 4095)"
static inline int64_t ds_ledger_station_of(int64_t id)
{
    return id >> 10 & 4095;
}

// Write the chain's new end, where there is one, before the transaction ends: ds_ledger_end and ds_ledger_again do.
enum ds_class ds_ledger_write_tip(ds_ledger *l, ds_err *e) DS_MUST;

// Append to the evidence chain, inside the caller's transaction.
enum ds_class ds_ledger_append(ds_ledger *l, int64_t device, const char *kind, const char *text, ds_err *e) DS_MUST;

// The hash of a link: SHA-256 over previous hash, time, device, kind and text, each length-prefixed where it varies.
typedef struct ds_ledger_link {
    int64_t at_utc, device;
    const char *kind, *text;
} ds_ledger_link;
// What a chain begins with: zeros for a file (no name), a hash of the station's name in a database.
void ds_ledger_chain_begin(const char *station, uint8_t ret[32]);

// Every chain of the ledger with its end: an array of these.
typedef struct ds_ledger_chain {
    int64_t number, count; // number: the station's in a database
    uint8_t head[32];
    char station[64]; // "": a file's
} ds_ledger_chain;
enum ds_class ds_ledger_load_chains(ds_ledger *l, ds_buf *ret, ds_err *e) DS_MUST;

// Is the event with this hash there, now and for good? Outside a transaction.
enum ds_class ds_ledger_committed(ds_ledger *l, const uint8_t hash[32], bool *ret, ds_err *e) DS_MUST;

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
