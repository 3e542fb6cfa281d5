// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log: every certificate a CA key ever signed here, the entries of a Merkle tree (RFC 9162), on disk
// before the certificate is handed out. One log belongs to one CA certificate; one process holds it at a time.
// log_scan.h fixes the file's bytes, log_head.h those of the head beside it.
//
// Opening reads all of it once: every record's hash is verified, the tree's right edge and the index are built from
// that, and the head beside the log ("<log>.head") must be one of this very log, so that an end that was cut off and a
// log that was begun anew are noticed. What they cannot show is log and head put back together: a head that is known
// elsewhere (the station's ledger) does.
#ifndef DS_SIGNER_LOG_H
#define DS_SIGNER_LOG_H

#include "src/signer/log_head.h"
#include "src/signer/log_index.h"
#include "src/signer/log_scan.h"

typedef struct ds_log_file ds_log_file;

// Open or begin the log of the CA whose certificate has that SHA-256, lock it, verify all of it. DS_STORE: held by
// another signer, of another CA, of the first format, damaged, disk. DS_POLICY: not the log its head was made of.
enum ds_class ds_log_open(const char *path, const uint8_t ca[32], ds_log_file **ret, ds_err *e) DS_MUST;
void ds_log_close(ds_log_file *l);

// Of what is on disk.
uint64_t ds_log_entries(const ds_log_file *l);
const uint8_t *ds_log_root(const ds_log_file *l); // 32 bytes

// By public key / by serial number, also what was added and not committed (number > ds_log_entries); NULL where there
// is none. Borrowed until the next ds_log_add.
const ds_log_entry *ds_log_by_key(const ds_log_file *l, const uint8_t public_key_digest[32]);
const ds_log_entry *ds_log_by_serial(const ds_log_file *l, const uint8_t serial[16]);

// Append the certificate's DER to ret.
enum ds_class ds_log_read(const ds_log_file *l, const ds_log_entry *entry, ds_buf *ret, ds_err *e) DS_MUST;

// Where whole records from number from on lie in the file: as many as fit into max bytes, but one where there is one.
// What is there does not change; it may be read by ds_log_read_span beside any other call.
typedef struct ds_log_span {
    int64_t offset;
    size_t len;
    uint64_t next; // from what number on the next span begins
} ds_log_span;
ds_log_span ds_log_find_span(const ds_log_file *l, uint64_t from, size_t max);
// Append its bytes to ret.
enum ds_class ds_log_read_span(const ds_log_file *l, const ds_log_span *span, ds_buf *ret, ds_err *e) DS_MUST;
// Append the file's header to ret; the text of the head beside the log, nothing where there is none. As the call above.
enum ds_class ds_log_read_header(const ds_log_file *l, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_log_read_head(const ds_log_file *l, ds_buf *ret, ds_err *e) DS_MUST;

// The entry of that number, from 1 to ds_log_entries.
const ds_log_entry *ds_log_by_number(const ds_log_file *l, uint64_t number);
// The name of its recipe; borrowed until the next ds_log_add.
const char *ds_log_recipe_of(const ds_log_file *l, const ds_log_entry *entry);
// How many certificates were signed for that recipe; what was added and not committed counts.
uint64_t ds_log_count(const ds_log_file *l, const char *recipe);

typedef struct ds_log_certificate {
    const uint8_t *serial;            // 16
    const uint8_t *public_key_digest; // 32
    const char *recipe;               // "": of no recipe; at most 63 bytes
    ds_view der;
} ds_log_certificate;

// Take a certificate in, in memory: ds_log_commit brings all of them to disk at once. DS_POLICY: serial or key is in
// the log already.
enum ds_class ds_log_add(ds_log_file *l, const ds_log_certificate *c, ds_err *e) DS_MUST;
// Write and sync what was added. DS_OK: it is on disk. DS_STORE: none of it is in the log (what was written is cut off
// again; where even that fails, the log takes nothing more until it is opened anew).
enum ds_class ds_log_commit(ds_log_file *l, ds_err *e) DS_MUST;
// The same in two steps, for a log that other threads look at meanwhile: ds_log_write changes nothing that the calls
// above look at, and may run beside them; ds_log_settle, which takes in what was written or forgets what was not, may
// not, nor may ds_log_add.
enum ds_class ds_log_write(ds_log_file *l, ds_err *e) DS_MUST;
void ds_log_settle(ds_log_file *l, bool written);
// ds_log_add and ds_log_commit.
enum ds_class ds_log_append(ds_log_file *l, const ds_log_certificate *c, ds_err *e) DS_MUST;

// That the log of from entries is the beginning of this one. Takes some milliseconds, whatever the log's size.
enum ds_class ds_log_prove(ds_log_file *l, uint64_t from, ds_merkle_proof *ret, ds_err *e) DS_MUST;

// Write the head beside the log, signed where key is not NULL; nothing where the head there is this one.
enum ds_class ds_log_put_head(ds_log_file *l, const ds_log_key *key, ds_err *e) DS_MUST;
// How many entries the head beside the log has.
uint64_t ds_log_head_entries(const ds_log_file *l);

// Make a log of this format out of one of the first ("DSLOG1", a hash chain), which is verified; at to there must be
// nothing. ret_chain: the hash of the old log's last entry, as the ledger recorded it.
enum ds_class ds_log_convert(const char *from, const char *to, uint64_t *ret_entries, uint8_t ret_chain[32],
                             ds_err *e) DS_MUST;

#endif
