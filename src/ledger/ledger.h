// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The record: a ledger in which no certificate is ever lost and none is issued twice. Every function that returns DS_OK
// has its change on disk. Threads of one process may share a ds_ledger. Two places (docs/ledger.md):
//
// A file: SQLite (WAL, synchronous=FULL). One process at a time writes (a lock beside the file).
//
// A database: PostgreSQL, or what speaks its protocol, named by "postgresql://…" or by libpq's "key=value …". Any
// number of stations write at once. Where it cannot be reached, functions wait for it (connect_timeout seconds, 60
// where the place does not say) and fail with DS_STORE then; nothing is lost. A COMMIT whose answer was lost is looked
// up.
#ifndef DS_LEDGER_H
#define DS_LEDGER_H

#include "src/base/buf.h"

typedef struct ds_ledger ds_ledger;

enum ds_ledger_state { // of a certificate; each durable before the next act
    DS_LEDGER_RESERVED = 1,
    DS_LEDGER_SIGNED = 2,
    DS_LEDGER_INSTALLED = 3,
    DS_LEDGER_REGISTERED = 4,
};
const char *ds_ledger_state_name(enum ds_ledger_state s);

// Open or create (a file with mode 0600). DS_STORE: locked by another utility (names its pid), full disk, not a ledger,
// newer schema; database not reached. DS_USAGE: a password in the place. read_only takes no lock.
enum ds_class ds_ledger_open(const char *path, bool read_only, ds_ledger **ret, ds_err *e) DS_MUST;
// As this station: who writes to a database (1 to 63 bytes, another for each station). ds_ledger_open takes the host's
// name. For a file it makes no difference.
enum ds_class ds_ledger_open_as(const char *path, const char *station, bool read_only, ds_ledger **ret,
                                ds_err *e) DS_MUST;
void ds_ledger_close(ds_ledger *l);

// Does this name a database rather than a file? (A file whose name looks so is written "./name".)
bool ds_ledger_is_database(const char *path);

// The chip of a platform of one's own, which has no lock: its devices are never marked locked, and whole without.
#define DS_LEDGER_CHIP_WITHOUT_LOCK 0xFFFFu

typedef struct ds_ledger_device {
    int64_t id;
    uint16_t chip_id;
    uint8_t mac[6];
    char product[64]; // recipe's name
    char serial[64];  // device serial number; empty until assigned
    char pop[64];     // proof of possession; empty until made
    char stage[16];   // last step's name that was completed
    bool locked;      // proof stored and whole, of a chip that can lock
    int64_t first_seen_utc, last_seen_utc;
} ds_ledger_device;

// Find by chip and MAC, or make; *ret is filled. Idempotent. The product stays once the device has a serial number or a
// certificate: compare ret->product.
enum ds_class ds_ledger_device_get(ds_ledger *l, uint16_t chip_id, const uint8_t mac[6], const char *product,
                                   ds_ledger_device *ret, ds_err *e) DS_MUST;
// Assign a serial number once: where the device has one, that one is returned. format: text with {mac} (12 hex digits,
// upper case) and/or {counter} or {counter:N} (decimal, N digits, per product, starting at 1); or "{list}": the next
// one of those that were imported for the product (lists.h). DS_POLICY where it would not be unique, or none is left.
enum ds_class ds_ledger_device_serial(ds_ledger *l, int64_t device, const char *format, char ret[64],
                                      ds_err *e) DS_MUST;
// Store a proof of possession once; returns the one already there where there is one.
enum ds_class ds_ledger_device_pop(ds_ledger *l, int64_t device, const char *candidate, char ret[64],
                                   ds_err *e) DS_MUST;
enum ds_class ds_ledger_device_stage(ds_ledger *l, int64_t device, const char *stage, ds_err *e) DS_MUST;
// Evidence of the locked state, JSON text; marks the device locked where whole and its chip can lock.
enum ds_class ds_ledger_device_proof(ds_ledger *l, int64_t device, bool whole, const char *json, ds_err *e) DS_MUST;

typedef struct ds_ledger_cert {
    int64_t id, device;
    enum ds_ledger_state state;
    uint8_t serial[16];            // certificate serial number: random, first byte 01..7F; where elsewhere, a number
                                   // of the reservation alone, first byte 80..FF: the certificate has its CA's
    uint8_t public_key_digest[32]; // SHA-256 of SubjectPublicKeyInfo
    int64_t not_before_utc, not_after_utc;
    char subject[256];
    uint8_t fingerprint[32]; // SHA-256 of DER; zero until signed
    int64_t reserved_utc, signed_utc, installed_utc, registered_utc;
    bool revoked;
    bool elsewhere;     // asked of a CA that chooses serial number and validity itself
    ds_buf csr;         // DER; owned; where elsewhere, empty once it is signed
    ds_buf certificate; // DER; owned; empty until signed
} ds_ledger_cert;
void ds_ledger_cert_free(ds_ledger_cert *c);

// Everything that decides a certificate, written down before it is asked for.
typedef struct ds_ledger_reserve {
    int64_t device;
    ds_view csr;
    const uint8_t *public_key_digest; // 32
    const char *subject;
    int64_t not_before_utc, not_after_utc;
    const char *slot;     // where the device is connected, for the record; NULL: not told
    const char *asked_of; // the CA elsewhere that is to sign; NULL: this station's signer
} ds_ledger_reserve;

// Reserve, or return what was reserved (any later state) for this device and this public key: the same CSR asked again
// gives the same certificate. DS_POLICY: the public key was shown by another device; or the device has a live
// certificate for another key; or the certificate was signed for another subject; or another station of the database
// reserved it and did not record it as signed, and the two do not use one signer: it may have been signed there; or
// the reservation came in a batch, for the same reason.
//
// A reservation that was never signed follows a corrected recipe: with another subject or another length of validity
// (or none: 99991231235959Z) it takes CSR, subject and validity of this call and keeps its serial number; with the
// same, nothing changes, whenever the call is made. Where the signer signed it and the station was killed before it
// heard, the signer decides: it gives out what is in its log, whatever validity is asked (what the certificate says
// counts then), and refuses another subject, naming the one it signed. Then either ask for that subject again and be
// given that certificate, or revoke the reservation and let the device make a new key: one key never gets two
// certificates.
//
// A reservation stays with the kind of CA that it was made for, which may have signed it: DS_POLICY where asked_of says
// otherwise now.
enum ds_class ds_ledger_cert_reserve(ds_ledger *l, const ds_ledger_reserve *r, ds_ledger_cert *ret, ds_err *e) DS_MUST;
// A certificate that was made before its device was known (a stamp of a pool), taken over as this device's, signed at
// once. Its serial number, key and validity are the certificate's own. Idempotent. DS_POLICY as ds_ledger_cert_reserve:
// the key is another device's, or was revoked, or the device has a live certificate for another key. It is in no log of
// this station's signer, and is not counted there.
typedef struct ds_ledger_adopt {
    int64_t device;
    ds_view certificate;              // DER
    const uint8_t *serial;            // 16
    const uint8_t *public_key_digest; // 32
    const char *subject;
    int64_t not_before_utc, not_after_utc;
    const char *slot; // as of ds_ledger_reserve
} ds_ledger_adopt;
enum ds_class ds_ledger_cert_adopt(ds_ledger *l, const ds_ledger_adopt *a, ds_ledger_cert *ret, ds_err *e) DS_MUST;
// reserved -> signed; the same bytes again are fine, other bytes are DS_POLICY, and so is a certificate without the
// reserved serial number and public key. DS_INPUT: not one DER certificate.
enum ds_class ds_ledger_cert_signed(ds_ledger *l, int64_t cert, ds_view der, ds_err *e) DS_MUST;
// A reservation with asked_of is about to be asked for: written down before each request. *ret_before: how often it was
// already. Whoever was asked more than once may have signed as many certificates, of which this ledger sees one.
enum ds_class ds_ledger_cert_asked(ds_ledger *l, int64_t cert, const char *of, unsigned *ret_before, ds_err *e) DS_MUST;
// reserved -> signed, of such a reservation: its serial number and validity are from now on the certificate's own. The
// same bytes again are fine, other bytes are DS_POLICY, and so is a certificate without the reserved public key. It is
// in no log of this station's signer, and is not counted there. DS_INPUT: not one DER certificate.
typedef struct ds_ledger_received {
    ds_view certificate; // DER
    const char *serial;  // its serial number, hex, for the record
    int64_t not_before_utc, not_after_utc;
} ds_ledger_received;
enum ds_class ds_ledger_cert_received(ds_ledger *l, int64_t cert, const ds_ledger_received *r, ds_err *e) DS_MUST;
// signed -> installed; digest is what the device echoed and must equal the fingerprint (DS_POLICY).
enum ds_class ds_ledger_cert_installed(ds_ledger *l, int64_t cert, const uint8_t digest[32], ds_err *e) DS_MUST;
// installed -> registered, by fingerprint. DS_INPUT where no such certificate. Idempotent (keeps the first time). A
// signed one is taken as installed at that time: who authenticates with a certificate has it. DS_POLICY where revoked.
enum ds_class ds_ledger_cert_registered(ds_ledger *l, const uint8_t fingerprint[32], int64_t at_utc, ds_err *e) DS_MUST;
// Give a certificate (or a reservation) up for good, so that the device may get another one. Idempotent.
enum ds_class ds_ledger_cert_revoke(ds_ledger *l, int64_t cert, const char *reason, ds_err *e) DS_MUST;
// The device's live (newest unrevoked) certificate. DS_INPUT: the device has none, and nothing else is wrong; DS_STORE:
// the ledger could not be read, so that nobody knows.
enum ds_class ds_ledger_cert_of(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e) DS_MUST;
// Say so where the device shows another key than that certificate's, or none: DS_POLICY, always.
enum ds_class ds_ledger_refuse_live(const ds_ledger_cert *live, ds_err *e) DS_MUST;
// The live or else the newest certificate, revoked or not; state 0 where the device never had one.
enum ds_class ds_ledger_cert_newest(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e) DS_MUST;
// The certificate with this fingerprint; state 0 where there is none.
enum ds_class ds_ledger_cert_find(ds_ledger *l, const uint8_t fingerprint[32], ds_ledger_cert *ret, ds_err *e) DS_MUST;
// Certificates that were signed and revoked, in order of their making. fn false stops; it may use the ledger.
typedef struct ds_ledger_revoked {
    uint8_t fingerprint[32];
    char serial[64]; // of the device
} ds_ledger_revoked;
typedef bool (*ds_ledger_revoked_fn)(void *arg, const ds_ledger_revoked *c);
enum ds_class ds_ledger_each_revoked(ds_ledger *l, ds_ledger_revoked_fn fn, void *arg, ds_err *e) DS_MUST;
// The same for a CRL: when and why. fn may not use the ledger; what it fails with ends the walk.
typedef struct ds_ledger_revocation {
    uint8_t serial[16]; // as of ds_ledger_cert
    int64_t revoked_utc;
    char reason[64];     // as it was told, cut
    ds_view certificate; // DER
} ds_ledger_revocation;
typedef enum ds_class (*ds_ledger_revocation_fn)(void *arg, const ds_ledger_revocation *r, ds_err *e);
enum ds_class ds_ledger_each_revocation(ds_ledger *l, ds_ledger_revocation_fn fn, void *arg, ds_err *e) DS_MUST;
// Who showed this public key: device id, or 0.
enum ds_class ds_ledger_key_owner(ds_ledger *l, const uint8_t public_key_digest[32], int64_t *ret_device,
                                  ds_err *e) DS_MUST;

// Write down that this device is about to be given a key that was made elsewhere: origin is one word ("station").
// Before it is sent, so that a device that holds it is known to hold nobody else's. Idempotent.
enum ds_class ds_ledger_key_given(ds_ledger *l, int64_t device, const char *origin, const uint8_t public_key_digest[32],
                                  ds_err *e) DS_MUST;
// The origin that was written down of this device's key; "" where none was: the device made it, or somebody else did.
enum ds_class ds_ledger_key_origin(ds_ledger *l, int64_t device, const uint8_t public_key_digest[32], char ret[16],
                                   ds_err *e) DS_MUST;

// Something that happened, for the record: kind ("step", "fault", "proof"), free text, cut at 16 KiB. device 0 = the
// station. Kinds that begin with "ledger." are the ledger's own (DS_INTERNAL).
enum ds_class ds_ledger_event(ds_ledger *l, int64_t device, const char *kind, const char *text, ds_err *e) DS_MUST;

// What was recorded last of the issuance log of the CA with this SHA-256: how many entries (0: nothing) and the root
// hash; *ret_has_root false where there is none, or the record is one of a log of the first format.
enum ds_class ds_ledger_signer_known(ds_ledger *l, const uint8_t ca[32], uint64_t *ret_entries, uint8_t ret_root[32],
                                     bool *ret_has_root, ds_err *e) DS_MUST;

// A signer's issuance log as it is now, with its proof (RFC 9162, 2.1.4) that the log recorded last is its beginning.
typedef struct ds_ledger_log {
    const uint8_t *ca; // 32
    uint64_t entries;
    const uint8_t *root; // 32
    uint64_t from;       // what the proof is from: ds_ledger_signer_known's entries
    const uint8_t (*proof)[32];
    size_t proof_count;
} ds_ledger_log;
// Compare it with what was recorded last, and record it where it grew. DS_POLICY: it has fewer entries than it had, or
// others in their place, or fewer than this ledger has certificates that were signed; nothing is changed then. A log
// ahead of the record is fine: a crash between signing and recording leaves that. What the record cannot show: entries
// that came and went between two calls.
enum ds_class ds_ledger_signer_head(ds_ledger *l, const ds_ledger_log *log, ds_err *e) DS_MUST;

// A release bundle that is about to be used. DS_POLICY where a newer release of the product for that chip was used
// before, or another bundle under this number; allow_older: not even then. Recorded where it is not the last one used.
typedef struct ds_ledger_bundle {
    const char *product, *chip; // names
    uint64_t release;
    const uint8_t *digest; // 32
    bool allow_older;
} ds_ledger_bundle;
enum ds_class ds_ledger_use_bundle(ds_ledger *l, const ds_ledger_bundle *b, ds_err *e) DS_MUST;

// One row a device with its live or else newest certificate (state 0: none), for list, show and check. fn false stops;
// it may use the ledger.
typedef bool (*ds_ledger_row_fn)(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c);
enum ds_class ds_ledger_each(ds_ledger *l, ds_ledger_row_fn fn, void *arg, ds_err *e) DS_MUST;
// By serial number or MAC ("aa:bb:…" or 12 hex digits). DS_INPUT where unknown.
enum ds_class ds_ledger_find(ds_ledger *l, const char *serial_or_mac, ds_ledger_device *ret, ds_err *e) DS_MUST;
typedef bool (*ds_ledger_event_fn)(void *arg, int64_t at_utc, const char *kind, const char *text);
enum ds_class ds_ledger_events(ds_ledger *l, int64_t device, ds_ledger_event_fn fn, void *arg, ds_err *e) DS_MUST;
// Newest stored proof, JSON; empty where none.
enum ds_class ds_ledger_proof_of(ds_ledger *l, int64_t device, ds_buf *ret, ds_err *e) DS_MUST;

// Everything that is not whole, and why: one line each through fn, which may not use the ledger. *ret_problems = their
// count. Checks a file's integrity, the evidence chains, state order, digests of stored certificates, double keys and
// serials, that the signers' logs hold no more certificates than this ledger knows, and that every device has serial
// number, installed certificate and proof. A certificate that waits for its first connect (installed) is whole.
enum ds_class ds_ledger_check(ds_ledger *l, void (*fn)(void *arg, const char *line), void *arg, unsigned *ret_problems,
                              ds_err *e) DS_MUST;

// Length and newest hash of the evidence chain (in a database, of this station's): written down elsewhere, it shows
// later whether the end was cut off. 32 zeros where nothing was written yet.
enum ds_class ds_ledger_head(ds_ledger *l, int64_t *ret_count, uint8_t ret_hash[32], ds_err *e) DS_MUST;
// The same of every station's chain, by name; "" for a file. fn may use the ledger.
typedef void (*ds_ledger_head_fn)(void *arg, const char *station, int64_t count, const uint8_t hash[32]);
enum ds_class ds_ledger_each_head(ds_ledger *l, ds_ledger_head_fn fn, void *arg, ds_err *e) DS_MUST;
// Does a chain contain this hash (32 zeros: the empty chain)?
enum ds_class ds_ledger_contains(ds_ledger *l, const uint8_t hash[32], bool *ret, ds_err *e) DS_MUST;

#endif
