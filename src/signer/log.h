// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log: every certificate a CA key ever signed here, each entry chained to the one before by SHA-256, on
// disk before the certificate is handed out. One log belongs to one CA certificate; one process holds it at a time.
//
// The file, byte by byte; all numbers little-endian. Header, 48 bytes:
//    0   8  magic "DSLOG1\r\n"
//    8  32  SHA-256 of the CA certificate's DER
//   40   8  when the log was begun, seconds since 1970 UTC
// Entries follow without gaps, numbered from 1:
//    0   4  magic "ENTR"
//    4   4  length n of the certificate, 4..16384
//    8   8  number of the entry
//   16   8  when it was signed, seconds since 1970 UTC
//   24  32  hash of the entry before; for entry 1 the SHA-256 of the header
//   56  16  serial number as in the certificate, 16 bytes big-endian
//   72  32  SHA-256 of the certificate's SubjectPublicKeyInfo
//  104   n  the certificate, DER (a SEQUENCE whose own length says n)
//  104+n 32 hash of this entry: SHA-256 of its bytes 0..104+n-1
//
// What a crash leaves is told from damage: an entry is written by one write at the end of the file and synced before
// anything else happens, so that a torn write can only be the last entry, cut short or followed by zeros to the end of
// the file. Such a tail was never handed out and is cut off with a warning. Anything else that does not add up is
// damage, and the log is refused. What the chain cannot show by itself is an end that was cut off at an entry's
// boundary: the station's ledger, which knows every certificate it was given, shows that.
#ifndef DS_SIGNER_LOG_H
#define DS_SIGNER_LOG_H

#include "src/base/buf.h"

typedef struct ds_log_file ds_log_file;

enum { DS_LOG_CERT_MAX = 16384 };

// Open or begin the log of the CA whose certificate has that SHA-256, lock it, verify all of it. DS_STORE: held by
// another signer, of another CA, damaged, disk.
enum ds_class ds_log_open(const char *path, const uint8_t ca[32], ds_log_file **ret, ds_err *e) DS_MUST;
void ds_log_close(ds_log_file *l);

uint64_t ds_log_entries(const ds_log_file *l);
const uint8_t *ds_log_head(const ds_log_file *l); // 32 bytes

// What the log knows of one certificate.
typedef struct ds_log_entry {
    uint8_t serial[16];
    uint8_t public_key_digest[32];
    uint64_t number;
    int64_t offset; // of the certificate in the file
    uint32_t len;
} ds_log_entry;

// By public key / by serial number; NULL where there is none. Borrowed until ds_log_close.
const ds_log_entry *ds_log_by_key(const ds_log_file *l, const uint8_t public_key_digest[32]);
const ds_log_entry *ds_log_by_serial(const ds_log_file *l, const uint8_t serial[16]);

// Append the certificate's DER to ret.
enum ds_class ds_log_read(const ds_log_file *l, const ds_log_entry *entry, ds_buf *ret, ds_err *e) DS_MUST;

// Append and sync. DS_OK: it is on disk. DS_STORE: it is not in the log (what was written is cut off again; where even
// that fails, the log takes nothing more until it is opened anew). DS_POLICY: serial or key is in the log already.
enum ds_class ds_log_append(ds_log_file *l, const uint8_t serial[16], const uint8_t public_key_digest[32], ds_view cert,
                            ds_err *e) DS_MUST;

#endif
