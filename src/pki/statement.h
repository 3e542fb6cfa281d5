// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signed statements: one line of canonical JSON (keys sorted, no spaces, ASCII) that says what it is, and a second line
// with the signature over it. The first line of device manifests, lists of serial numbers and ledger batches is one
// (src/ledger/roll.h; docs/manifest.md fixes the bytes). What is signed is "devstamp statement", NUL, the first line
// without its line feed.
#ifndef DS_PKI_STATEMENT_H
#define DS_PKI_STATEMENT_H

#include "src/pki/key.h"

enum ds_statement_kind { DS_STATEMENT_DEVICES, DS_STATEMENT_SERIALS, DS_STATEMENT_BATCH, DS_STATEMENT_KINDS };
// As the statement spells it under "devstamp": "device manifest 1".
const char *ds_statement_name(enum ds_statement_kind kind);

enum { DS_STATEMENT_MAX = 4096, DS_STATEMENT_KEY_MAX = 600, DS_STATEMENT_SIGNATURE_MAX = 512 };

// DS_INPUT: not one canonical JSON object on one line, or it says that it is something else.
enum ds_class ds_statement_check(ds_view text, enum ds_statement_kind *ret, ds_err *e) DS_MUST;

// Append what is signed.
void ds_statement_message(ds_view text, ds_buf *ret);

typedef struct ds_statement_signature {
    uint8_t key[DS_STATEMENT_KEY_MAX]; // SubjectPublicKeyInfo
    uint8_t signature[DS_STATEMENT_SIGNATURE_MAX];
    size_t key_len, signature_len;
    uint8_t key_id[32]; // SHA-256 of key
} ds_statement_signature;

// Append the second line, without its line feed.
void ds_statement_signature_write(const ds_statement_signature *s, ds_buf *ret);
// DS_INPUT: not such a line.
enum ds_class ds_statement_signature_parse(ds_view line, ds_statement_signature *ret, ds_err *e) DS_MUST;

// Whose signatures count.
typedef struct ds_statement_keys {
    const uint8_t (*id)[32];
    size_t count;
} ds_statement_keys;

// Does the signature hold, and is it by one of these keys? DS_INPUT: it does not hold; DS_POLICY: by another key.
enum ds_class ds_statement_verify(ds_view text, const ds_statement_signature *s, const ds_statement_keys *keys,
                                  ds_err *e) DS_MUST;

#endif
