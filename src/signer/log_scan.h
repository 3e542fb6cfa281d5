// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log's bytes, and reading them once from front to back. Nothing here writes or locks: the signer opens
// its log with this, and whoever verifies one reads it with this, also while a signer writes.
//
// The file, byte by byte; all numbers little-endian. Header, 80 bytes:
//    0   8  magic "DSLOG2\r\n"
//    8  32  SHA-256 of the CA certificate's DER
//   40   8  when the log was begun, seconds since 1970 UTC
//   48  32  SHA-256 of bytes 0..47
// Records follow without gaps, numbered from 1:
//    0   4  magic "ENTR"
//    4   4  length n of the certificate, 4..16384
//    8   8  number of the entry
//   16   8  when it was signed, seconds since 1970 UTC
//   24  16  serial number as in the certificate, 16 bytes big-endian
//   40  32  SHA-256 of the certificate's SubjectPublicKeyInfo
//   72  64  name of the recipe it was signed for, zeros behind it (empty: a CA's or a server's)
//  136   n  the certificate, DER (a SEQUENCE whose own length says n)
// 136+n 32  leaf hash: SHA-256 of a byte 0x00 and the record's bytes 0..136+n-1
// Bytes 0..136+n-1 are the Merkle tree's entry number-1 (RFC 9162, 2.1.1).
//
// What a crash leaves is told from damage: records are written at the end of the file in order and synced before
// anything else happens, so that a torn write can only be the last record, cut short or followed by zeros to the end of
// the file. Anything else that does not add up is damage.
#ifndef DS_SIGNER_LOG_SCAN_H
#define DS_SIGNER_LOG_SCAN_H

#include "src/pki/merkle.h"

enum { DS_LOG_CERT_MAX = 16384, DS_LOG_HEADER = 80, DS_LOG_HEAD = 136, DS_LOG_RECIPE = 64, DS_LOG_HASH = 32 };

typedef struct ds_log_header {
    uint8_t ca[32];
    int64_t begun_utc;
} ds_log_header;
void ds_log_header_write(const ds_log_header *h, uint8_t ret[DS_LOG_HEADER]);
// DS_STORE: not one, or damaged. A log of the first format is named as such.
enum ds_class ds_log_header_read(ds_view bytes, const char *path, ds_log_header *ret, ds_err *e) DS_MUST;

// One record; what it points to is borrowed, from a scan until its next step.
typedef struct ds_log_record {
    uint64_t number;
    int64_t signed_utc;
    const uint8_t *serial; // 16
    const uint8_t *key;    // 32
    char recipe[DS_LOG_RECIPE];
    ds_view cert;
    const uint8_t *leaf; // 32; not read by ds_log_record_write
    ds_view entry;       // what the leaf is the hash of; likewise
    int64_t offset;      // of the record in the file; likewise
} ds_log_record;
// Append the record's bytes, leaf hash included.
void ds_log_record_write(const ds_log_record *r, ds_hasher *h, ds_buf *ret);

// How long the DER at p says it is, from its first four bytes; 0 where it is no SEQUENCE of a certificate's size.
size_t ds_log_der_len(const uint8_t p[4]);

typedef struct ds_log_scan ds_log_scan;

// Begin behind the header; end: the file's size as it is to be seen. fd and path are borrowed.
ds_log_scan *ds_log_scan_new(int fd, const char *path, int64_t end);
void ds_log_scan_free(ds_log_scan *s);

// What the last step met.
enum ds_log_found { DS_LOG_ENTRY, DS_LOG_END, DS_LOG_TORN };
// One record further: its hash is verified. DS_LOG_TORN: from the position on lies what a crash leaves. DS_STORE:
// damage, or the disk.
enum ds_class ds_log_scan_next(ds_log_scan *s, ds_log_record *ret, enum ds_log_found *ret_found, ds_err *e) DS_MUST;

int64_t ds_log_scan_position(const ds_log_scan *s);      // behind the last whole record
const ds_merkle *ds_log_scan_tree(const ds_log_scan *s); // of all records so far
ds_hasher *ds_log_scan_hasher(const ds_log_scan *s);     // to use with it

// Read len bytes at off; how many there were, -1 on an error.
int64_t ds_log_read_at(int fd, void *data, size_t len, int64_t off);
// Are the bytes from off to end all zero?
bool ds_log_zeros(int fd, int64_t off, int64_t end);

#endif
