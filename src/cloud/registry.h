// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The self-hosted endpoint's record, and the decision who may connect: registered CAs, and every device certificate
// that connected once, with its state. SQLite (WAL, synchronous=FULL); the broker's plugin and the command may have it
// open at the same time. Not for threads: one ds_registry a thread.
#ifndef DS_CLOUD_REGISTRY_H
#define DS_CLOUD_REGISTRY_H

#include "src/ledger/ledger.h"

typedef struct ds_registry ds_registry;

// Open or, where create is true, make (mode 0600). DS_STORE otherwise.
enum ds_class ds_registry_open(const char *path, bool create, ds_registry **ret, ds_err *e) DS_MUST;
enum ds_class ds_registry_open_read_only(const char *path, ds_registry **ret, ds_err *e) DS_MUST;
void ds_registry_close(ds_registry *r);

enum ds_registry_role {      // what a CA is trusted for
    DS_REGISTRY_DEVICES = 1, // its certificates are devices, registered at first connect
    DS_REGISTRY_SERVICES,    // its certificates are the owner's services: they read all, and are not recorded
    DS_REGISTRY_ANCHOR,      // completes a chain for TLS; admits nobody itself
};
enum ds_registry_state { DS_REGISTRY_ACTIVE = 1, DS_REGISTRY_INACTIVE, DS_REGISTRY_REVOKED };
const char *ds_registry_role_name(enum ds_registry_role role);
const char *ds_registry_state_name(enum ds_registry_state state);

typedef struct ds_registry_ca {
    uint8_t id[32]; // SHA-256 of the certificate
    enum ds_registry_role role;
    bool active, auto_registration;
    int64_t registered_utc;
    char subject[256];
    ds_view der; // borrowed during the callback
} ds_registry_ca;

// Register a CA certificate (DER or PEM). Again is fine; another role is DS_POLICY. DS_INPUT: not a CA's certificate.
enum ds_class ds_registry_add_ca(ds_registry *r, ds_view certificate, enum ds_registry_role role,
                                 bool auto_registration, uint8_t ret_id[32], ds_err *e) DS_MUST;
enum ds_class ds_registry_set_ca(ds_registry *r, const uint8_t id[32], bool active, ds_err *e) DS_MUST;
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
// The newest certificate of this name, or the one of this id (64 hex digits). An id that never connected may be
// revoked: its first connect is then refused. DS_POLICY: revoked is final. DS_INPUT: unknown.
enum ds_class ds_registry_set_device(ds_registry *r, const char *name_or_id, enum ds_registry_state state,
                                     ds_err *e) DS_MUST;

// Revoke the certificate of this id, whether or not it ever connected. *ret_fresh: it was not revoked before.
// Idempotent.
enum ds_class ds_registry_revoke(ds_registry *r, const uint8_t id[32], bool *ret_fresh, ds_err *e) DS_MUST;
// Certificates that were revoked before they ever connected; of those ds_registry_each tells nothing.
typedef void (*ds_registry_unseen_fn)(void *arg, const uint8_t id[32], int64_t refused_utc);
enum ds_class ds_registry_each_unseen(ds_registry *r, ds_registry_unseen_fn fn, void *arg, ds_err *e) DS_MUST;

typedef struct ds_registry_client {
    uint8_t id[32], ca[32];
    char name[65];
    bool service; // of a services CA: nothing was recorded
    bool fresh;   // registered by this very call
} ds_registry_client;

// May the holder of this certificate (DER) connect as client_id at now_utc? Its profile, validity time, issuer and
// signature are checked here, whatever TLS found; a new device is on disk before this returns. DS_POLICY says why not.
enum ds_class ds_registry_admit(ds_registry *r, ds_view der, const char *client_id, int64_t now_utc,
                                ds_registry_client *ret, ds_err *e) DS_MUST;

// Did another process change the registry since the last call?
enum ds_class ds_registry_changed(ds_registry *r, bool *ret, ds_err *e) DS_MUST;
// Names that may not be connected (any more).
typedef void (*ds_registry_name_fn)(void *arg, const char *name);
enum ds_class ds_registry_each_refused(ds_registry *r, ds_registry_name_fn fn, void *arg, ds_err *e) DS_MUST;

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
