// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The head of an issuance log as a file, "<log>.head": what the log was at one time, in words that openssl's tools can
// check. Lines, each ended by one line feed:
//   devstamp issuance log head 1
//   ca HEX          SHA-256 of the CA certificate's DER
//   size NUMBER     entries
//   root HEX        root hash of the Merkle tree (RFC 9162, 2.1.1)
//   time TIME       RFC 3339, UTC
//   key BASE64      SubjectPublicKeyInfo of the log key, DER; this line and the next only where a log key is configured
//   signature BASE64  by that key, SHA-256, over all lines before this one
// A signature that comes with its key shows that head and key belong together, not whose key it is: who verifies
// compares the key with the one known from elsewhere.
#ifndef DS_SIGNER_LOG_HEAD_H
#define DS_SIGNER_LOG_HEAD_H

#include "src/base/buf.h"

#include <openssl/evp.h>

typedef struct ds_log_head {
    uint8_t ca[32], root[32];
    uint64_t size;
    char time[21];
    bool is_signed;
    uint8_t key_digest[32]; // SHA-256 of the key's SubjectPublicKeyInfo; where signed
    char signature[768];    // base64; empty where not signed
} ds_log_head;

// The key that signs heads, and never certificates; both halves borrowed.
typedef struct ds_log_key {
    EVP_PKEY *private_key, *public_key;
} ds_log_key;

// The file's text for ca, size and root as of now; signed where key is not NULL. DS_TOKEN: the token did not sign.
enum ds_class ds_log_head_text(const ds_log_head *h, const ds_log_key *key, ds_buf *ret, ds_err *e) DS_MUST;

// Parse; a signature is verified with the key beside it. DS_INPUT: not a head, or not what was signed.
enum ds_class ds_log_head_parse(ds_view text, ds_log_head *ret, ds_err *e) DS_MUST;

// Read the file; *ret_found false where there is none.
enum ds_class ds_log_head_read(const char *path, ds_log_head *ret, bool *ret_found, ds_err *e) DS_MUST;

#endif
