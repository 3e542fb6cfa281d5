// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// TLS 1.3 with certificates on both sides (RFC 8446), and the signer's messages over it. Every wait has its end; bytes
// of a message beyond a limit are never kept.
#ifndef DS_SIGNER_TLS_H
#define DS_SIGNER_TLS_H

#include "src/pki/ossl.h"
#include "src/signer/wire.h"

// What one side shows of itself.
typedef struct ds_tls_self {
    const char *certificate; // PEM file: its own, then those between it and its root
    const char *key;         // "file:path" (PEM, readable by its owner alone) or "pkcs11:…"
    const char *module;      // PKCS#11 module path; NULL for files
    const char *pin_file;    // of the token; NULL: none
} ds_tls_self;

typedef struct ds_tls_side ds_tls_side;

// The side that connects: it trusts what chains to the certificates in ca (PEM file), for the host it names.
enum ds_class ds_tls_client(const ds_tls_self *self, const char *ca, ds_tls_side **ret, ds_err *e) DS_MUST;

// The side that listens. know is asked for each certificate whose dates are good: chained says whether it chains to ca.
// Its answer 0 or more is kept with the connection; negative: refused. Called in the thread of the handshake.
typedef int (*ds_tls_know_fn)(void *arg, X509 *certificate, bool chained);
enum ds_class ds_tls_server(const ds_tls_self *self, const char *ca, ds_tls_know_fn know, void *arg, ds_tls_side **ret,
                            ds_err *e) DS_MUST;
// No connection may be left.
void ds_tls_side_free(ds_tls_side *s);

typedef struct ds_tls ds_tls;

// fd must not block, and stays the caller's. host: the name or address the other side's certificate must hold; NULL for
// the side that listens.
enum ds_class ds_tls_open(ds_tls_side *side, int fd, const char *host, ds_tls **ret, ds_err *e) DS_MUST;
void ds_tls_free(ds_tls *t);

// DS_POLICY: the other side is not who it should be, or refuses us; DS_NETWORK: cut off, too slow, no TLS.
enum ds_class ds_tls_handshake(ds_tls *t, int64_t deadline_ms, ds_err *e) DS_MUST;
// What know said; -1 before that.
int ds_tls_known(const ds_tls *t);

// Send one message. DS_NETWORK: cut off, or not taken by the deadline.
enum ds_class ds_tls_send(ds_tls *t, const ProtobufCMessage *message, int64_t deadline_ms, ds_err *e) DS_MUST;

// Receive one message of at most max bytes into ret (replaced). It must begin by idle_ms (DS_WIRE_LATE where not) and
// be whole whole_ms later. DS_NETWORK: cut off, too slow, too long; DS_POLICY: the other side refuses us.
typedef struct ds_tls_wait {
    int64_t idle_ms, whole_ms; // how long, both
    size_t max;
} ds_tls_wait;
enum ds_class ds_tls_recv(ds_tls *t, const ds_tls_wait *wait, ds_buf *ret, enum ds_wire_met *ret_met,
                          ds_err *e) DS_MUST;

// Carry bytes both ways between t and fd, a local stream, until fd ends. At most max bytes from the other side; once it
// has sent more, or is gone, fd is shut down for writing. part_ms: how long the other side may take to take a part.
void ds_tls_pump(ds_tls *t, int fd, size_t max, int64_t part_ms);

// Say goodbye, and wait for the other side to have read it, a second at most: bytes of theirs that nobody reads would
// otherwise take the last message from them.
void ds_tls_bye(ds_tls *t);

#endif
