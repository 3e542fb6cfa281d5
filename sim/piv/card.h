// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A YubiKey's PIV application (firmware 5.4.3) as a piece of software: APDUs in, APDUs out, and a file that holds what
// a card holds. Sources: NIST SP 800-73-4 part 2 (commands), ISO 7816-4 (framing, chaining), Yubico's PIV
// documentation (extensions: policies, metadata, attestation, serial number, version, reset).
//
// It is a test's token, not a safe: keys and PINs lie unencrypted in the state file (mode 0600).
#ifndef DS_PIV_CARD_H
#define DS_PIV_CARD_H

#include "src/base/buf.h"

#include <openssl/evp.h>

// Status words.
enum {
    DS_PIV_OK = 0x9000,
    DS_PIV_MORE = 0x6100,   // and how many bytes more
    DS_PIV_WRONG = 0x63C0,  // and how many tries are left
    DS_PIV_MEMORY = 0x6581, // the state cannot be written
    DS_PIV_LENGTH = 0x6700,
    DS_PIV_SECURITY = 0x6982, // PIN, management key or touch is missing
    DS_PIV_BLOCKED = 0x6983,
    DS_PIV_CONDITION = 0x6985,
    DS_PIV_DATA = 0x6A80,
    DS_PIV_NOT_FOUND = 0x6A82,
    DS_PIV_FULL = 0x6A84,
    DS_PIV_PARAMETER = 0x6A86,
    DS_PIV_NO_REFERENCE = 0x6A88,
    DS_PIV_INSTRUCTION = 0x6D00,
};

// Algorithms, policies, origins and slots, as the wire has them.
enum { DS_PIV_RSA_2048 = 0x07, DS_PIV_P256 = 0x11, DS_PIV_P384 = 0x14 };
enum { DS_PIV_3DES = 0x03, DS_PIV_AES128 = 0x08, DS_PIV_AES192 = 0x0A, DS_PIV_AES256 = 0x0C };
enum { DS_PIV_PIN_DEFAULT, DS_PIV_PIN_NEVER, DS_PIV_PIN_ONCE, DS_PIV_PIN_ALWAYS };
enum { DS_PIV_TOUCH_DEFAULT, DS_PIV_TOUCH_NEVER, DS_PIV_TOUCH_ALWAYS, DS_PIV_TOUCH_CACHED };
enum { DS_PIV_GENERATED = 1, DS_PIV_IMPORTED = 2 };
enum { DS_PIV_SLOT_ATTESTATION = 0xF9, DS_PIV_SLOT_MANAGEMENT = 0x9B };

enum { DS_PIV_KEYS = 25, DS_PIV_OBJECTS = 64, DS_PIV_OBJECT_MAX = 3052, DS_PIV_PIN_LEN = 8 };

typedef struct ds_piv_key {
    uint8_t slot, algorithm, pin_policy, touch_policy, origin;
    EVP_PKEY *key; // NULL: the slot is empty
} ds_piv_key;

typedef struct ds_piv_object {
    uint32_t tag;
    ds_buf data;
} ds_piv_object;

typedef struct ds_piv_pin {
    uint8_t value[DS_PIV_PIN_LEN]; // filled up with 0xFF
    uint8_t tries, left;
} ds_piv_pin;

// What the file holds.
typedef struct ds_piv_state {
    uint32_t serial;
    uint8_t form_factor;
    ds_piv_pin pin, puk;
    uint8_t management_algorithm, management_len, management[32];
    ds_piv_key keys[DS_PIV_KEYS];
    ds_piv_object objects[DS_PIV_OBJECTS];
    size_t object_count;
} ds_piv_state;

enum ds_piv_application { DS_PIV_NONE, DS_PIV_PIV, DS_PIV_MANAGEMENT };

// What is gone when the card loses its power, but for the counters.
typedef struct ds_piv_session {
    enum ds_piv_application application;
    bool verified, fresh;    // the PIN; by the command before this one
    bool administrator;      // the management key
    uint8_t challenge[16];   // ours, which the other side must answer
    uint8_t challenge_kind;  // 0x80: ours encrypted, 0x81: ours in the clear, 0: none
    uint8_t chain_header[3]; // CLA without the chaining bit aside: INS, P1, P2 of a command that comes in parts
    ds_buf chain, rest;      // the command so far; the answer not fetched yet
} ds_piv_session;

typedef struct ds_piv_card {
    char *path;
    ds_piv_state state;
    ds_piv_session session;
    int64_t touch_end_ms; // of a cached touch
    bool touch_given;     // for the command at hand
    uint64_t verifies, wrong,
        signatures; // VERIFYs with a PIN in them, those refused, and signatures, since it was opened
} ds_piv_card;

// Open the card kept in the file path, or make one with that serial number: PIN 123456, PUK 12345678, the well-known
// management key (3DES), an attestation key whose certificate a root of its own has signed. The root goes to maker_root
// (PEM); its key is thrown away. serial 0: a random one.
enum ds_class ds_piv_card_open(const char *path, uint32_t serial, const char *maker_root, ds_piv_card *ret,
                               ds_err *e) DS_MUST;
void ds_piv_card_close(ds_piv_card *c);

// Power or reset: the session is gone.
void ds_piv_card_reset(ds_piv_card *c);

// Would this command wait for a touch? Then run it when ds_piv_card_touch was called, or when nobody touched in time.
bool ds_piv_card_wants_touch(ds_piv_card *c, ds_view command);
void ds_piv_card_touch(ds_piv_card *c);

// Run one command APDU; replaces ret with the response and its status word.
void ds_piv_card_run(ds_piv_card *c, ds_view command, ds_buf *ret);

#endif
