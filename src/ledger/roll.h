// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Rolls: signed lists of any length, as files or as parts of them. Device manifests, lists of serial numbers and ledger
// batches are rolls; docs/manifest.md fixes the bytes. A roll is lines:
//   a statement (src/pki/statement.h): what it is, how many entries, the root of their Merkle tree (RFC 9162)
//   its signature
//   this part's place: part i of n, its first entry, how many, the root
//   then blocks of 256 entries: a line with the hashes of the block's entries and the proof that leads from them to
//   the root, and the entries, one line each
// So each part proves each of its entries alone, and an entry that was lost, edited, doubled or moved is told exactly.
// Memory: the entries of one block, and 48 bytes for each block of files that are surveyed (64 where it is written).
#ifndef DS_LEDGER_ROLL_H
#define DS_LEDGER_ROLL_H

#include "src/pki/merkle.h"
#include "src/pki/statement.h"

enum { DS_ROLL_BLOCK = 256, DS_ROLL_ENTRY_MAX = 4 << 20, DS_ROLL_ABOUT_MAX = 2048, DS_ROLL_PARTS_MAX = 9999 };
#define DS_ROLL_COUNT_MAX (UINT64_C(1) << 28)

typedef struct ds_roll_head {
    enum ds_statement_kind kind;
    uint64_t count; // 1 to DS_ROLL_COUNT_MAX
    uint8_t root[32];
    int64_t created_utc;
    char about[DS_ROLL_ABOUT_MAX]; // a JSON object, canonical: what else it says of itself
} ds_roll_head;
// Append the statement's text. DS_INPUT: about is no JSON object or too long.
enum ds_class ds_roll_head_write(const ds_roll_head *h, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_roll_head_parse(ds_view text, ds_roll_head *ret, ds_err *e) DS_MUST;

typedef struct ds_roll_place {
    uint64_t part, of;     // from 1
    uint64_t first, count; // entries, from 0
} ds_roll_place;

enum ds_roll_fault_kind {
    DS_ROLL_EDITED,    // entry first is not what was signed; serial: what it says
    DS_ROLL_LOST,      // count entries from first on are not there
    DS_ROLL_DOUBLED,   // entry first stands there again
    DS_ROLL_MOVED,     // entries first to first + count - 1 are there, in another place
    DS_ROLL_STRANGE,   // count lines from line on belong to no block that can be read; serial: what the first says
    DS_ROLL_BLOCK_BAD, // the line of a block was changed: the entries behind it cannot be judged
    DS_ROLL_PLACE_BAD, // the part is not what its third line says
    DS_ROLL_HEAD_BAD,  // the file cannot be used at all; text says why
};
typedef struct ds_roll_fault {
    enum ds_roll_fault_kind kind;
    const char *path;
    uint64_t line, first, count;
    char serial[64];
    const char *text; // DS_ROLL_HEAD_BAD alone
} ds_roll_fault;
typedef void (*ds_roll_fault_fn)(void *arg, const ds_roll_fault *f);

typedef struct ds_roll_options {
    ds_statement_keys keys;
    ds_roll_fault_fn fault; // NULL: not told
    void *arg;
} ds_roll_options;

// Reading one file, block by block. What is returned was verified against the signed root.
typedef struct ds_roll_reader ds_roll_reader;
typedef struct ds_roll_block {
    uint64_t index, offset; // its number, where its line begins in the file
    unsigned count, good;   // entries it has, and those that are there
    bool clean;             // all there, in order, and nothing else
    uint8_t root[32], leaf[DS_ROLL_BLOCK][32];
    ds_view entry[DS_ROLL_BLOCK]; // empty where it is not there; borrowed until the reader is used again
} ds_roll_block;
// "-": standard input. DS_INPUT: no roll, or its signature does not hold; DS_POLICY: signed by another key; DS_STORE.
enum ds_class ds_roll_open(const char *path, const ds_roll_options *o, ds_roll_reader **ret, ds_err *e) DS_MUST;
void ds_roll_close(ds_roll_reader *r);
const ds_roll_head *ds_roll_get_head(const ds_roll_reader *r);
const ds_roll_place *ds_roll_get_place(const ds_roll_reader *r);
const ds_statement_signature *ds_roll_get_signature(const ds_roll_reader *r);
// The next block that can be read; *more false at the end. Faults are told, and no failure.
enum ds_class ds_roll_next(ds_roll_reader *r, ds_roll_block *b, bool *more, ds_err *e) DS_MUST;
// Go to a block by its offset. DS_INPUT: the file cannot be positioned.
enum ds_class ds_roll_seek(ds_roll_reader *r, uint64_t offset, ds_err *e) DS_MUST;

// Several files that are parts, or copies of parts, of one roll.
typedef struct ds_roll_copy { // where a block is best
    uint64_t offset;
    uint32_t file;
    uint16_t good;
    bool found, clean;
} ds_roll_copy;
typedef struct ds_roll_files {
    const char *const *path;
    size_t count;
    ds_roll_options options;
    ds_roll_head head;
    ds_statement_signature signature;
    uint64_t blocks;
    ds_roll_copy *copy;  // of each block
    uint8_t (*root)[32]; // of each block; where found
    uint64_t missing;    // entries that no file has
    uint64_t faults;     // told
    uint32_t open_file;  // what reader is of
    ds_roll_reader *reader;
} ds_roll_files;
// Read them all. The paths are borrowed. DS_INPUT: none of them can be used, or they are of different rolls; DS_POLICY
// as ds_roll_open.
enum ds_class ds_roll_survey(const char *const *path, size_t count, const ds_roll_options *o, ds_roll_files *ret,
                             ds_err *e) DS_MUST;
void ds_roll_files_free(ds_roll_files *f);
// Load a block from where it is best. DS_INPUT: nowhere, or the file was changed meanwhile.
enum ds_class ds_roll_load(ds_roll_files *f, uint64_t block, ds_roll_block *ret, ds_err *e) DS_MUST;

// Entries collected before their number and root are known, in a file without a name.
typedef struct ds_roll_spool ds_roll_spool;
enum ds_class ds_roll_spool_new(const char *beside, ds_roll_spool **ret, ds_err *e) DS_MUST;
void ds_roll_spool_free(ds_roll_spool *s);
// DS_INPUT: an entry that is empty, too long, has a line feed, or looks like a block's line; or too many.
enum ds_class ds_roll_spool_add(ds_roll_spool *s, ds_view entry, ds_err *e) DS_MUST;
uint64_t ds_roll_spool_count(const ds_roll_spool *s);
// No more is added: go back to the first. Then each call gives the next entry, borrowed until the call after it.
enum ds_class ds_roll_spool_rewind(ds_roll_spool *s, ds_err *e) DS_MUST;
enum ds_class ds_roll_spool_next(ds_roll_spool *s, ds_view *ret, ds_err *e) DS_MUST;

// Writing: blocks come from a source, in order; entries it gives are borrowed until it is asked again.
typedef enum ds_class (*ds_roll_source)(void *arg, uint64_t block, unsigned count, ds_view entry[DS_ROLL_BLOCK],
                                        ds_err *e);
typedef struct ds_roll_output {
    const ds_roll_head *head;
    const ds_statement_signature *signature;
    const uint8_t (*root)[32]; // of each block
    ds_roll_source source;
    void *arg;
} ds_roll_output;
// One file, replaced as a whole ("-": standard output), or parts PATH.part-1-of-3 and so on. Each block is compared
// with its root before it is written. DS_INPUT: more parts than blocks, or the source gives something else.
enum ds_class ds_roll_write(const ds_roll_output *o, const char *path, unsigned parts, ds_err *e) DS_MUST;
// The same from a spool that was rewound, or from files whose blocks are all clean.
enum ds_class ds_roll_write_spool(ds_roll_spool *s, const ds_roll_head *head, const ds_statement_signature *signature,
                                  const char *path, unsigned parts, ds_err *e) DS_MUST;
enum ds_class ds_roll_write_files(ds_roll_files *f, const char *path, unsigned parts, ds_err *e) DS_MUST;

// Of a spool: count and root, for the head.
void ds_roll_spool_measure(const ds_roll_spool *s, ds_roll_head *ret);

// What the files of this room share.
void ds_roll_place_write(const ds_roll_place *p, const uint8_t root[32], ds_buf *ret);
enum ds_class ds_roll_place_parse(ds_view line, const ds_roll_head *head, ds_roll_place *ret, ds_err *e) DS_MUST;
bool ds_roll_is_block_line(ds_view line);
// The root of a block's leaves.
void ds_roll_block_root(ds_hasher *h, const uint8_t (*leaf)[32], unsigned count, uint8_t ret[32]);
// index, count, leaf and root of a block; false where it is none of this head's.
bool ds_roll_block_parse(ds_view line, const ds_roll_head *head, ds_hasher *h, ds_roll_block *ret);
void ds_roll_block_write(uint64_t index, const uint8_t (*leaf)[32], unsigned count, const ds_merkle_proof *proof,
                         ds_buf *ret);
// Blocks of a roll of count entries, and the entries of one of them.
uint64_t ds_roll_blocks(uint64_t count);
unsigned ds_roll_block_count(uint64_t count, uint64_t block);

#endif
