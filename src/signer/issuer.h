// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the signer process: the CA's key, certificate and log, and the decision whether a certificate may be issued.
#ifndef DS_SIGNER_ISSUER_H
#define DS_SIGNER_ISSUER_H

#include "proto/signer.pb-c.h"
#include "src/pki/cert.h"
#include "src/pki/key.h"
#include "src/pki/issue.h"
#include "src/pki/plain.h"
#include "src/pki/weak.h"
#include "src/signer/log.h"
#include "src/signer/profile.h"
#include "src/signer/quota.h"
#include "src/signer/signer.h"

// The PIN and, where it came from a file, what is remembered of that.
typedef struct ds_pin {
    ds_secret secret;
    ds_pin_note note;
} ds_pin;

typedef struct ds_issuer {
    ds_pin pin;
    char *token_serial; // of the one token that may be given the PIN; NULL: any that the key names
    ds_key *key;
    X509 *ca;
    ds_cert_info info;
    ds_issuing *issuing;
    ds_log_file *log;
    char *revoked_path;   // of the log of what is revoked (revoked.h)
    ds_log_file *revoked; // NULL: nothing was yet
    ds_profiles profiles;
    ds_quota *quota;   // NULL: none
    ds_moduli *moduli; // RSA, of the last certificates
    ds_key *log_key;   // NULL: heads are not signed
    ds_key *pool_key;  // NULL: no pool's stamps are opened
} ds_issuer;

// Read the PIN from where the config says (DS_PIN_NONE: none). beside: refused PIN files are noted in
// "<beside>.pin-refused". ds_pin_free.
enum ds_class ds_issuer_read_pin(const ds_signer_config *cfg, const char *beside, ds_pin *ret, ds_err *e) DS_MUST;
void ds_pin_free(ds_pin *pin);

// The PIN out of cfg->seal, and the token's serial number, into i, whose certificate, quota and profiles must be there:
// the seal is opened only where it was made for exactly these. note: as "<beside>.pin-refused" above.
enum ds_class ds_issuer_unseal(const ds_signer_config *cfg, const char *note, ds_issuer *i, ds_err *e) DS_MUST;

// Certificate, log, quota, PIN, key, in this order: everything that can be wrong without a PIN is found before one is
// tried. beside: as of ds_issuer_read_pin. profiles are taken over, also on a failure; NULL: none yet.
enum ds_class ds_issuer_open(const ds_signer_config *cfg, const char *beside, ds_profiles *profiles, ds_issuer *ret,
                             ds_err *e) DS_MUST;
void ds_issuer_close(ds_issuer *i);

// One request on its way to a certificate. Zero-initialise; ds_case_free.
typedef struct ds_case {
    const Devstamp__Signer__Sign *req; // borrowed
    ds_request csr;
    X509_NAME *subject; // that is demanded
    uint8_t serial[16]; // as in the certificate
    const ds_signer_profile *profile;
    ds_buf der;    // the certificate
    bool from_log; // it was signed before
} ds_case;
void ds_case_free(ds_case *c);

// The four steps of a request, in this order. The first and the third look at nothing that changes while requests are
// served, so that threads may take them at once; the second and the fourth look at the log and want the caller's lock.
//
// Is it sound, and what its recipe says? plain is the thread's own.
enum ds_class ds_issuer_judge(const ds_issuer *i, ds_plain *plain, const Devstamp__Signer__Sign *req, ds_case *c,
                              ds_err *e) DS_MUST;
// May it be signed beside what the log holds? c->from_log: it was, and c->der is that certificate. An RSA key is
// remembered until ds_issuer_forget where it may.
enum ds_class ds_issuer_decide(ds_issuer *i, ds_case *c, ds_err *e) DS_MUST;
void ds_issuer_forget(ds_issuer *i, const ds_case *c);
// Build the certificate and sign it: c->der.
enum ds_class ds_issuer_make(const ds_issuer *i, ds_case *c, ds_err *e) DS_MUST;
// Into the log, as ds_log_add.
enum ds_class ds_issuer_add(ds_issuer *i, const ds_case *c, ds_err *e) DS_MUST;

// How many more certificates the quota allows for that recipe, as far as the log is written.
uint64_t ds_issuer_left(const ds_issuer *i, const char *recipe);

// Write the log's head beside it, signed where there is a log key.
enum ds_class ds_issuer_put_head(ds_issuer *i, ds_err *e) DS_MUST;

// Put a certificate made with this issuer, for that recipe, into its log; DER to ret.
enum ds_class ds_issuer_record(ds_log_file *log, X509 *cert, const uint8_t serial[16], const char *recipe, ds_buf *ret,
                               ds_err *e) DS_MUST;

#endif
