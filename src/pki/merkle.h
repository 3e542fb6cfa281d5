// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Merkle trees over a growing list, as RFC 9162 has them: leaf = SHA-256(0x00 | entry), node = SHA-256(0x01 | left |
// right), the root of no entries = SHA-256 of nothing (section 2.1.1); inclusion proofs (2.1.3) and consistency proofs
// (2.1.4), made and verified. Leaves are counted from 0. SHA-256 that cannot be had ends the process.
#ifndef DS_PKI_MERKLE_H
#define DS_PKI_MERKLE_H

#include "src/base/buf.h"

enum { DS_MERKLE_HASH = 32, DS_MERKLE_PROOF_MAX = 128 };

// SHA-256, fetched once and used again and again; one thread at a time.
typedef struct ds_hasher ds_hasher;
ds_hasher *ds_hasher_new(void);
void ds_hasher_free(ds_hasher *h);
void ds_merkle_leaf(ds_hasher *h, ds_view entry, uint8_t ret[32]);

// The tree's right edge: all that appending and the root need. Zero-initialise: the empty tree.
typedef struct ds_merkle {
    uint64_t size;
    // [k]: root of the newest whole subtree of 2^k leaves; where bit k of size is set it is one of the tree's peaks
    uint8_t peak[64][32];
} ds_merkle;
void ds_merkle_add(ds_merkle *t, ds_hasher *h, const uint8_t leaf[32]);
void ds_merkle_root(const ds_merkle *t, ds_hasher *h, uint8_t ret[32]);

// Where proofs get their hashes: node gives the root of the whole subtree of 2^level leaves that begins with leaf
// index << level. It is asked for level 0, and for level itself where that is not 0 (subtrees kept ready).
typedef struct ds_merkle_source {
    enum ds_class (*node)(void *arg, unsigned level, uint64_t index, uint8_t ret[32], ds_err *e);
    void *arg;
    unsigned level;
} ds_merkle_source;

typedef struct ds_merkle_proof {
    uint8_t hash[DS_MERKLE_PROOF_MAX][32];
    size_t count;
} ds_merkle_proof;

// The root of the first size leaves.
enum ds_class ds_merkle_root_of(const ds_merkle_source *s, ds_hasher *h, uint64_t size, uint8_t ret[32],
                                ds_err *e) DS_MUST;
// That leaf number leaf is in the tree of size leaves / that the tree of from leaves is the beginning of the one of
// size leaves. DS_INPUT: leaf >= size / from > size.
enum ds_class ds_merkle_prove_inclusion(const ds_merkle_source *s, ds_hasher *h, uint64_t leaf, uint64_t size,
                                        ds_merkle_proof *ret, ds_err *e) DS_MUST;
enum ds_class ds_merkle_prove_consistency(const ds_merkle_source *s, ds_hasher *h, uint64_t from, uint64_t size,
                                          ds_merkle_proof *ret, ds_err *e) DS_MUST;

// Does the proof hold? Any proof of any length may be given.
typedef struct ds_merkle_claim {
    uint64_t from;            // leaf number / size of the smaller tree
    const uint8_t *from_hash; // 32: hash of the leaf / root of the smaller tree
    uint64_t size;
    const uint8_t *root; // 32
    const uint8_t (*proof)[32];
    size_t count;
} ds_merkle_claim;
bool ds_merkle_included(const ds_merkle_claim *c, ds_hasher *h);
bool ds_merkle_consistent(const ds_merkle_claim *c, ds_hasher *h);

#endif
