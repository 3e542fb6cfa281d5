// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The self-hosted endpoint's record, and the decision who may connect: registered CAs, every device certificate that
// connected once, with its state, and the certificates that are expected to. SQLite (WAL, synchronous=FULL); the
// broker's plugin and the command may have it open at the same time. Not for threads: one ds_registry a thread.
// Imports and isolations are in registry_import.h.
#ifndef DS_CLOUD_REGISTRY_H
#define DS_CLOUD_REGISTRY_H

#include "src/ledger/ledger.h"

typedef struct ds_registry ds_registry;

// Open or, where create is true, make (mode 0600). DS_STORE otherwise.
enum ds_class ds_registry_open(const char *path, bool create, ds_registry **ret, ds_err *e) DS_MUST;
enum ds_class ds_registry_open_read_only(const char *path, ds_registry **ret, ds_err *e) DS_MUST;
void ds_registry_close(ds_registry *r);
// How long a write waits for another program that has the file; 5 s as opened. For a broker, which serves nobody while
// it waits.
void ds_registry_wait_at_most(ds_registry *r, int ms);

enum ds_registry_role {      // what a CA is trusted for
    DS_REGISTRY_DEVICES = 1, // its certificates are devices, registered at first connect
    DS_REGISTRY_SERVICES,    // its certificates are the owner's services: they read all, and are not recorded
    DS_REGISTRY_ANCHOR,      // completes a chain for TLS; admits nobody itself
};
enum ds_registry_state { DS_REGISTRY_ACTIVE = 1, DS_REGISTRY_INACTIVE, DS_REGISTRY_REVOKED, DS_REGISTRY_PENDING };
enum ds_registry_registration { // what a first connect does
    DS_REGISTRY_OFF,            // nothing: who is not registered is refused
    DS_REGISTRY_AUTO,           // registers the device as active
    DS_REGISTRY_AWAIT,          // registers it as pending; it is refused until somebody activates it
};
enum ds_registry_policy { // which certificates of a CA may be connected
    DS_REGISTRY_JITR = 1, // all that the CA signed
    DS_REGISTRY_LOGGED,   // those in the signer's issuance log, as far as it was imported
    DS_REGISTRY_MANIFEST, // those that were announced with ds_registry_expect
};
const char *ds_registry_role_name(enum ds_registry_role role);
const char *ds_registry_state_name(enum ds_registry_state state);
const char *ds_registry_registration_name(enum ds_registry_registration registration);
const char *ds_registry_policy_name(enum ds_registry_policy policy);

typedef struct ds_registry_ca {
    uint8_t id[32]; // SHA-256 of the certificate
    enum ds_registry_role role;
    bool active;
    enum ds_registry_registration registration;
    enum ds_registry_policy policy;
    unsigned rate; // new devices a second at most; 0: any number
    int64_t registered_utc;
    uint64_t log_size; // entries of its issuance log that were imported
    bool log_key_known;
    char subject[256];
    ds_view der; // borrowed during the callback
} ds_registry_ca;

// Register a CA certificate (DER or PEM). Again is fine; another role is DS_POLICY. DS_INPUT: not a CA's certificate.
enum ds_class ds_registry_add_ca(ds_registry *r, ds_view certificate, enum ds_registry_role role,
                                 enum ds_registry_registration registration, uint8_t ret_id[32], ds_err *e) DS_MUST;
// What is to be changed of a CA; NULL: nothing. log_key: SHA-256 of the SubjectPublicKeyInfo of the key that signs the
// heads of its log.
typedef struct ds_registry_ca_change {
    const bool *active;
    const enum ds_registry_registration *registration;
    const enum ds_registry_policy *policy;
    const unsigned *rate;
    const uint8_t *log_key;
} ds_registry_ca_change;
// Register a CA of devices together with what is wished of it, all or nothing: it is never there with more than that.
// What is not wished stays as it is; of a new CA it is as of ds_registry_add_ca with DS_REGISTRY_AUTO.
enum ds_class ds_registry_add_devices_ca(ds_registry *r, ds_view certificate, const ds_registry_ca_change *wished,
                                         uint8_t ret_id[32], ds_err *e) DS_MUST;
// Takes effect at the next connect, and within a second on who is connected. DS_INPUT: no such CA.
enum ds_class ds_registry_set_ca(ds_registry *r, const uint8_t id[32], const ds_registry_ca_change *change,
                                 ds_err *e) DS_MUST;
typedef bool (*ds_registry_ca_fn)(void *arg, const ds_registry_ca *ca);
enum ds_class ds_registry_each_ca(ds_registry *r, ds_registry_ca_fn fn, void *arg, ds_err *e) DS_MUST;

typedef struct ds_registry_device {
    uint8_t id[32]; // SHA-256 of the certificate
    uint8_t ca[32];
    char name[65]; // the certificate's common name: the device's serial number
    enum ds_registry_state state;
    int64_t registered_utc, last_seen_utc; // last seen: to a minute
} ds_registry_device;
typedef bool (*ds_registry_device_fn)(void *arg, const ds_registry_device *d);
// In order of registration; fn may not use the registry.
enum ds_class ds_registry_each(ds_registry *r, ds_registry_device_fn fn, void *arg, ds_err *e) DS_MUST;
// The certificate of this id (64 hex digits), or of this name: the active one, else the newest that is not revoked; to
// make one active, it must be the only one that is not. An id that never connected may be revoked: its first connect is
// then refused. DS_POLICY: revoked is final, another of that name is active, or which one is not clear. DS_INPUT:
// unknown.
enum ds_class ds_registry_set_device(ds_registry *r, const char *name_or_id, enum ds_registry_state state,
                                     ds_err *e) DS_MUST;

// Revoke the certificate of this id, whether or not it ever connected. *ret_fresh: it was not revoked before.
// Idempotent.
enum ds_class ds_registry_revoke(ds_registry *r, const uint8_t id[32], bool *ret_fresh, ds_err *e) DS_MUST;
// Certificates that were revoked before they ever connected; of those ds_registry_each tells nothing.
typedef void (*ds_registry_unseen_fn)(void *arg, const uint8_t id[32], int64_t refused_utc);
enum ds_class ds_registry_each_unseen(ds_registry *r, ds_registry_unseen_fn fn, void *arg, ds_err *e) DS_MUST;

// Announce certificates of a CA by their ids (SHA-256 of the DER), from a manifest whose signature and completeness the
// caller has verified: under the policy "manifest" they, and only they, may be connected. Nothing else is known of
// them until they connect; their signature is checked then. All or nothing: one transaction, on disk when this returns,
// which holds the broker up meanwhile, so give at most DS_REGISTRY_EXPECT_MAX at once. Idempotent; *ret_fresh (may be
// NULL) is how many were not announced before. An announcement is never taken back: revoke the certificate
// (ds_registry_revoke). What is revoked stays so, announced or not.
// DS_INPUT: no such CA, or it is not one of devices, or too many at once; DS_STORE: the disk.
enum { DS_REGISTRY_EXPECT_MAX = 10000 };
enum ds_class ds_registry_expect(ds_registry *r, const uint8_t ca[32], const uint8_t (*ids)[32], size_t count,
                                 size_t *ret_fresh, ds_err *e) DS_MUST;

// Who wants to connect.
typedef struct ds_registry_attempt {
    ds_view der;           // its certificate
    struct x509_st *cert;  // the same, parsed, where somebody has; borrowed. NULL: it is parsed here
    const char *client_id; // as it calls itself
    const char *source;    // the address it comes from; NULL: not known
    int64_t now_utc;
} ds_registry_attempt;

enum ds_registry_news {        // what this very call changed, and what is to be told
    DS_REGISTRY_NOTHING,       //
    DS_REGISTRY_REGISTERED,    // a new device, active
    DS_REGISTRY_STILL_PENDING, // a new device that waits for its activation, or one that asks again
};

typedef struct ds_registry_client {
    uint8_t id[32], ca[32];
    char name[65];
    unsigned ca_number; // of its CA, where it is admitted
    bool service;       // of a services CA: nothing was recorded
    enum ds_registry_news news;
    int64_t registered_utc;
} ds_registry_client;

// May the holder of this certificate connect? Its profile, validity time, issuer and signature are checked here,
// whatever TLS found; a new device is on disk before this returns. What costs little is looked at first, so that a
// flood of bad certificates costs little; a source or a CA with too many refusals has its unknown certificates refused
// unseen for a while. DS_POLICY says why not; *ret is filled then too where ret->news says that there is something to
// tell.
enum ds_class ds_registry_admit(ds_registry *r, const ds_registry_attempt *a, ds_registry_client *ret,
                                ds_err *e) DS_MUST;

// Is this CA (by ds_registry_client.ca_number) still active? As of the last look at the file: costs nothing.
bool ds_registry_ca_is_active(const ds_registry *r, unsigned ca_number);

// Write when devices were seen last; ds_registry_admit leaves that to be done now and then, together.
enum ds_class ds_registry_flush(ds_registry *r, ds_err *e) DS_MUST;

// The owner's topic patterns (topics.h): stored after they were checked, and read. A broker takes a new list within a
// second. DS_USAGE: not a good list.
enum ds_class ds_registry_set_topics(ds_registry *r, const char *topics, ds_err *e) DS_MUST;
enum ds_class ds_registry_topics(ds_registry *r, char ret[1024], ds_err *e) DS_MUST;

// Who is to be disconnected, a part at a time. Begin with ds_registry_watch_init at the broker's start.
typedef struct ds_registry_watch {
    int64_t seen;        // changes up to this one were told
    int64_t since;       // CAs that changed after this one are gone through
    size_t ca;           // the number of the CA that is now; behind the last one: none is
    int64_t next;        // its devices from this number on
    bool topics_changed; // set by ds_registry_watch; the caller clears it
} ds_registry_watch;
typedef void (*ds_registry_name_fn)(void *arg, const char *name);
enum ds_class ds_registry_watch_init(ds_registry *r, ds_registry_watch *w, ds_err *e) DS_MUST;
// Tell the names of devices that something made refused since the last call; what nobody changed is not looked at.
// Works for about budget_ms and goes on at the next call; *ret_more: there is more to do.
enum ds_class ds_registry_watch_next(ds_registry *r, ds_registry_watch *w, int64_t budget_ms, ds_registry_name_fn fn,
                                     void *arg, bool *ret_more, ds_err *e) DS_MUST;

typedef struct ds_registry_sync_result {
    unsigned marked;  // ledger certificates that became registered
    unsigned already; // were before
    unsigned revoked; // refused here from now on, because the ledger revoked them
    unsigned unknown; // registered here, and the ledger does not know them
} ds_registry_sync_result;
// Carry registrations into the ledger with the registry's times, and the ledger's revocations back, those of
// certificates that never connected too. Idempotent. line (may be NULL) hears of everything unknown and revoked.
enum ds_class ds_registry_sync(ds_registry *r, ds_ledger *l, ds_registry_name_fn line, void *arg,
                               ds_registry_sync_result *ret, ds_err *e) DS_MUST;

#endif
