// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of this room share.
#ifndef DS_CLOUD_INTERNAL_H
#define DS_CLOUD_INTERNAL_H

#include "src/cloud/limit.h"
#include "src/cloud/registry.h"
#include "src/ledger/sql.h"

#include <openssl/x509.h>

// A time range of one CA's log that is out.
typedef struct ds_isolated {
    int64_t from_utc, until_utc;
    enum ds_registry_state state; // inactive or revoked
} ds_isolated;

// A CA as it is kept in memory.
typedef struct ds_known_ca {
    int64_t number;
    int64_t changed;     // the number of its last change
    ds_registry_ca info; // der is NULL
    X509 *cert;
    ds_buf isolated; // ds_isolated after ds_isolated
    ds_bucket refusals, registrations;
} ds_known_ca;

// When a device was seen last, not written yet: written together, because a disk sync a connect would cost more than
// all the rest of it.
enum { DS_SEEN_MAX = 1024 };
typedef struct ds_seen {
    int64_t device, at_utc;
} ds_seen;

// A service that was admitted since this was opened: nothing of it is in the file, and who is revoked must be found.
// Of more than so many the oldest are forgotten.
enum { DS_SERVICES_MAX = 1024, DS_REGISTRY_SERIAL = 20 };
typedef struct ds_service {
    uint8_t id[32], serial[DS_REGISTRY_SERIAL];
    size_t serial_len;
    int64_t ca;
    char name[65];
} ds_service;

struct ds_registry {
    ds_sql sql;
    int64_t data_version; // the file as it was when we last looked for changes of others
    int64_t change;       // setting.change as the CAs below are of it; -1: not read yet
    bool stale;           // we changed it ourselves
    ds_known_ca *cas;
    size_t ca_count;
    ds_sources sources;
    ds_seen seen[DS_SEEN_MAX];
    size_t seen_count;
    ds_service services[DS_SERVICES_MAX];
    size_t service_count, service_oldest;
};

extern const ds_sql_schema ds_registry_schema;
// Bring a file of an older version up to date; DS_STORE where it may not be written.
enum ds_class ds_registry_to_version(ds_sql *s, bool read_only, ds_err *e) DS_MUST;

// Have the CAs in memory as they are in the file.
enum ds_class ds_registry_refresh(ds_registry *r, ds_err *e) DS_MUST;
void ds_registry_forget(ds_registry *r);
// Count a change that may concern who is connected; within a transaction. ret: its number.
enum ds_class ds_registry_count_change(ds_registry *r, int64_t *ret, ds_err *e) DS_MUST;
// The CA of this id; DS_INPUT: there is none.
enum ds_class ds_registry_find_ca(ds_registry *r, const uint8_t id[32], const ds_known_ca **ret, ds_err *e) DS_MUST;
// One certificate that a log or a manifest names, and may be connected for it.
typedef struct ds_expected {
    bool listed, logged;
    int64_t issued_utc; // as the log has it, where logged
} ds_expected;
enum ds_class ds_registry_find_expected(ds_registry *r, int64_t ca, const uint8_t id[32], ds_expected *ret,
                                        ds_err *e) DS_MUST;
// May a certificate of this CA, of which a log and a manifest say this, be connected? NULL: yes; else why not.
const char *ds_registry_judge(const ds_known_ca *ca, const ds_expected *x);
// Is anything but jitr asked of this CA's certificates?
bool ds_registry_asks_log(const ds_known_ca *ca);

// A certificate's serial number without zeros before it; its length, 0 where it is zero or too long.
size_t ds_registry_serial(const X509 *cert, uint8_t ret[DS_REGISTRY_SERIAL]);

// Is this the certificate of a device (or service) at this time? RFC 5280 4.2.1.3, 4.2.1.9, 4.2.1.12: no CA, may sign,
// clientAuth, no unknown critical extension, strong key. DS_POLICY says why not.
enum ds_class ds_admission_profile(X509 *leaf, int64_t now_utc, ds_err *e) DS_MUST;

// Its one common name, if it can be a topic level and a client id: letters, digits and -._: only.
enum ds_class ds_admission_name(const X509 *leaf, char ret[65], ds_err *e) DS_MUST;
bool ds_admission_fits_a_topic(const unsigned char *text, size_t len);

// Does the certificate name this CA as its issuer, by name and key identifier? Costs next to nothing, proves nothing.
bool ds_admission_names(X509 *leaf, X509 *ca);
// Did this CA issue it: name, key identifier, signature?
enum ds_class ds_admission_issuer(X509 *leaf, X509 *ca, ds_err *e) DS_MUST;
// Is the CA itself in order at this time?
enum ds_class ds_admission_ca_at(X509 *ca, int64_t now_utc, ds_err *e) DS_MUST;

// May this certificate be registered as a CA?
enum ds_class ds_admission_ca(X509 *ca, ds_err *e) DS_MUST;

#endif
