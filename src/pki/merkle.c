// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Merkle trees; see merkle.h.
#include "src/pki/merkle.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct ds_hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

ds_hasher *ds_hasher_new(void)
{
    ds_hasher *h = ds_alloc(sizeof *h);
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->ctx = EVP_MD_CTX_new();
    if (!h->md || !h->ctx || EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1)
        abort();
    return h;
}

void ds_hasher_free(ds_hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    free(h);
}

// The context is ready for the next hash when this returns.
static void finish(ds_hasher *h, uint8_t ret[32])
{
    if (EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1 || EVP_DigestInit_ex2(h->ctx, NULL, NULL) != 1)
        abort();
}

void ds_merkle_leaf(ds_hasher *h, ds_view entry, uint8_t ret[32])
{
    static const uint8_t prefix = 0x00;
    if (EVP_DigestUpdate(h->ctx, &prefix, 1) != 1 || EVP_DigestUpdate(h->ctx, entry.ptr, entry.len) != 1)
        abort();
    finish(h, ret);
}

static void hash_node(ds_hasher *h, const uint8_t left[32], const uint8_t right[32], uint8_t ret[32])
{
    uint8_t both[65] = {0x01};
    memcpy(both + 1, left, 32);
    memcpy(both + 33, right, 32);
    if (EVP_DigestUpdate(h->ctx, both, sizeof both) != 1)
        abort();
    finish(h, ret);
}

void ds_merkle_add(ds_merkle *t, ds_hasher *h, const uint8_t leaf[32])
{
    uint8_t node[32], up[32];
    unsigned k = 0;
    memcpy(node, leaf, 32);
    for (; t->size >> k & 1; k++) {
        hash_node(h, t->peak[k], node, up);
        memcpy(t->peak[k], node, 32);
        memcpy(node, up, 32);
    }
    memcpy(t->peak[k], node, 32);
    t->size++;
}

void ds_merkle_root(const ds_merkle *t, ds_hasher *h, uint8_t ret[32])
{
    bool begun = false;
    for (unsigned k = 0; k < 64; k++) {
        if (!(t->size >> k & 1))
            continue;
        if (begun)
            hash_node(h, t->peak[k], ret, ret);
        else
            memcpy(ret, t->peak[k], 32);
        begun = true;
    }
    if (!begun)
        finish(h, ret);
}

// The largest power of two smaller than n (n > 1).
static uint64_t split(uint64_t n)
{
    return UINT64_C(1) << (63 - (unsigned)__builtin_clzll(n - 1));
}

// The root of the n leaves from begin on. Where RFC 9162 splits, the left part is a power of two and begin a multiple
// of it, so that whole subtrees that are kept ready are met.
static enum ds_class subtree(const ds_merkle_source *s, ds_hasher *h, uint64_t begin, uint64_t n, uint8_t ret[32],
                             ds_err *e)
{
    if (n == 1 || (s->level && n == UINT64_C(1) << s->level))
        return s->node(s->arg, n == 1 ? 0 : s->level, n == 1 ? begin : begin >> s->level, ret, e);
    uint8_t left[32], right[32];
    uint64_t k = split(n);
    enum ds_class rc = subtree(s, h, begin, k, left, e);
    if (!rc)
        rc = subtree(s, h, begin + k, n - k, right, e);
    if (!rc)
        hash_node(h, left, right, ret);
    return rc;
}

enum ds_class ds_merkle_root_of(const ds_merkle_source *s, ds_hasher *h, uint64_t size, uint8_t ret[32], ds_err *e)
{
    if (size)
        return subtree(s, h, 0, size, ret, e);
    finish(h, ret);
    return DS_OK;
}

// Put what is beside the way down in front of nothing: the caller's order is bottom up.
static enum ds_class put(const ds_merkle_source *s, ds_hasher *h, uint64_t begin, uint64_t n, ds_merkle_proof *ret,
                         ds_err *e)
{
    if (ret->count == DS_MERKLE_PROOF_MAX)
        return ds_fail(e, DS_INTERNAL, "a proof grew too long");
    enum ds_class rc = subtree(s, h, begin, n, ret->hash[ret->count], e);
    if (!rc)
        ret->count++;
    return rc;
}

// PATH(m, D[begin:begin+n]) of section 2.1.3.1.
static enum ds_class path(const ds_merkle_source *s, ds_hasher *h, uint64_t m, uint64_t begin, uint64_t n,
                          ds_merkle_proof *ret, ds_err *e)
{
    if (n == 1)
        return DS_OK;
    uint64_t k = split(n);
    bool left = m < k;
    enum ds_class rc = left ? path(s, h, m, begin, k, ret, e) : path(s, h, m - k, begin + k, n - k, ret, e);
    if (rc)
        return rc;
    return left ? put(s, h, begin + k, n - k, ret, e) : put(s, h, begin, k, ret, e);
}

// SUBPROOF(m, D[begin:begin+n], whole) of section 2.1.4.1.
static enum ds_class subproof(const ds_merkle_source *s, ds_hasher *h, uint64_t m, uint64_t begin, uint64_t n,
                              ds_merkle_proof *ret, ds_err *e)
{
    if (m == n) // known to the verifier where it is the whole of the smaller tree: that one begins at 0
        return begin == 0 ? DS_OK : put(s, h, begin, n, ret, e);
    uint64_t k = split(n);
    bool left = m <= k;
    enum ds_class rc = left ? subproof(s, h, m, begin, k, ret, e) : subproof(s, h, m - k, begin + k, n - k, ret, e);
    if (rc)
        return rc;
    return left ? put(s, h, begin + k, n - k, ret, e) : put(s, h, begin, k, ret, e);
}

enum ds_class ds_merkle_prove_inclusion(const ds_merkle_source *s, ds_hasher *h, uint64_t leaf, uint64_t size,
                                        ds_merkle_proof *ret, ds_err *e)
{
    ret->count = 0;
    if (leaf >= size)
        return ds_fail(e, DS_INPUT, "a tree of %llu entries has no entry %llu", (unsigned long long)size,
                       (unsigned long long)leaf + 1);
    return path(s, h, leaf, 0, size, ret, e);
}

enum ds_class ds_merkle_prove_consistency(const ds_merkle_source *s, ds_hasher *h, uint64_t from, uint64_t size,
                                          ds_merkle_proof *ret, ds_err *e)
{
    ret->count = 0;
    if (from > size)
        return ds_fail(e, DS_INPUT, "a tree of %llu entries does not begin with one of %llu", (unsigned long long)size,
                       (unsigned long long)from);
    return from == 0 ? DS_OK : subproof(s, h, from, 0, size, ret, e);
}

// Section 2.1.3.2.
bool ds_merkle_included(const ds_merkle_claim *c, ds_hasher *h)
{
    if (c->from >= c->size)
        return false;
    uint64_t fn = c->from, sn = c->size - 1;
    uint8_t r[32];
    memcpy(r, c->from_hash, 32);
    for (size_t i = 0; i < c->count; i++) {
        if (sn == 0)
            return false;
        if (fn & 1 || fn == sn) {
            hash_node(h, c->proof[i], r, r);
            for (; !(fn & 1) && fn; fn >>= 1)
                sn >>= 1;
        } else {
            hash_node(h, r, c->proof[i], r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(r, c->root, 32) == 0;
}

// Section 2.1.4.2 for 0 < from < size.
static bool grew(const ds_merkle_claim *c, ds_hasher *h)
{
    bool power = (c->from & (c->from - 1)) == 0; // then the smaller root is the proof's first hash, and not told
    uint64_t fn = c->from - 1, sn = c->size - 1;
    uint8_t fr[32], sr[32];
    if (!power && c->count == 0)
        return false;
    for (; fn & 1; fn >>= 1)
        sn >>= 1;
    memcpy(fr, power ? c->from_hash : c->proof[0], 32);
    memcpy(sr, fr, 32);
    for (size_t i = power ? 0 : 1; i < c->count; i++) {
        if (sn == 0)
            return false;
        if (fn & 1 || fn == sn) {
            hash_node(h, c->proof[i], fr, fr);
            hash_node(h, c->proof[i], sr, sr);
            for (; !(fn & 1) && fn; fn >>= 1)
                sn >>= 1;
        } else {
            hash_node(h, sr, c->proof[i], sr);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(fr, c->from_hash, 32) == 0 && memcmp(sr, c->root, 32) == 0;
}

bool ds_merkle_consistent(const ds_merkle_claim *c, ds_hasher *h)
{
    if (c->from > c->size)
        return false;
    if (c->from == c->size)
        return c->count == 0 && memcmp(c->from_hash, c->root, 32) == 0;
    return c->from == 0 ? c->count == 0 : grew(c, h);
}
