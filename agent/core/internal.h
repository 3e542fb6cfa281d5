// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of the agent share: storage, randomness, the device key, and the handlers of the dispatch table.
// Handlers run with the decoded request in a->scratch and have all of a->frame (DS_AGENT_WORK bytes) to work in; both
// are wiped after the answer was sent.
#ifndef DS_AGENT_INTERNAL_H
#define DS_AGENT_INTERNAL_H

#include "agent/core/agent.h"
#include "agent/core/compat.h"

#define DS_AGENT_WORK (DS_AGENT_FRAME_MAX + 16u)
#define DS_AGENT_CERTS_MAX 8u
#define DS_AGENT_NAME_MAX 15u    // of a namespace or key
#define DS_AGENT_VALUE_MAX 4000u // what NVS takes as one string
#define DS_AGENT_VALUES_MAX 900u // in a stamp
#define DS_AGENT_SPKI_MAX 512u   // SubjectPublicKeyInfo of RSA-3072: 422
#define DS_STATUS_IS(status, code) (DS_STATUS_CODE(status) == (uint32_t)DEVSTAMP__STATUS_CODE__CODE_##code)

// The agent's own values in DS_AGENT_NAMESPACE.
#define DS_VALUE_KEY "key"           // blob: private key, PKCS#1 or SEC1 DER
#define DS_VALUE_CHAIN "chain"       // blob: concatenated DER certificates
#define DS_VALUE_DONE "done"         // u8: FinishStamp succeeded
#define DS_VALUE_IMPORTED "imported" // u8: the key may not have been made here; set before it comes
#define DS_VALUE_MOVED "moved"       // u8, encrypted area only: the copy there is complete
#define DS_VALUE_BORN "born"         // blob, encrypted area only: which values came from the factory; agent/app/reset.c
#define DS_VALUE_RESET "reset"       // u8, encrypted area only: a factory reset was begun
// Key protection; see protect.c. The station's wishes (u8), the key as only the chip can use it (blob), and what is
// burned (blobs of 32 bytes, plain area only).
#define DS_VALUE_KEY_DS "key_ds"
#define DS_VALUE_NVS_HMAC "nvs_hmac"
#define DS_VALUE_DSIG "dsig"
#define DS_VALUE_DSIG_SECRET "dsig_secret"
#define DS_VALUE_NVS_SECRET "nvs_secret"

// An answer and what it points to.
typedef struct ds_reply {
    Devstamp__Response response;
    union {
        Devstamp__HelloReply hello;
        Devstamp__KeyReply key;
        Devstamp__CsrReply csr;
        Devstamp__ChainReply chain;
        Devstamp__ImageReply image;
        Devstamp__ReportReply report;
        Devstamp__OwnerReply owner;
        Devstamp__ImportOffer import_offer;
    } body;
    ds_identity identity;
    char serial[DS_AGENT_SERIAL_MAX + 1];
    uint8_t digest[2][32];
    ProtobufCBinaryData list[DS_AGENT_CERTS_MAX];
    bool reboot; // once the answer is out
} ds_reply;

typedef ds_status (*ds_handler)(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_hello(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_report(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_make_key(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_open_import(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_import_key(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_make_csr(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_write_chain(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_read_chain(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_write_value(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_finish_stamp(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_image_begin(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_image_data(ds_agent *a, const Devstamp__Request *q, ds_reply *r);
ds_status ds_handle_image_end(ds_agent *a, const Devstamp__Request *q, ds_reply *r);

// DS_AGENT_WORK bytes that are free at this moment: a->frame while a request is answered, else a->scratch, as a frame
// may be half received.
uint8_t *ds_agent_work(ds_agent *a);

// Tell the station that the request is still being worked on, and feed the watchdog.
void ds_agent_progress(ds_agent *a);

// --- store.c: values of DS_AGENT_NAMESPACE in the area that counts now

// The area that holds the stamp: the encrypted one once the app has moved it there, else the plain one.
ds_status ds_store_area(ds_agent *a, enum ds_area *ret);
// NOT_FOUND where absent.
ds_status ds_store_get(ds_agent *a, const char *key, void *buf, size_t cap, size_t *ret_len);
ds_status ds_store_has(ds_agent *a, const char *key, bool *ret);
// Text with its NUL; "" where absent.
ds_status ds_store_text(ds_agent *a, const char *key, char *buf, size_t cap);
// Is this u8 in that area 1?
ds_status ds_store_mark(ds_agent *a, enum ds_area area, const char *key, bool *ret);
// SEALED only where the stamp that moved is the one the anchor names. Uses ds_agent_work().
ds_status ds_store_stage(ds_agent *a, int *ret);

typedef struct ds_value {
    char name_space[DS_AGENT_NAME_MAX + 1], key[DS_AGENT_NAME_MAX + 1];
    enum ds_value_type type;
    const uint8_t *data;
    size_t len;
} ds_value;

// Is exactly this value there? By what the storage holds, type included.
ds_status ds_store_same(ds_agent *a, enum ds_area area, const ds_value *v, bool *ret);
// Set a value, read it back and compare: FLASH where it differs.
ds_status ds_store_put(ds_agent *a, enum ds_area area, const ds_value *v);
// Walk an area's values in the order of namespace, then key, without memory for sorting: v holds the one before (empty
// names: start) and becomes the next, its data copied to buf. *ret_found false at the end.
ds_status ds_store_next(ds_agent *a, enum ds_area area, ds_value *v, uint8_t *buf, size_t cap, bool *ret_found);
// A ds_value; name_space and key must fit.
ds_value ds_value_of(const char *name_space, const char *key, enum ds_value_type type, const uint8_t *data, size_t len);

// --- rng.c

// mbedTLS's f_rng over the port's, with the repetition count test of NIST SP 800-90B, 4.4.1, a watchdog feed at each
// call and a Progress now and then.
typedef struct ds_rng {
    ds_agent *a;
    uint32_t calls;
    uint8_t last, run;
    bool failed; // the source failed; tells CODE_RANDOM from CODE_CRYPTO
} ds_rng;

int ds_rng_draw(void *rng, unsigned char *buf, size_t len);
// SHA-256; false on failure.
bool ds_sha256(const uint8_t *data, size_t len, uint8_t ret[32]);

// --- key.c

// Load the device key; NOT_FOUND where there is none. pk is initialised here and must be freed by the caller whatever
// the result. Uses the first DS_AGENT_KEY_MAX bytes of ds_agent_work() and wipes them. A key that is in the chip alone
// comes as MBEDTLS_PK_RSA_ALT: it signs (PKCS#1 v1.5; each time in these bytes of ds_agent_work()), and its public half
// is known from the certificate only.
ds_status ds_key_load(ds_agent *a, ds_rng *rng, mbedtls_pk_context *pk);
int ds_key_type(const mbedtls_pk_context *pk); // Devstamp__KeyType; KEY_NONE where it is none of ours
// The SubjectPublicKeyInfo, at the end of buf (DS_AGENT_SPKI_MAX bytes); NULL on failure.
uint8_t *ds_key_public(mbedtls_pk_context *pk, uint8_t *buf, size_t *ret_len);
// An identity that has moved to encrypted storage is no longer seen in the plain area, but it is there: EXISTS.
ds_status ds_key_refuse_if_moved(ds_agent *a);
// Store a key as the device's, wherever it was made. Uses the first DS_AGENT_KEY_MAX bytes of a->frame and wipes them.
ds_status ds_key_store(ds_agent *a, mbedtls_pk_context *pk, bool imported);
// The answer: type and public key of what is stored; EXISTS where that is of another type.
ds_status ds_key_reply(ds_agent *a, int type, bool made, ds_reply *r);
// Sign tag, its NUL, and the parts, with the device key: ECDSA (DER) or RSA PKCS#1 v1.5 over SHA-256, SHA-384 for
// P-384. Every signature but the request's is made here, each under a tag of its own. signature->data: the caller's, of
// DS_KEY_SIGNATURE_MAX bytes. Uses the first DS_AGENT_KEY_MAX bytes of ds_agent_work().
#define DS_KEY_SIGNATURE_MAX 512u // RSA-4096
ds_status ds_key_sign(ds_agent *a, const char *tag, const ProtobufCBinaryData *parts, size_t count,
                      ProtobufCBinaryData *signature);

// --- import.c

// Does this firmware take keys that were made elsewhere?
bool ds_import_is_known(void);

// --- dsig.c: RSA keys in the digital-signature peripheral

// The key of DS_VALUE_DSIG, as ds_key_load() gives it.
ds_status ds_dsig_load(ds_agent *a, mbedtls_pk_context *pk);
// Encrypt an RSA key for the peripheral: the data that port.dsig() takes, at ret, which holds DS_DSIG_MAX bytes.
// UNSUPPORTED where the key is none that the chip can use.
#define DS_DSIG_MAX 1604u // for keys of up to 4096 bits
ds_status ds_dsig_encrypt(ds_agent *a, ds_rng *rng, mbedtls_pk_context *pk, const uint8_t secret[32], uint8_t *ret,
                          size_t *ret_len);
// Does this key sign what that one verifies? MISMATCH where not. Uses ds_agent_work().
ds_status ds_dsig_prove(ds_agent *a, ds_rng *rng, mbedtls_pk_context *key, mbedtls_pk_context *public_key);

// --- protect.c

// Do what the stamp asks for: burn the key blocks, and prove that they work. Idempotent; completes what was cut off.
ds_status ds_protect(ds_agent *a);
// Is the secret in the stamp the one that makes the keys of encrypted NVS?
ds_status ds_protect_nvs_proved(ds_agent *a, bool *ret);
// Are the keys of encrypted NVS made by the HMAC peripheral?
bool ds_protect_nvs_by_hmac(ds_agent *a);

// --- report.c

#define DS_REPORT_TAG "devstamp report 1" // its NUL is signed too
#define DS_REPORT_NONCE 32u

// --- chain.c

// SHA-256 of the stored device certificate; *ret_len 0 where there is none, else 32. Uses ds_agent_work().
ds_status ds_chain_digest(ds_agent *a, uint8_t ret[32], size_t *ret_len);
// Is the stored device certificate the one for the stored key? MISMATCH where not. Uses ds_agent_work().
ds_status ds_chain_fits_key(ds_agent *a);
// The same of the key in DS_VALUE_DSIG, whether or not there is another.
ds_status ds_chain_fits_dsig(ds_agent *a);
// Type of the certificate's key and SHA-256 of its SubjectPublicKeyInfo. Uses ds_agent_work().
ds_status ds_chain_public(ds_agent *a, int *ret_type, uint8_t ret_digest[32]);
// What the chip's anchor says about the stored device certificate. Uses ds_agent_work().
enum ds_anchor { DS_ANCHOR_NONE, DS_ANCHOR_SAME, DS_ANCHOR_OTHER };
ds_status ds_chain_anchor(ds_agent *a, enum ds_anchor *ret);

#endif
