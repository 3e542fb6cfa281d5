// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner's side: find out whether a device is genuine, and only then hand it Wi-Fi credentials. For companion apps
// and for "devstamp verify device". No I/O of its own: every call takes and gives bytes, which any transport may carry
// (ESP-IDF protocomm over Bluetooth or SoftAP, a console), trusted or not. Needs OpenSSL 3 and protobuf-c. What is
// computed and why: docs/owner.md.
//
// An object is used by one thread at a time. Everything secret is wiped when it is freed.
#ifndef DS_OWNER_COMPANION_H
#define DS_OWNER_COMPANION_H

#include "src/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DS_COMPANION_REPLY_MAX 8192u // longest reply that is read
#define DS_COMPANION_NAME_MAX 63u
#define DS_COMPANION_POP_MIN 8u
#define DS_COMPANION_POP_MAX 64u

// What the owner knows. All of it is copied.
typedef struct ds_companion_config {
    const char *roots; // one or more root certificates of the product, PEM
    size_t roots_len;
    const char *name;   // serial number on the label ("name" in its QR code), 1..63 characters
    const uint8_t *pop; // proof-of-possession secret on the label ("pop"), 8..64 bytes
    size_t pop_len;
    int64_t now_utc; // 0: no trusted clock, then validity dates are not looked at
    uint32_t piece;  // longest piece of a proof the transport carries in one reply (Bluetooth: 400); 0: no limit
} ds_companion_config;

// A device that was found genuine.
typedef struct ds_companion_device {
    char serial[DS_COMPANION_NAME_MAX + 1];
    char issuer[256], root[256]; // names as RFC 4514 writes them; who certified it, and under which root
    uint8_t fingerprint[32];     // SHA-256 of its certificate
    char not_after[32];          // "2031-05-04", or "never"
} ds_companion_device;

typedef struct ds_companion_credentials {
    const uint8_t *ssid, *passphrase, *extra; // 1..32, 0 or 8..64, at most 512 bytes
    size_t ssid_len, passphrase_len, extra_len;
} ds_companion_credentials;

// Bytes to send; borrowed until the next call with the same object. len 0: nothing is to be sent.
typedef struct ds_companion_message {
    const uint8_t *ptr;
    size_t len;
} ds_companion_message;

// The code of a ds_err from here.
enum ds_companion_code {
    DS_COMPANION_COUNTERFEIT = 1, // DS_POLICY: not the genuine device of this label
    DS_COMPANION_NOT_SEALED,      // DS_POLICY: by its own word not locked and stamped
    DS_COMPANION_WRONG_SECRET,    // DS_INPUT: the device does not know this proof of possession
    DS_COMPANION_LOCKED_OUT,      // DS_DEVICE: too many wrong ones; it takes none until it restarts
    DS_COMPANION_LOST_SESSION,    // DS_DEVICE: somebody else began a session; begin again
    DS_COMPANION_NOT_TAKEN,       // DS_INPUT: the firmware cannot use these credentials
    DS_COMPANION_BAD_REPLY,       // DS_DEVICE: not what this protocol says
    DS_COMPANION_DEVICE_FAILED,   // DS_DEVICE: the device could not do it; it may be tried again
};

typedef struct ds_companion ds_companion;

// DS_INPUT where something in the configuration is missing, too long or no certificate.
enum ds_class ds_companion_new(const ds_companion_config *config, ds_companion **ret, ds_err *e) DS_MUST;
void ds_companion_free(ds_companion *c); // NULL-safe

// Begin a session, or begin anew: gives the first message.
enum ds_class ds_companion_begin(ds_companion *c, ds_companion_message *ret, ds_err *e) DS_MUST;

// Take a reply and give the next message. Of length 0: the device is genuine, or it has taken the credentials. After a
// failure only begin may follow. A message whose reply was lost may be sent again as it is.
enum ds_class ds_companion_feed(ds_companion *c, const uint8_t *reply, size_t len, ds_companion_message *ret,
                                ds_err *e) DS_MUST;

// The device, once it was found genuine in this session; else NULL.
const ds_companion_device *ds_companion_get_device(const ds_companion *c);

// The message that hands over credentials, sealed for this very device and session; once a session. DS_POLICY before
// the device was found genuine.
enum ds_class ds_companion_parcel(ds_companion *c, const ds_companion_credentials *credentials,
                                  ds_companion_message *ret, ds_err *e) DS_MUST;

// ---- With a transport that can wait for a reply.

// Send a message and wait for its reply of at most cap bytes. DS_DEVICE or DS_NETWORK where none came.
typedef struct ds_companion_transport {
    void *ctx;
    enum ds_class (*exchange)(void *ctx, const uint8_t *message, size_t len, uint8_t *reply, size_t cap,
                              size_t *ret_len, ds_err *e);
} ds_companion_transport;

// Find out whether the device is genuine; begins anew, twice at most, where somebody else's session came between.
enum ds_class ds_companion_verify(ds_companion *c, const ds_companion_transport *t, ds_err *e) DS_MUST;

// Hand over credentials after ds_companion_verify.
enum ds_class ds_companion_hand_over(ds_companion *c, const ds_companion_transport *t,
                                     const ds_companion_credentials *credentials, ds_err *e) DS_MUST;

#endif
