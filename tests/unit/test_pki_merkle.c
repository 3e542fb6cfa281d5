// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Merkle trees: against the published roots of Certificate Transparency's eight test leaves, and every proof of every
// tree of up to 70 leaves, whole and broken.
#include "src/pki/merkle.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 70 };
static uint8_t leaves[MOST][32], roots[MOST + 1][32];
static ds_hasher *h;

// The definition of RFC 9162, 2.1.1, word for word.
static void defined(size_t begin, size_t n, uint8_t ret[32])
{
    uint8_t both[65] = {0x01};
    size_t k = 1;
    if (n == 1) {
        memcpy(ret, leaves[begin], 32);
        return;
    }
    while (2 * k < n)
        k *= 2;
    defined(begin, k, both + 1);
    defined(begin + k, n - k, both + 33);
    EVP_Digest(both, sizeof both, ret, NULL, EVP_sha256(), NULL);
}

static int setup(void **state)
{
    (void)state;
    h = ds_hasher_new();
    ds_merkle t = {0};
    EVP_Digest("", 0, roots[0], NULL, EVP_sha256(), NULL);
    for (uint8_t i = 0; i < MOST; i++) {
        ds_merkle_leaf(h, (ds_view){&i, 1}, leaves[i]);
        defined(0, i + 1U, roots[i + 1]);
        ds_merkle_add(&t, h, leaves[i]);
        uint8_t root[32];
        ds_merkle_root(&t, h, root);
        assert_memory_equal(root, roots[i + 1], 32);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ds_hasher_free(h);
    return 0;
}

static enum ds_class node_of(void *arg, unsigned level, uint64_t index, uint8_t ret[32], ds_err *e)
{
    const unsigned *ready = arg;
    (void)e;
    assert_true(level == 0 || level == *ready);
    defined((size_t)index << level, (size_t)1 << level, ret);
    return DS_OK;
}

static void test_roots_are_those_of_certificate_transparency(void **state)
{
    (void)state;
    static const char *const inputs[] = {
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
    static const char *const expected[] = {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                                           "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                                           "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                                           "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                                           "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                                           "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                                           "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                                           "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
    ds_merkle t = {0};
    for (size_t i = 0; i < 8; i++) {
        uint8_t input[16], leaf[32], root[32], want[32];
        size_t len = strlen(inputs[i]) / 2;
        assert_true(ds_unhex(inputs[i], input, len));
        assert_true(ds_unhex(expected[i], want, 32));
        ds_merkle_leaf(h, (ds_view){input, len}, leaf);
        ds_merkle_add(&t, h, leaf);
        ds_merkle_root(&t, h, root);
        assert_memory_equal(root, want, 32);
    }
}

// Every hash of a proof counts, and so does their number and the figures they go with.
static void expect_only_this(const ds_merkle_claim *good, bool (*holds)(const ds_merkle_claim *, ds_hasher *))
{
    uint8_t changed[DS_MERKLE_PROOF_MAX][32], other[32] = {7};
    ds_merkle_claim c = *good;
    assert_true(holds(&c, h));
    memcpy(changed, good->proof, sizeof changed);
    c.proof = changed;
    for (size_t i = 0; i < good->count; i++) {
        changed[i][i % 32] ^= 0x10;
        assert_false(holds(&c, h));
        changed[i][i % 32] ^= 0x10;
    }
    c.root = other;
    if (good->from || holds == ds_merkle_included) // the empty tree is the beginning of any
        assert_false(holds(&c, h));
    c.root = good->root;
    c.count = good->count + 1;
    assert_false(holds(&c, h));
    if (good->count) {
        c.count = good->count - 1;
        assert_false(holds(&c, h));
    }
}

static void test_every_inclusion_is_proved_and_nothing_else(void **state)
{
    (void)state;
    for (unsigned ready = 0; ready <= 3; ready += 3) {
        const ds_merkle_source s = {node_of, &ready, ready};
        for (uint64_t size = 1; size <= MOST; size++)
            for (uint64_t i = 0; i < size; i++) {
                ds_merkle_proof p = {0};
                assert_int_equal(ds_merkle_prove_inclusion(&s, h, i, size, &p, NULL), DS_OK);
                ds_merkle_claim c = {i, leaves[i], size, roots[size], p.hash, p.count};
                expect_only_this(&c, ds_merkle_included);
                if (size > 1) {
                    c.from_hash = leaves[(i + 1) % size];
                    assert_false(ds_merkle_included(&c, h));
                }
                c.from = size;
                assert_false(ds_merkle_included(&c, h));
            }
        ds_merkle_proof p = {0};
        assert_int_equal(ds_merkle_prove_inclusion(&s, h, 5, 5, &p, NULL), DS_INPUT);
    }
}

static void test_every_consistency_is_proved_and_nothing_else(void **state)
{
    (void)state;
    for (unsigned ready = 0; ready <= 3; ready += 3) {
        const ds_merkle_source s = {node_of, &ready, ready};
        for (uint64_t size = 0; size <= MOST; size++)
            for (uint64_t from = 0; from <= size; from++) {
                ds_merkle_proof p = {0};
                uint8_t root[32];
                assert_int_equal(ds_merkle_prove_consistency(&s, h, from, size, &p, NULL), DS_OK);
                assert_int_equal(ds_merkle_root_of(&s, h, from, root, NULL), DS_OK);
                assert_memory_equal(root, roots[from], 32);
                const ds_merkle_claim c = {from, roots[from], size, roots[size], p.hash, p.count};
                expect_only_this(&c, ds_merkle_consistent);
                const ds_merkle_claim other = {from, roots[from ? from - 1 : 1], size, roots[size], p.hash, p.count};
                assert_int_equal(ds_merkle_consistent(&other, h), from == 0 && size > 0);
            }
        ds_merkle_proof p = {0};
        assert_int_equal(ds_merkle_prove_consistency(&s, h, 6, 5, &p, NULL), DS_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots_are_those_of_certificate_transparency),
        cmocka_unit_test(test_every_inclusion_is_proved_and_nothing_else),
        cmocka_unit_test(test_every_consistency_is_proved_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
