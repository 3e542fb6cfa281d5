// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The seal: the token's PIN, encrypted and tied to exactly one station configuration. docs/seal.md fixes every byte.
// What it is tied to (parts: recipes, token, Sub CA, key, quota, station, computer) stands in the file in the clear, so
// that whoever refuses it can say which part differs, and is authenticated together with the PIN. It is opened by
// unlockers: passphrases, key files, systemd credentials, a TPM 2.0; any one of them, or all together.
#ifndef DS_SIGNER_SEAL_H
#define DS_SIGNER_SEAL_H

#include "src/base/secret.h"
#include "src/signer/quota.h"
#include "src/signer/signer.h"

#include <sys/stat.h>

enum ds_seal_kind {
    DS_SEAL_RECIPE = 1, // one or more; text: the product
    DS_SEAL_TOKEN,      // exactly one, as all that follow; text: the serial number
    DS_SEAL_CA,         // text: the Sub CA's subject; digest: of its certificate's DER
    DS_SEAL_KEY,        // the key's URI, the PKCS#11 module's path, the log key; text: the URI
    DS_SEAL_QUOTA,      // digest: of the file, zeros where there is none
    DS_SEAL_STATION,    // text: the station's name
    DS_SEAL_MACHINE,    // the computer: digest of /etc/machine-id
};

enum ds_seal_by { DS_SEAL_PASSPHRASE = 1, DS_SEAL_KEY_FILE, DS_SEAL_CREDENTIAL, DS_SEAL_TPM };

enum {
    DS_SEAL_PARTS = 32,
    DS_SEAL_UNLOCKERS = 8,
    DS_SEAL_FILE_MAX = 32768,
    DS_SEAL_TEXT = 200,
    DS_SEAL_LABEL = 63,
    DS_SEAL_PASSES_MAX = 10,
    DS_SEAL_MEMORY_MIN = 1024,    // KiB
    DS_SEAL_MEMORY_MAX = 1048576, // KiB
    DS_SEAL_PASSPHRASE_MIN = 8,
    DS_SEAL_PASSPHRASE_MAX = 1023,
    DS_SEAL_KEY_MIN = 32, // bytes of a key file or credential
    DS_SEAL_KEY_MAX = 4096,
    DS_SEAL_PCRS = 24,
};

typedef struct ds_seal_part {
    enum ds_seal_kind kind;
    char text[DS_SEAL_TEXT + 1]; // for people; printable ASCII
    uint8_t digest[32];          // what counts
} ds_seal_part;

typedef struct ds_seal_unlocker {
    enum ds_seal_by by;
    char label[DS_SEAL_LABEL + 1];      // whose passphrase; which key file; the credential's name
    uint8_t salt[16];                   // not of a TPM
    uint32_t passes, memory_kib;        // of a passphrase (Argon2id, one lane)
    uint32_t pcrs;                      // of a TPM: bit n is PCR n of its SHA-256 bank; 0: none
    uint8_t parent[34];                 // of a TPM: the name of its storage primary
    ds_view sealed_public, sealed_area; // of a TPM: TPM2B_PUBLIC and TPM2B_PRIVATE
} ds_seal_unlocker;

// A seal as it is read. Views point into bytes.
typedef struct ds_seal {
    ds_buf bytes;
    char *path;     // NULL where it was not read from a file
    struct stat st; // of the file
    int64_t created_utc;
    bool all; // every unlocker is needed
    ds_seal_part parts[DS_SEAL_PARTS];
    size_t part_count;
    ds_seal_unlocker unlockers[DS_SEAL_UNLOCKERS];
    size_t unlocker_count;
    ds_view wraps;            // of the data key: one for each unlocker, or one where all are needed
    ds_view head, ciphertext; // what is authenticated with the secrets; nonce and length are its end
    ds_view nonce;
} ds_seal;
void ds_seal_free(ds_seal *s);

// Take a seal apart. DS_INPUT: no seal, another version, damaged, or costs out of bounds. Nothing of it is authentic
// before ds_seal_open succeeded. bytes are copied.
enum ds_class ds_seal_parse(ds_view bytes, ds_seal *ret, ds_err *e) DS_MUST;
enum ds_class ds_seal_read(const char *path, ds_seal *ret, ds_err *e) DS_MUST;

// The serial number of the one token that may be given the PIN.
const char *ds_seal_token(const ds_seal *s);

// Does opening it need a passphrase, whatever else is there?
bool ds_seal_wants_passphrase(const ds_seal *s);

// "passphrase", "key file", "systemd credential", "TPM" / "recipe", "token", …
const char *ds_seal_by_name(enum ds_seal_by by);
const char *ds_seal_kind_name(enum ds_seal_kind kind);

// --- what it is tied to

// Digest of this computer's identity, from path (NULL: /etc/machine-id).
enum ds_class ds_seal_machine(const char *path, uint8_t ret[32], ds_err *e) DS_MUST;

// The parts as a signer of this configuration has them. No part for the token where the configuration names no serial
// number of it. cfg->profiles are the recipes; quota NULL: none; ret holds DS_SEAL_PARTS. DS_INPUT: too many recipes.
typedef struct ds_seal_station {
    const ds_signer_config *cfg;
    const char *ca_subject;
    const uint8_t *ca;      // 32: fingerprint
    const uint8_t *quota;   // 32: SHA-256 of the file; NULL: there is none
    const uint8_t *machine; // 32: of ds_seal_machine
    const char *machine_text;
} ds_seal_station;
enum ds_class ds_seal_describe(const ds_seal_station *st, ds_seal_part *ret, size_t *ret_count, ds_err *e) DS_MUST;

// Is that part as it was sealed?
bool ds_seal_holds(const ds_seal *s, const ds_seal_part *here);

// Are all? DS_POLICY says which is not, and names the others that are not either.
enum ds_class ds_seal_compare(const ds_seal *s, const ds_seal_part *here, size_t count, ds_err *e) DS_MUST;

// --- opening

// Where what opens it can be had.
typedef struct ds_seal_access {
    enum ds_pin_source passphrase;
    const char *passphrase_file; // several needed: one a line
    int passphrase_fd;           // as above; stays open
    const char *key_file;        // NULL: none
    const char *tpm;             // NULL: DS_SEAL_TPM_DEFAULT
} ds_seal_access;
#define DS_SEAL_TPM_DEFAULT "device:/dev/tpmrm0"

// The PIN. Unlockers that need nobody are tried first. DS_INPUT: what was given does not open it, or it was changed
// after it was made; DS_TOKEN (code 0): the TPM; DS_POLICY: nothing that opens it is here. Blocks where it asks on the
// terminal.
enum ds_class ds_seal_open(const ds_seal *s, const ds_seal_access *a, ds_secret *ret_pin, ds_err *e) DS_MUST;

// --- making

typedef struct ds_seal_new {
    enum ds_seal_by by;
    const char *label;
    const ds_secret *secret;     // passphrase, or key material; not of a TPM
    uint32_t passes, memory_kib; // of a passphrase
    uint32_t pcrs;               // of a TPM
    const char *tpm;             // of a TPM: NULL: DS_SEAL_TPM_DEFAULT
} ds_seal_new;

typedef struct ds_seal_plan {
    int64_t created_utc;
    const ds_seal_part *parts;
    size_t part_count;
    const ds_seal_new *unlockers;
    size_t unlocker_count;
    bool all;
    const ds_secret *pin;
} ds_seal_plan;

// The file's bytes are appended to ret. DS_USAGE: what no seal may hold; DS_POLICY: a passphrase or key too short.
enum ds_class ds_seal_make(const ds_seal_plan *plan, ds_buf *ret, ds_err *e) DS_MUST;

// The material of a key file (only its owner may read it) or of a systemd credential ($CREDENTIALS_DIRECTORY).
enum ds_class ds_seal_read_key(const char *path, ds_secret *ret, ds_err *e) DS_MUST;
enum ds_class ds_seal_read_credential(const char *name, ds_secret *ret, ds_err *e) DS_MUST;

#endif
