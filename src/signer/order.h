// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Orders to sign for a release and their answers, as files: what is carried to the machine that has the key and back,
// and what the signer process is asked. An order says in words what it is of; no bare bytes are signed. docs/bundle.md
// fixes both: one JSON object in canonical spelling, and a line feed.
#ifndef DS_SIGNER_ORDER_H
#define DS_SIGNER_ORDER_H

#include "src/esp/sbv2.h"
#include "src/signer/bundle.h"
#include "src/signer/signer.h"

enum ds_order_what { DS_ORDER_IMAGE, DS_ORDER_RELEASE, DS_ORDER_APPROVAL, DS_ORDER_STATEMENT, DS_ORDER_WHATS };
enum { DS_ORDER_MAX = 56 << 10 };

// An image that is to be signed for Secure Boot V2.
typedef struct ds_order_image {
    uint8_t digest[32]; // SHA-256 of the padded content
    uint64_t length;    // of that content
    char chip[16];
    char project[33], version[33]; // empty: a bootloader
    uint32_t secure_version;
} ds_order_image;

typedef struct ds_order {
    enum ds_order_what what;
    ds_order_image image;  // DS_ORDER_IMAGE
    ds_buf text;           // the manifest, or the statement (src/pki/statement.h), of the others; owned
    ds_manifest *manifest; // the manifest, parsed; owned; NULL of a statement
} ds_order;
void ds_order_free(ds_order *o);

// The order that an image makes. DS_INPUT: no image, or of no known chip; no more signatures fit. DS_POLICY: its chip
// looks at no more signatures than it has.
enum ds_class ds_order_of_image(ds_view image, ds_order *ret, ds_err *e) DS_MUST;
enum ds_class ds_order_of_bundle(const ds_bundle *b, enum ds_bundle_role role, ds_order *ret, ds_err *e) DS_MUST;
enum ds_class ds_order_of_statement(ds_view text, ds_order *ret, ds_err *e) DS_MUST;

enum ds_class ds_order_write(const ds_order *o, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_order_parse(ds_view text, ds_order *ret, ds_err *e) DS_MUST;

typedef struct ds_answer {
    enum ds_order_what what;
    uint8_t digest[32];                         // of the image's content, or of the manifest
    uint8_t block[DS_SBV2_BLOCK];               // DS_ORDER_IMAGE: the signature block; it holds
    uint8_t key[DS_BUNDLE_KEY_MAX];             // of the others: SubjectPublicKeyInfo,
    uint8_t signature[DS_BUNDLE_SIGNATURE_MAX]; // and what it signed
    size_t key_len, signature_len;
} ds_answer;
enum ds_class ds_answer_write(const ds_answer *a, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_answer_parse(ds_view text, ds_answer *ret, ds_err *e) DS_MUST;

// Put the answer to where it belongs. DS_INPUT: it is to another order, or does not hold.
enum ds_class ds_answer_to_image(const ds_answer *a, ds_buf *image, ds_err *e) DS_MUST;
enum ds_class ds_answer_to_bundle(const ds_answer *a, ds_bundle *b, ds_err *e) DS_MUST;

// Have a child of this process sign: the parent's side. Of access only module, token_serial and the PIN's source are
// used. image: path that the child compares the order with; NULL: none. beside: see SignOrder.
typedef struct ds_order_sign {
    const char *key, *image, *beside;
    ds_view order;
    bool network; // the module speaks to a key service
} ds_order_sign;
enum ds_class ds_order_have_signed(const ds_signer_config *access, const ds_order_sign *s, ds_answer *ret,
                                   ds_err *e) DS_MUST;

#endif
