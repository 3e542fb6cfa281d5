// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NVS partitions against bytes that Espressif's nvs_partition_gen 0.2.0 made of the same items: entries literally,
// whole partitions by their SHA-256.
#include "src/base/crc.h"
#include "src/esp/nvs.h"

#include <openssl/sha.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_sha256(const ds_buf *b, const char *hex)
{
    uint8_t digest[32];
    char text[65];
    SHA256(b->ptr, b->len, digest);
    ds_hex(digest, sizeof digest, text);
    assert_string_equal(text, hex);
}

static ds_nvs_keys counting_keys(void)
{
    ds_nvs_keys keys;
    for (unsigned i = 0; i < sizeof keys.bytes; i++)
        keys.bytes[i] = (uint8_t)i;
    return keys;
}

static void add_text(ds_nvs_items *items, const char *name_space, const char *key, const char *text)
{
    ds_nvs_add_bytes(items, name_space, key, DS_NVS_STR, (ds_view){(const uint8_t *)text, strlen(text)});
}

static void add_pattern_blob(ds_nvs_items *items, const char *name_space, const char *key, size_t len)
{
    uint8_t *data = ds_alloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + 3);
    ds_nvs_add_bytes(items, name_space, key, DS_NVS_BLOB_DATA, (ds_view){data, len});
    free(data);
}

// One item of each type, texts at the edges of an entry, two namespaces.
static void fill_all_types(ds_nvs_items *items)
{
    ds_nvs_add_number(items, "stamp", "u8", DS_NVS_U8, 255);
    ds_nvs_add_number(items, "stamp", "i8", DS_NVS_I8, (uint64_t)-128);
    ds_nvs_add_number(items, "stamp", "u16", DS_NVS_U16, 65535);
    ds_nvs_add_number(items, "stamp", "i16", DS_NVS_I16, (uint64_t)-2);
    ds_nvs_add_number(items, "stamp", "u32", DS_NVS_U32, 4294967295);
    ds_nvs_add_number(items, "stamp", "i32", DS_NVS_I32, (uint64_t)-5);
    ds_nvs_add_number(items, "stamp", "u64", DS_NVS_U64, UINT64_MAX);
    ds_nvs_add_number(items, "stamp", "i64", DS_NVS_I64, (uint64_t)-9000000000);
    add_text(items, "stamp", "serial", "SN0042");
    add_text(items, "stamp", "empty", "");
    add_text(items, "stamp", "fill32", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    ds_nvs_add_bytes(items, "stamp", "pop", DS_NVS_BLOB_DATA, (ds_view){(const uint8_t *)"\x00\xff\x10", 3});
    add_text(items, "wifi", "name", "x");
}

static void fill_two_pages(ds_nvs_items *items)
{
    add_pattern_blob(items, "stamp", "blob", 5000);
    ds_nvs_add_number(items, "stamp", "after", DS_NVS_U8, 7);
}

// A blob that starts with one entry left on the page; a string that would fill its page exactly.
static void fill_exact_fits(ds_nvs_items *items)
{
    char text[3904];
    for (unsigned i = 0; i < 124; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        ds_nvs_add_number(items, "q", key, DS_NVS_U8, i);
    }
    add_pattern_blob(items, "q", "late", 10);
    memset(text, 's', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    add_text(items, "q", "fit", text);
    ds_nvs_add_number(items, "q", "end", DS_NVS_I16, (uint64_t)-1);
}

typedef struct golden {
    void (*fill)(ds_nvs_items *items);
    uint32_t size;
    const char *plain, *encrypted;
} golden;

static const golden goldens[] = {
    {fill_all_types, 0x1000, "88a472ff22a52447daddb41ff35634bca0becb6f0274ceab63f04bc0ec7baca7",
     "e4821455727995cc9fba96322661c8e207c2fbd2a494f472fe8bc8ab7d6aa03d"},
    {fill_two_pages, 0x4000, "40864b2372d51f9d30acaae8f6d8f6bae043800aa0455097a8e550975e9e7a5e",
     "db655a307de75c52f172feba4051ab7a12181dc50ca0343b9f40cc87d6f9b16d"},
    {fill_exact_fits, 0x5000, "60bafbb29e6b3e12795856fb2e239115dc35401d084bbf8cf3a6cf0fc9313af2",
     "fb8ce36a4bbe9c36bf4a024ec6ee60e566dc077bb06b1fc565efda8078b2e932"},
};

static void expect_same_items(const ds_nvs_items *a, const ds_nvs_items *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const ds_nvs_item *x = &a->items[i], *y = &b->items[i];
        assert_string_equal(x->name_space, y->name_space);
        assert_string_equal(x->key, y->key);
        assert_int_equal(x->type, y->type);
        assert_true(x->number == y->number);
        assert_int_equal(x->data.len, y->data.len);
        if (x->data.len)
            assert_memory_equal(x->data.ptr, y->data.ptr, x->data.len);
    }
}

static void test_build_golden_items_equal_the_generators_bytes(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_nvs_keys keys = counting_keys();
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        ds_nvs_items items = {0};
        ds_buf plain = {0}, encrypted = {0};
        goldens[i].fill(&items);
        assert_int_equal(ds_nvs_build(&items, goldens[i].size, NULL, &plain, &e), DS_OK);
        assert_int_equal(ds_nvs_build(&items, goldens[i].size, &keys, &encrypted, &e), DS_OK);
        expect_sha256(&plain, goldens[i].plain);
        expect_sha256(&encrypted, goldens[i].encrypted);
        ds_buf_free(&plain);
        ds_buf_free(&encrypted);
        ds_nvs_items_free(&items);
    }
}

static void test_parse_built_partition_returns_the_items(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_nvs_keys keys = counting_keys();
    for (size_t i = 0; i < 2 * sizeof goldens / sizeof *goldens; i++) {
        const golden *g = &goldens[i / 2];
        const ds_nvs_keys *k = i % 2 ? &keys : NULL;
        ds_nvs_items items = {0}, back = {0};
        ds_buf built = {0};
        g->fill(&items);
        assert_int_equal(ds_nvs_build(&items, g->size, k, &built, &e), DS_OK);
        assert_int_equal(ds_nvs_parse(ds_buf_view(&built), k, &back, &e), DS_OK);
        expect_same_items(&items, &back);
        ds_buf_free(&built);
        ds_nvs_items_free(&items);
        ds_nvs_items_free(&back);
    }
}

static void test_build_entries_are_as_documented(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_nvs_items items = {0};
    ds_buf built = {0};
    uint8_t want[32];
    fill_all_types(&items);
    assert_int_equal(ds_nvs_build(&items, 0x1000, NULL, &built, &e), DS_OK);
    assert_true(ds_unhex("feffffff00000000feffffffffffffffffffffffffffffffffffffff842dbab9", want, 32));
    assert_memory_equal(built.ptr, want, 32);
    assert_true(ds_unhex("011801ff158efe2b6936340000000000000000000000000000e68ee7fdffffff", want, 32));
    assert_memory_equal(built.ptr + 64 + 8 * 32, want, 32);
    assert_true(ds_unhex("012102ff74c8bdbe73657269616c000000000000000000000700ffffd33e8847", want, 32));
    assert_memory_equal(built.ptr + 64 + 9 * 32, want, 32);
    assert_true(ds_unhex("0142020083ed6353706f70000000000000000000000000000300ffffe9126c71", want, 32));
    assert_memory_equal(built.ptr + 64 + 15 * 32, want, 32);
    assert_true(ds_unhex("014801ffe3496ed0706f7000000000000000000000000000030000000100ffff", want, 32));
    assert_memory_equal(built.ptr + 64 + 17 * 32, want, 32);
    ds_buf_free(&built);
    ds_nvs_items_free(&items);
}

static void test_crypt_known_entry_gives_known_ciphertext(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_nvs_keys keys = counting_keys();
    uint8_t entry[32], want[32];
    assert_true(ds_unhex("000101ff09a9500773746f7261676500000000000000000001ffffffffffffff", entry, 32));
    assert_int_equal(ds_nvs_entry_crc(entry), 0x0750a909);
    assert_true(ds_unhex("16f4a33e96c7b9e432ad9d478a048b1352f886eabd5d12a2f4f453aa926c86e4", want, 32));
    assert_int_equal(ds_nvs_crypt(&keys, true, 0x40, entry, 32, &e), DS_OK);
    assert_memory_equal(entry, want, 32);
    assert_int_equal(ds_nvs_crypt(&keys, false, 0x40, entry, 32, &e), DS_OK);
    assert_int_equal(ds_nvs_entry_crc(entry), 0x0750a909);
}

static void test_keys_partition_round_trip_and_damage(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_nvs_keys keys = counting_keys(), back;
    uint8_t data[4096];
    bool present = true;
    memset(data, 0xFF, sizeof data);
    assert_int_equal(ds_nvs_keys_read(data, &present, &back, &e), DS_OK);
    assert_false(present);
    ds_nvs_keys_write(&keys, data);
    assert_int_equal(ds_le32(data + 64), ds_crc32_esp(0xFFFFFFFF, keys.bytes, 64));
    assert_int_equal(ds_nvs_keys_read(data, &present, &back, &e), DS_OK);
    assert_true(present);
    assert_memory_equal(back.bytes, keys.bytes, 64);
    data[5] ^= 1;
    assert_int_equal(ds_nvs_keys_read(data, &present, &back, &e), DS_INPUT);
}

static void expect_build_refuses(ds_nvs_items *items, uint32_t size, const char *why)
{
    ds_err e = DS_ERR_INIT;
    ds_buf built = {0};
    assert_int_equal(ds_nvs_build(items, size, NULL, &built, &e), DS_INPUT);
    assert_non_null(strstr(e.text, why));
    assert_int_equal(built.len, 0);
    ds_nvs_items_free(items);
}

static void test_build_bad_items_are_refused(void **state)
{
    (void)state;
    ds_nvs_items items = {0};
    ds_nvs_add_number(&items, "ns", "a_key_of_16_char", DS_NVS_U8, 1);
    expect_build_refuses(&items, 0x3000, "1 to 15");
    ds_nvs_add_number(&items, "", "k", DS_NVS_U8, 1);
    expect_build_refuses(&items, 0x3000, "1 to 15");
    ds_nvs_add_number(&items, "ns", "k", DS_NVS_U8, 256);
    expect_build_refuses(&items, 0x3000, "range");
    ds_nvs_add_number(&items, "ns", "k", DS_NVS_I8, (uint64_t)-129);
    expect_build_refuses(&items, 0x3000, "range");
    add_text(&items, "ns", "k", "one");
    add_text(&items, "ns", "k", "two");
    expect_build_refuses(&items, 0x3000, "\"ns.k\": is given twice");
    ds_nvs_add_bytes(&items, "ns", "k", DS_NVS_STR, (ds_view){(const uint8_t *)"a\0b", 3});
    expect_build_refuses(&items, 0x3000, "NUL");
    add_pattern_blob(&items, "ns", "k", 3968);
    items.items[0].type = DS_NVS_STR;
    expect_build_refuses(&items, 0x3000, "too long");
    add_pattern_blob(&items, "ns", "k", 8000);
    expect_build_refuses(&items, 0x3000, "do not fit in 2 NVS pages");
    ds_nvs_add_number(&items, "ns", "k", DS_NVS_U8, 1);
    expect_build_refuses(&items, 0x2001, "multiple");
}

// A partition of goldens[0]'s items to be damaged.
static uint8_t *built_partition(size_t *ret_len)
{
    ds_err e = DS_ERR_INIT;
    ds_nvs_items items = {0};
    ds_buf built = {0};
    fill_all_types(&items);
    assert_int_equal(ds_nvs_build(&items, 0x1000, NULL, &built, &e), DS_OK);
    ds_nvs_items_free(&items);
    *ret_len = built.len;
    return built.ptr;
}

static void test_parse_damaged_item_is_left_out(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    size_t len;
    uint8_t *p = built_partition(&len);
    ds_nvs_items items = {0};
    p[64 + 10 * 32] ^= 1;              // payload of "serial"
    p[64 + 32 + 24] ^= 1;              // header of "u8"
    p[32 + 4] = (uint8_t)(p[36] | 3u); // bitmap: payload entry 16 ("pop") back to empty
    assert_int_equal(ds_nvs_parse((ds_view){p, len}, NULL, &items, &e), DS_OK);
    assert_null(ds_nvs_find(&items, "stamp", "serial"));
    assert_null(ds_nvs_find(&items, "stamp", "u8"));
    assert_null(ds_nvs_find(&items, "stamp", "pop"));
    assert_non_null(ds_nvs_find(&items, "stamp", "i8"));
    assert_memory_equal(ds_nvs_find(&items, "wifi", "name")->data.ptr, "x", 1);
    assert_int_equal(items.count, 10);
    ds_nvs_items_free(&items);
    free(p);
}

static void test_parse_unreadable_partitions(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    size_t len;
    uint8_t *p = built_partition(&len);
    ds_nvs_items items = {0};
    ds_nvs_keys keys = counting_keys();
    assert_int_equal(ds_nvs_parse((ds_view){p, 4000}, NULL, &items, &e), DS_INPUT);
    assert_int_equal(ds_nvs_parse((ds_view){p, len}, &keys, &items, &e), DS_OK); // a plain one read with keys
    assert_int_equal(items.count, 0);
    p[9] ^= 1;
    assert_int_equal(ds_nvs_parse((ds_view){p, len}, NULL, &items, &e), DS_INPUT);
    memset(p, 0xFF, len);
    assert_int_equal(ds_nvs_parse((ds_view){p, len}, NULL, &items, &e), DS_OK);
    assert_int_equal(items.count, 0);
    free(p);
}

// Fixed-seed bit flips over a good partition: whatever comes, no read out of bounds and no item twice.
static void test_parse_flipped_bits_stay_in_bounds(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    uint32_t seed = 0x2545F491;
    for (unsigned round = 0; round < 2000; round++) {
        size_t len;
        uint8_t *p = built_partition(&len);
        for (unsigned i = 0; i < 40; i++) {
            seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
            p[32 + seed % 800] ^= (uint8_t)(1u << (seed >> 16) % 8);
        }
        ds_nvs_items items = {0};
        assert_int_equal(ds_nvs_parse((ds_view){p, len}, NULL, &items, &e), DS_OK);
        for (size_t i = 0; i < items.count; i++)
            assert_ptr_equal(ds_nvs_find(&items, items.items[i].name_space, items.items[i].key), &items.items[i]);
        ds_nvs_items_free(&items);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_golden_items_equal_the_generators_bytes),
        cmocka_unit_test(test_parse_built_partition_returns_the_items),
        cmocka_unit_test(test_build_entries_are_as_documented),
        cmocka_unit_test(test_crypt_known_entry_gives_known_ciphertext),
        cmocka_unit_test(test_keys_partition_round_trip_and_damage),
        cmocka_unit_test(test_build_bad_items_are_refused),
        cmocka_unit_test(test_parse_damaged_item_is_left_out),
        cmocka_unit_test(test_parse_unreadable_partitions),
        cmocka_unit_test(test_parse_flipped_bits_stay_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
