// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestations: certificates by which the maker of a token says that a key was made inside one, in which, and under
// which policies. Yubico's kind: an X.509 certificate over the key, signed by the token's attestation key (slot f9),
// whose certificate leads to the maker's root; extensions below 1.3.6.1.4.1.41482.3: .3 firmware (three bytes), .7
// serial number (INTEGER), .8 PIN and touch policy (a byte each), .9 form factor (a byte). Source: Yubico, "PIV
// attestation".
#ifndef DS_PKI_ATTEST_H
#define DS_PKI_ATTEST_H

#include "src/pki/keytype.h"

enum { DS_PIN_POLICY_NONE, DS_PIN_POLICY_NEVER, DS_PIN_POLICY_ONCE, DS_PIN_POLICY_ALWAYS };
enum { DS_TOUCH_POLICY_NONE, DS_TOUCH_POLICY_NEVER, DS_TOUCH_POLICY_ALWAYS, DS_TOUCH_POLICY_CACHED };

typedef struct ds_attestation {
    char maker[256]; // subject of the root it leads to; empty where that was not verified
    bool has_serial;
    uint32_t serial; // of the token
    uint8_t firmware[3];
    uint8_t pin_policy, touch_policy; // as the token writes them: the constants above, or newer ones
    uint8_t form_factor;              // 0: not said
    uint8_t slot;                     // of PIV (0x9c); 0: not said
    enum ds_key_type key_type;
    uint8_t key_digest[32]; // SHA-256 of the key's SubjectPublicKeyInfo
} ds_attestation;

// Has it the extensions of an attestation? Says nothing of who made it.
bool ds_attestation_is(X509 *cert);

// Read what it says. DS_INPUT: no attestation, or a damaged one. Nothing of it is to be believed before the next.
enum ds_class ds_attestation_read(X509 *leaf, ds_attestation *ret, ds_err *e) DS_MUST;

// Verify: leaf leads by way of chain (may be NULL; the token's own certificate, intermediate ones) to a root of the
// maker, whose certificates are given apart (those that sign themselves are roots, others intermediate), at the time
// at_utc; and its key is key. DS_POLICY says what does not hold.
typedef struct ds_attestation_check {
    X509 *leaf;
    STACK_OF(X509) * chain, *maker; // not kept
    EVP_PKEY *key;
    int64_t at_utc;
} ds_attestation_check;
enum ds_class ds_attestation_verify(const ds_attestation_check *c, ds_attestation *ret, ds_err *e) DS_MUST;

// "never", "once", "always" / "never", "always", "cached".
const char *ds_pin_policy_name(uint8_t policy);
const char *ds_touch_policy_name(uint8_t policy);

#endif
