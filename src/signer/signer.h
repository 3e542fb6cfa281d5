// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer process as the station sees it. The child is the same program ("devstamp signer --fd 3"), the only process
// that loads a PKCS#11 module, sees the PIN or uses a CA key. Threads may share a ds_signer; all ask it at once.
#ifndef DS_SIGNER_H
#define DS_SIGNER_H

#include "src/base/buf.h"
#include "src/pki/merkle.h"

// Where the child finds the PIN or, with a seal, the seal's passphrase; the parent never reads it.
enum ds_pin_source { DS_PIN_NONE, DS_PIN_PROMPT, DS_PIN_FD, DS_PIN_FILE };

// Who makes a device's key.
enum ds_origin { DS_ORIGIN_DEVICE, DS_ORIGIN_STATION, DS_ORIGIN_REMOTE };

// What a recipe says of certificates: the signer refuses what no profile names.
typedef struct ds_signer_profile {
    const char *recipe;          // the product's name, 1..63 bytes
    const char *subject;         // with {serial}, {mac}, {product}
    const char *serial_format;   // of devices: {mac}, {counter}, {counter:N}
    int key_type;                // Devstamp__KeyType
    unsigned days;               // a certificate is valid for that many days and the hour before; 0: without end
    const char *subject_alt_uri; // with placeholders as the subject; "": none
    const uint8_t *digest;       // 32: of the recipe with all it names; NULL: not known
    enum ds_origin origin;
} ds_signer_profile;

// What the quota leaves for a recipe.
typedef struct ds_signer_quota {
    char recipe[64], first[64], last[64]; // serial numbers of devices; "": any
    uint64_t certificates, left;
    int64_t until_utc; // INT64_MAX: no end
} ds_signer_quota;
enum { DS_QUOTA_MAX = 64 };

// A signer on another computer (docs/remote-signer.md), and what this station shows it.
typedef struct ds_signer_remote {
    const char *address;     // "host:port"
    const char *ca;          // PEM: who vouches for the signer
    const char *certificate; // PEM: this station's, with those between it and its root
    const char *key;         // of that: "file:path" or "pkcs11:…"
    const char *module;      // PKCS#11 module path of that key; NULL for files
    const char *pin_file;    // of that key's token; NULL: none
} ds_signer_remote;

// An EST server (RFC 7030; docs/est.md) that is asked in place of a signer, and what this station shows it.
typedef struct ds_signer_est {
    const char *url;         // "https://host[:port]"
    const char *label;       // of the CA, in the path; NULL: none
    const char *ca;          // PEM: who vouches for the server
    const char *device_ca;   // PEM: whom devices' certificates must be by in the end, roots or CAs below one
    const char *certificate; // PEM: this station's, with those between it and its root
    const char *key;         // of that: "file:path"
    int timeout_ms;          // for one exchange
} ds_signer_est;

typedef struct ds_signer_config {
    const ds_signer_remote *remote; // NULL: on this computer. Otherwise only this, certificate (NULL: whatever the
                                    // signer shows), profiles and wait_ms count
    const ds_signer_est *est;       // NULL: none. Otherwise only this, profiles and wait_ms count
    const char *key;                // RFC 7512 "pkcs11:…" or "file:path"
    const char *module;             // PKCS#11 module path; NULL for file keys
    const char *token_serial;       // of the token that may be given the PIN; NULL: any that the key names
    const char *certificate;        // Sub CA certificate, PEM
    const char *log;                // issuance log, append-only
    const char *log_key; // URI of the key that signs the log's heads, and nothing else; NULL: heads are not signed
    const char *quota;   // quota file; NULL: none
    enum ds_pin_source pin;
    const char *pin_file;
    const char *pool_key;              // URI of the key that stamps of a pool are sealed to; NULL: none
    const char *seal;                  // the PIN is in this seal (seal.h), whose token serial number counts; NULL: none
    const char *seal_key;              // the seal's key file; NULL: none
    const char *seal_tpm;              // address of the seal's TPM; NULL: the usual one
    const char *station;               // the station's name, for the seal; NULL without one
    const ds_signer_profile *profiles; // borrowed until ds_signer_stop
    size_t profile_count;
    int wait_ms; // how long a signature waits for a token that was pulled out, or a remote signer that is away; 0: not
                 // at all
    int pin_fd;  // closed by ds_signer_start: the child alone keeps it, and reset commands do not inherit it
} ds_signer_config;

typedef struct ds_signer ds_signer;

// Start the child and wait until it is ready (token found, logged in once, certificate matches key, log whole); or
// greet the remote signer, which must judge by the same profiles; or fetch the EST server's certificates, which must
// chain to device_ca. What follows is the same with all, but for DS_NETWORK: a remote signer or an EST server could not
// be reached within wait_ms. An EST server is asked for certificates alone: everything else is DS_USAGE.
enum ds_class ds_signer_start(const ds_signer_config *cfg, ds_signer **ret, ds_err *e) DS_MUST;
// Ask it to end, wait; NULL-safe.
void ds_signer_stop(ds_signer *s);

// What the signer signs as: borrowed until ds_signer_stop. The log is as of the last answer: read it while no other
// thread signs.
typedef struct ds_signer_status {
    char ca_subject[256];
    uint8_t ca_fingerprint[32];
    ds_buf ca_certificate; // DER
    uint64_t log_entries;
    uint8_t log_root[32];                // root hash of its Merkle tree
    ds_signer_quota quota[DS_QUOTA_MAX]; // as of the start
    size_t quota_count;
    bool wants_touch; // somebody has to touch the token for each signature, as of the start
    bool est;         // an EST server: no log and no quota that we know of, and it gives certificates alone
} ds_signer_status;
const ds_signer_status *ds_signer_get_status(const ds_signer *s);

// That the issuance log of from entries is the beginning of the one there is: the signer's proof, for
// ds_merkle_consistent. No hashes where the log has fewer entries than that.
typedef struct ds_signer_proof {
    uint64_t from, log_entries;
    uint8_t log_root[32];
    ds_merkle_proof proof;
} ds_signer_proof;
enum ds_class ds_signer_prove(ds_signer *s, uint64_t from, ds_signer_proof *ret, ds_err *e) DS_MUST;

typedef struct ds_sign_request {
    ds_view csr;
    const uint8_t *serial; // 16; the certificate carries it with the top bit cleared
    int64_t not_before_utc, not_after_utc;
    const char *subject;
    int key_type;                // Devstamp__KeyType demanded
    const char *subject_alt_uri; // NULL = none
    const char *recipe;          // whose profile it is judged by
    const char *device_serial;
    const char *mac;             // of the device, 12 hex digits
    void (*on_touch)(void *arg); // it is this request's turn, and the token waits to be touched; NULL: not told
    void *arg;
} ds_sign_request;

// DS_POLICY / DS_INPUT: refused, says why. DS_TOKEN: token or child is gone; the next call starts the child again where
// the PIN source allows (a file), otherwise says so. A token that gives no answer within 20 s fails all who wait for
// theirs at once; the child is started again 10 s later at the earliest, and not after a second time in a row. A
// token that was pulled out is waited for as long as the configuration says, by all together.
// An EST server chooses serial number and validity itself. What it gives is checked before it is returned
// (est_answer.h): DS_POLICY. It must be valid for as long as was asked, less a day. DS_NETWORK: it has perhaps signed
// all the same.
enum ds_class ds_signer_sign(ds_signer *s, const ds_sign_request *req, ds_buf *ret_der, ds_err *e) DS_MUST;

// What stands above a device's certificate, its issuer first, as the device is to send it. DS_POLICY: the certificate
// is not by this signer's CA. ds_signer_chain_free, on a failure too.
enum { DS_SIGNER_CHAIN_MAX = 4 };
typedef struct ds_signer_chain {
    ds_buf der[DS_SIGNER_CHAIN_MAX];
    size_t count;
} ds_signer_chain;
enum ds_class ds_signer_chain_of(const ds_signer *s, ds_view certificate, ds_signer_chain *ret, ds_err *e) DS_MUST;
void ds_signer_chain_free(ds_signer_chain *c);

// Revoke a certificate of the issuance log, for good: it is on disk before this returns, and the same again changes
// nothing. DS_POLICY: not in the log, or this station may not.
typedef struct ds_signer_revocation {
    int64_t revoked_utc; // when it was revoked first, and why (RFC 5280, 5.3.1)
    int reason;
    bool before; // it was revoked already
} ds_signer_revocation;
enum ds_class ds_signer_revoke(ds_signer *s, const uint8_t serial[16], int reason, ds_signer_revocation *ret,
                               ds_err *e) DS_MUST;

// Entries of the issuance log from number from (1 is the first) on, as many as fit into a message: bytes as they are in
// its file (log_scan.h), nothing of it verified. Buffers are replaced; ds_signer_entries_free.
typedef struct ds_signer_entries {
    uint64_t log_entries, next; // next: from what number on to ask next
    uint8_t log_root[32], header[80];
    ds_buf records, head; // head: of the log as a file (log_head.h), where next is beyond the end
} ds_signer_entries;
enum ds_class ds_signer_read_entries(ds_signer *s, uint64_t from, ds_signer_entries *ret, ds_err *e) DS_MUST;
void ds_signer_entries_free(ds_signer_entries *x);

// A private key as it travels: what it is, and the key itself sealed to one device.
typedef struct ds_sealed_key {
    uint8_t public_key_digest[32]; // SHA-256 of the SubjectPublicKeyInfo
    uint8_t encapsulated[65];      // the sealer's ephemeral public key
    ds_buf sealed;
} ds_sealed_key;

// Have the signer make a key of that type for a device of that recipe, whose profile must say DS_ORIGIN_STATION, and
// seal it to the device's transport key (65 bytes). Each call makes another; the signer keeps none. Errors as
// ds_signer_sign. ret->sealed is the caller's.
enum ds_class ds_signer_make_key(ds_signer *s, const char *recipe, int key_type, ds_view transport, ds_sealed_key *ret,
                                 ds_err *e) DS_MUST;

// Have the signer make a stamp for a pool, whose key that of the recipe's devices is sealed to (65 bytes). req: as of
// ds_signer_sign, but for csr. The certificate to ret_der, its key to ret.
enum ds_class ds_signer_make_stamp(ds_signer *s, const ds_sign_request *req, ds_view pool_key, ds_buf *ret_der,
                                   ds_sealed_key *ret, ds_err *e) DS_MUST;
// Have the signer open the key of a stamp of its pool and seal it to a device's transport key. stamp and ret may not be
// the same. DS_INPUT: it is sealed to another pool's key, or was changed.
enum ds_class ds_signer_open_stamp(ds_signer *s, const char *recipe, const ds_sealed_key *stamp, ds_view transport,
                                   ds_sealed_key *ret, ds_err *e) DS_MUST;

// The child's main: serves on fd until the other side closes. Returns the exit code.
int ds_signer_main(int fd, const ds_signer_config *cfg);

// The hidden verb "signer": argv[0] is the verb, options as ds_signer_start writes them. Ends the process without
// running exit handlers, because those of a PKCS#11 module could do anything, and behind the filter not much of it
// would work.
_Noreturn void ds_signer_run(int argc, char **argv);

#endif
