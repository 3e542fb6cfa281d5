// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer for stations elsewhere: it listens with mutual TLS, knows each station, and hands what that station may
// ask for to the signer process, which judges every request itself. The process with the PIN never sees a byte of TLS.
//
// Nobody can take more than their share. Those who have not shown a certificate yet have strangers places, of
// which one source address (IPv6: one /64) has half at most; where all are taken, the oldest of the source that holds
// most gives way to a newcomer. A station has so many connections with one request on each, and its oldest
// idle one gives way to a new one. A handshake, a message and an idle connection have their time.
#ifndef DS_SIGNER_FRONT_H
#define DS_SIGNER_FRONT_H

#include "src/signer/signer.h"
#include "src/signer/tls.h"

enum { DS_FRONT_STATIONS = 256, DS_FRONT_CONNECTIONS = 64, DS_FRONT_TOTAL = 1024, DS_FRONT_STRANGERS = 256 };

enum ds_front_revoke {
    DS_FRONT_REVOKE_NONE,
    DS_FRONT_REVOKE_OWN, // certificates of its recipes
    DS_FRONT_REVOKE_ANY,
};

typedef struct ds_front_station {
    const char *name; // the certificate's common name, unless it is pinned; 1..63 bytes
    bool pinned;      // known by the SHA-256 of its certificate alone
    uint8_t fingerprint[32];
    const char *const *recipes; // by their products' names
    size_t recipe_count;
    const char *first, *last; // serial numbers of the devices it may have (quota.h says how they are compared); or NULL
    enum ds_front_revoke revoke;
    bool log;             // may read the issuance log's entries
    unsigned connections; // 1..DS_FRONT_CONNECTIONS
} ds_front_station;

// All of it is borrowed until ds_front_close.
typedef struct ds_front_config {
    const char *address; // "host:port"; port 0: any
    ds_tls_self self;
    const char *ca; // PEM: whose certificates stations show; NULL: pinned ones alone
    const ds_front_station *stations;
    size_t station_count;
    const char *est_address;           // where EST is spoken (est.h), as address; NULL: nowhere
    const char *est_chain;             // PEM: CA certificates above the Sub CA's, for EST's clients; NULL: none
    const ds_signer_profile *profiles; // the signer's, which stations' are compared with
    size_t profile_count;
    unsigned strangers, handshake_s, message_s, idle_s;
} ds_front_config;

typedef struct ds_front ds_front;

// Listen. signer is borrowed until ds_front_close. DS_NETWORK: the address is taken, or not this computer's.
enum ds_class ds_front_open(const ds_front_config *config, ds_signer *signer, ds_front **ret, ds_err *e) DS_MUST;
// The port listened at; that of EST, 0 where there is none.
unsigned ds_front_port(const ds_front *f);
unsigned ds_front_est_port(const ds_front *f);
// Serve until stop_fd can be read. Requests under way are answered before it returns; those by EST may
// be cut off, and are given their certificate when asked again.
enum ds_class ds_front_run(ds_front *f, int stop_fd, ds_err *e) DS_MUST;
void ds_front_close(ds_front *f);

#endif
