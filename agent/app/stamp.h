// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The stamp as the product's own firmware uses it: its values by type, the key as a handle that signs, a health report,
// and a factory reset that leaves the device what it is.
//
// All of it uses the agent's memory: call it in the task that polls the agent, or with an agent of the calling task's
// own (see ds_owner_init). Values are read from where the stamp lies now, plain or encrypted.
#ifndef DS_AGENT_STAMP_H
#define DS_AGENT_STAMP_H

#include "agent/core/agent.h"

#include <mbedtls/pk.h>

// ---- Values. NOT_FOUND where absent, NO_SPACE where buf is too small (*ret_len is the length all the same). MISMATCH
// where the device's stamp was lost or replaced: the chip is tied to a certificate, and encrypted storage holds no
// stamp.

ds_status ds_stamp_serial(ds_agent *a, char ret[DS_AGENT_SERIAL_MAX + 1]);
ds_status ds_stamp_endpoint(ds_agent *a, char ret[DS_AGENT_ENDPOINT_MAX + 1]); // "mqtts://host:port"
// What the endpoint's certificate is checked against, as the recipe has it: PEM text, not terminated.
ds_status ds_stamp_endpoint_ca(ds_agent *a, void *buf, size_t cap, size_t *ret_len);
// The device's certificate and its issuers, concatenated DER, own first; at most DS_AGENT_CHAIN_MAX bytes. No secret.
ds_status ds_stamp_chain(ds_agent *a, void *buf, size_t cap, size_t *ret_len);
// The proof-of-possession secret, 8..64 bytes: for SRP or a label on the device's own screen. Wipe it after use.
ds_status ds_stamp_pop(ds_agent *a, void *buf, size_t cap, size_t *ret_len);
// Any other value: of the recipe, or of the app. NOT_ALLOWED for the private key and the secrets that protect it.
ds_status ds_stamp_value(ds_agent *a, const char *name_space, const char *key, void *buf, size_t cap, size_t *ret_len);
// The same as text with its NUL; cap includes it.
ds_status ds_stamp_text(ds_agent *a, const char *name_space, const char *key, char *buf, size_t cap);
// The same as an unsigned number of 1, 2 or 4 bytes; MISMATCH where it is of another length.
ds_status ds_stamp_u32(ds_agent *a, const char *name_space, const char *key, uint32_t *ret);

// ---- The key

// A handle that signs with the device's key: for a TLS client (mbedtls_ssl_conf_own_cert) or a signature of the app's
// own. ret is initialised here whatever the result; the caller frees it with mbedtls_pk_free, which wipes the key. Only
// from encrypted storage: NOT_ALLOWED before the stamp has moved there. There is no function that gives its bytes.
ds_status ds_stamp_key(ds_agent *a, mbedtls_pk_context *ret);

// mbedTLS's f_rng over the port's randomness, with its test for a stuck source. agent: a ds_agent.
int ds_stamp_random(void *agent, unsigned char *buf, size_t len);

// ---- Health

typedef struct ds_health {
    char serial[DS_AGENT_SERIAL_MAX + 1]; // "" without
    char project[33], version[33];        // of the running image
    int stage;                            // Devstamp__Stage
    bool secure_boot, flash_encryption, release_mode, jtag_disabled;
    int download; // Devstamp__DownloadMode
    uint32_t secure_version;
    ds_status last_status; // of the last step the device took by itself
    bool endpoint_reached; // since boot
    bool reset_pending;    // a factory reset was cut off and is not completed yet
    uint32_t free_bytes;   // left in encrypted storage; 0 before the stamp moved
} ds_health;

// Fails only where storage cannot be read.
ds_status ds_stamp_health(ds_agent *a, ds_health *ret);

// As one JSON object (RFC 8259), terminated, for publishing; its fields are named as above, stage and download as
// words. Returns its length; 0 where cap is less than DS_HEALTH_JSON_MAX. It holds no secret.
#define DS_HEALTH_JSON_MAX 1280u
size_t ds_stamp_health_json(const ds_health *h, char *buf, size_t cap);

// ---- Factory reset

// Make the device what it was when it left the factory: erase every value of encrypted storage but
//   - namespace "stamp": key, certificate, serial number, endpoint, proof of possession and the agent's marks;
//   - the values that the recipe put there (by namespace and key; one that the app has overwritten stays as it is now).
// So Wi-Fi credentials and all that the app or ESP-IDF keeps there are gone, and who owned the device before cannot be
// told from it. Flash outside encrypted NVS is the app's to clear. What was erased lies in flash as ciphertext until
// NVS uses its page again.
//
// Once begun it is completed: a mark is set first, and after a power loss ds_stamp_reset_resume() goes on. Restart the
// device afterwards, as drivers hold what they have read. NOT_ALLOWED before the stamp has moved to encrypted storage;
// NOT_FOUND on a device whose stamp was moved by a firmware that noted no list of the recipe's values: nothing is
// erased there.
ds_status ds_stamp_reset(ds_agent *a);

// Complete a factory reset that was cut off; OK at once where there is none. ds_app_run() does it at every boot. A
// firmware whose other tasks read encrypted storage calls it before they start, after ds_app_migrate(), as
// devstamp_app_start() does: else they would still find what is to be erased, and lose what they write meanwhile.
ds_status ds_stamp_reset_resume(ds_agent *a);

#endif
