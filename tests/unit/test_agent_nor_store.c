// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The value store on NOR flash: what it keeps, and that power lost at every single word and erase, over several
// geometries, leaves the old value or the new one and all others as they were.
#include "agent/port/nor/store.h"

#include "agent/port/nor/bank.h"
#include "tests/unit/nor_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { NAMES = 4, VALUE_MAX = 200 };

#define OK(s) assert_int_equal((s), DS_STATUS_OK)
#define IS(s, code) assert_int_equal(DS_STATUS_CODE(s), DEVSTAMP__STATUS_CODE__CODE_##code)

static const struct {
    uint32_t block_size, blocks;
} geometries[] = {{256, 4}, {512, 2}, {1024, 2}, {4096, 6}, {576, 3}};

// What the store must hold: value number n of name i; n 0 = never set.
typedef struct model {
    unsigned n[NAMES];
} model;

static const char *const keys[NAMES] = {"key", "chain", "serial", "a"};

static size_t make_value(unsigned name, unsigned n, uint8_t ret[VALUE_MAX])
{
    // One of them is all FF, which flash cannot tell from nothing.
    size_t len = (name * 37 + n * 13) % 90;
    for (size_t i = 0; i < len; i++)
        ret[i] = n % 5 == 4 ? 0xFF : (uint8_t)(name * 31 + n * 7 + i);
    return len;
}

static ds_status set_value(ds_nor_store *s, unsigned name, unsigned n)
{
    uint8_t value[VALUE_MAX];
    size_t len = make_value(name, n, value);
    return ds_nor_store_set(s, "stamp", keys[name], DS_VALUE_BLOB, value, len);
}

static bool holds(const ds_nor_store *s, unsigned name, unsigned n)
{
    uint8_t value[VALUE_MAX], got[VALUE_MAX];
    size_t len = make_value(name, n, value), got_len = 0;
    ds_status status = ds_nor_store_get(s, "stamp", keys[name], got, sizeof got, &got_len);
    if (n == 0)
        return DS_STATUS_CODE(status) == DEVSTAMP__STATUS_CODE__CODE_NOT_FOUND;
    return status == DS_STATUS_OK && got_len == len && memcmp(got, value, len) == 0;
}

// Rewrites values until every kind of write has happened, with power lost at operation cut of the run; then checks, and
// goes on with a whole run. Returns how many operations the run had.
static unsigned run_with_cut(uint32_t block_size, uint32_t blocks, unsigned cut, uint64_t seed)
{
    enum { SETS = 40 };
    nor_fake f;
    ds_nor_store s;
    model m = {{0}};
    nor_fake_init(&f, block_size, blocks, seed);
    nor_fake_power_on(&f, cut);
    ds_nor_store_mount(&s, &f.nor);
    for (unsigned i = 0; i < SETS; i++) {
        unsigned name = i % NAMES, n = i / NAMES + 1;
        ds_status status = set_value(&s, name, n);
        if (!f.dead) {
            OK(status);
            m.n[name] = n;
            continue;
        }
        unsigned before = m.n[name];
        nor_fake_power_on(&f, 0);
        ds_nor_store_mount(&s, &f.nor);
        assert_int_not_equal(s.state, DS_NOR_DAMAGED);
        assert_true(holds(&s, name, n) || holds(&s, name, before));
        if (status == DS_STATUS_OK) // told as done: then it is
            assert_true(holds(&s, name, n));
        m.n[name] = holds(&s, name, n) ? n : before;
        for (unsigned k = 0; k < NAMES; k++)
            assert_true(holds(&s, k, m.n[k]));
        OK(set_value(&s, name, n));
        m.n[name] = n;
    }
    unsigned operations = f.operations;
    ds_nor_store_mount(&s, &f.nor);
    for (unsigned k = 0; k < NAMES; k++)
        assert_true(holds(&s, k, m.n[k]));
    assert_false(f.rule_broken);
    free(f.bytes);
    return operations;
}

static void test_set_power_lost_at_every_word_keeps_old_or_new(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof geometries / sizeof *geometries; g++) {
        unsigned operations = run_with_cut(geometries[g].block_size, geometries[g].blocks, 0, 1);
        assert_true(operations > 300);
        for (unsigned cut = 1; cut <= operations; cut++)
            run_with_cut(geometries[g].block_size, geometries[g].blocks, cut, cut);
    }
}

// Power fails again and again, each time a little later: in the recovery of the cut before, too.
static void test_set_power_lost_repeatedly_keeps_old_or_new(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        nor_fake f;
        ds_nor_store s;
        model m = {{0}};
        nor_fake_init(&f, 256, 4, seed);
        for (unsigned round = 0; round < 150; round++) {
            unsigned name = round % NAMES, n = round / NAMES + 1, before = m.n[name];
            nor_fake_power_on(&f, nor_fake_random(&f) % 40 + 1);
            ds_nor_store_mount(&s, &f.nor);
            bool set = set_value(&s, name, n) == DS_STATUS_OK;
            nor_fake_power_on(&f, 0);
            ds_nor_store_mount(&s, &f.nor);
            assert_true(holds(&s, name, n) || (!set && holds(&s, name, before)));
            m.n[name] = holds(&s, name, n) ? n : before;
            for (unsigned k = 0; k < NAMES; k++)
                assert_true(holds(&s, k, m.n[k]));
        }
        assert_false(f.rule_broken);
        free(f.bytes);
    }
}

static void test_erase_power_lost_anywhere_completes_when_repeated(void **state)
{
    (void)state;
    for (unsigned cut = 1; cut <= 12; cut++) {
        nor_fake f;
        ds_nor_store s;
        nor_fake_init(&f, 256, 4, cut);
        ds_nor_store_mount(&s, &f.nor);
        for (unsigned i = 0; i < 20; i++)
            OK(set_value(&s, i % NAMES, i / NAMES + 1));
        nor_fake_power_on(&f, cut);
        ds_status status = ds_nor_store_erase(&s);
        bool was_cut = f.dead;
        nor_fake_power_on(&f, 0);
        ds_nor_store_mount(&s, &f.nor);
        if (was_cut) {
            IS(status, FLASH);
            // Never some of the values, never older ones: all, none, or a store that says that it is damaged.
            bool all = true, none = true;
            for (unsigned k = 0; k < NAMES && s.state != DS_NOR_DAMAGED; k++) {
                all = all && holds(&s, k, 5);
                none = none && holds(&s, k, 0);
            }
            assert_true(s.state == DS_NOR_DAMAGED || all || none);
        }
        OK(ds_nor_store_erase(&s));
        assert_true(ds_nor_store_is_blank(&s));
        assert_true(holds(&s, 0, 0));
        OK(set_value(&s, 0, 1));
        assert_true(holds(&s, 0, 1));
        assert_false(ds_nor_store_is_blank(&s));
        free(f.bytes);
    }
}

static void test_set_full_store_refuses_and_keeps_all(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    uint8_t big[400] = {1};
    nor_fake_init(&f, 512, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    for (unsigned k = 0; k < NAMES; k++)
        OK(set_value(&s, k, 1));
    uint32_t left = ds_nor_store_free(&s);
    unsigned before = f.operations;
    IS(ds_nor_store_set(&s, "cfg", "big", DS_VALUE_BLOB, big, left - DS_NOR_RECORD - 5), NO_SPACE);
    IS(ds_nor_store_set(&s, "cfg", "big", DS_VALUE_BLOB, big, sizeof big * 1000), NO_SPACE);
    assert_int_equal(f.operations, before);
    OK(ds_nor_store_set(&s, "cfg", "big", DS_VALUE_BLOB, big, left - DS_NOR_RECORD - 8));
    for (unsigned k = 0; k < NAMES; k++)
        assert_true(holds(&s, k, 1));
    free(f.bytes);
}

static void test_set_same_value_writes_nothing(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    nor_fake_init(&f, 1024, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    OK(set_value(&s, 1, 3));
    unsigned before = f.operations;
    OK(set_value(&s, 1, 3));
    assert_int_equal(f.operations, before);
    // Another type is another value.
    uint8_t value[VALUE_MAX];
    size_t len = make_value(1, 3, value);
    OK(ds_nor_store_set(&s, "stamp", keys[1], DS_VALUE_STRING, value, len));
    assert_true(f.operations > before);
    free(f.bytes);
}

static void test_set_replaced_value_is_gone_from_flash_once_moved(void **state)
{
    (void)state;
    static const char secret[] = "the private key before";
    nor_fake f;
    ds_nor_store s;
    nor_fake_init(&f, 512, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    OK(ds_nor_store_set(&s, "stamp", "key", DS_VALUE_BLOB, secret, sizeof secret));
    uint32_t bank = s.bank;
    for (unsigned n = 1; s.bank == bank; n++)
        OK(set_value(&s, 0, n));
    for (size_t i = 0; i + sizeof secret <= 1024; i++)
        assert_memory_not_equal(f.bytes + i, secret, sizeof secret);
    free(f.bytes);
}

static void test_mount_damage_is_told_and_not_taken_for_a_fresh_device(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    size_t len = 0;
    uint8_t value[VALUE_MAX];
    // A bit lost in the header, in a record with others behind it, and in the last record.
    static const uint32_t places[] = {5, DS_NOR_HEADER + 4, DS_NOR_HEADER + DS_NOR_RECORD + 2};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        nor_fake_init(&f, 1024, 2, 1);
        ds_nor_store_mount(&s, &f.nor);
        OK(set_value(&s, 0, 3));
        if (i != 2)
            OK(set_value(&s, 1, 3));
        f.bytes[places[i]] ^= 0x10;
        ds_nor_store_mount(&s, &f.nor);
        IS(ds_nor_store_get(&s, "stamp", keys[0], value, sizeof value, &len), FLASH);
        IS(set_value(&s, 2, 1), FLASH);
        assert_int_equal(ds_nor_store_free(&s), 0);
        OK(ds_nor_store_erase(&s));
        OK(set_value(&s, 2, 1));
        free(f.bytes);
    }
}

static void test_get_bit_lost_since_mount_is_not_handed_out(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    size_t len = 0;
    uint8_t value[VALUE_MAX];
    nor_fake_init(&f, 1024, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    OK(set_value(&s, 0, 3));
    f.bytes[DS_NOR_HEADER + DS_NOR_RECORD + 10] ^= 1;
    IS(ds_nor_store_get(&s, "stamp", keys[0], value, sizeof value, &len), FLASH);
    free(f.bytes);
}

static void test_set_worn_flash_fails_and_keeps_the_value(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    nor_fake_init(&f, 512, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    unsigned n = 1;
    OK(set_value(&s, 0, n));
    f.stuck_erases = 1;
    while (f.stuck_erases > 0 && set_value(&s, 0, n + 1) == DS_STATUS_OK)
        n++;
    assert_int_equal(f.stuck_erases, 0);
    assert_true(holds(&s, 0, n));
    OK(set_value(&s, 0, n + 1));
    ds_nor_store_mount(&s, &f.nor);
    assert_true(holds(&s, 0, n + 1));
    free(f.bytes);
}

static void test_set_bad_names_are_refused(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    nor_fake_init(&f, 512, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    IS(ds_nor_store_set(&s, "", "key", DS_VALUE_U8, "x", 1), BAD_REQUEST);
    IS(ds_nor_store_set(&s, "stamp", "sixteen_letters_", DS_VALUE_U8, "x", 1), BAD_REQUEST);
    IS(ds_nor_store_set(&s, "stamp", "key", (enum ds_value_type)7, "x", 1), BAD_REQUEST);
    // Names are told apart by where one ends and the other begins.
    OK(ds_nor_store_set(&s, "ab", "c", DS_VALUE_U8, "x", 1));
    OK(ds_nor_store_set(&s, "a", "bc", DS_VALUE_U8, "y", 1));
    uint8_t got = 0;
    size_t len = 0;
    OK(ds_nor_store_get(&s, "ab", "c", &got, 1, &len));
    assert_int_equal(got, 'x');
    IS(ds_nor_store_get(&s, "a", "bc", &got, 0, &len), NO_SPACE);
    assert_int_equal(len, 1);
    free(f.bytes);
    nor_fake_init(&f, 512, 1, 1);
    ds_nor_store_mount(&s, &f.nor);
    IS(ds_nor_store_set(&s, "a", "b", DS_VALUE_U8, "x", 1), FLASH);
    IS(ds_nor_store_erase(&s), FLASH);
    free(f.bytes);
}

typedef struct seen {
    unsigned count, stop_at;
    size_t bytes;
} seen;

static ds_status see(void *arg, const char *name_space, const char *key, enum ds_value_type type, const uint8_t *data,
                     size_t len)
{
    seen *c = arg;
    uint8_t value[VALUE_MAX];
    assert_string_equal(name_space, "stamp");
    assert_int_equal(type, DS_VALUE_BLOB);
    for (unsigned k = 0; k < NAMES; k++)
        if (strcmp(key, keys[k]) == 0) {
            assert_int_equal(len, make_value(k, 4, value));
            assert_memory_equal(data, value, len);
        }
    c->bytes += len;
    return ++c->count == c->stop_at ? DS_STATUS(PORT, INTERNAL) : DS_STATUS_OK;
}

static void test_each_shows_every_name_once_with_its_last_value(void **state)
{
    (void)state;
    nor_fake f;
    ds_nor_store s;
    seen all = {0}, some = {.stop_at = 2};
    nor_fake_init(&f, 4096, 2, 1);
    ds_nor_store_mount(&s, &f.nor);
    for (unsigned i = 0; i < 4 * NAMES; i++)
        OK(set_value(&s, i % NAMES, i / NAMES + 1));
    OK(ds_nor_store_each(&s, see, &all));
    assert_int_equal(all.count, NAMES);
    IS(ds_nor_store_each(&s, see, &some), INTERNAL);
    assert_int_equal(some.count, 2);
    free(f.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_power_lost_at_every_word_keeps_old_or_new),
        cmocka_unit_test(test_set_power_lost_repeatedly_keeps_old_or_new),
        cmocka_unit_test(test_erase_power_lost_anywhere_completes_when_repeated),
        cmocka_unit_test(test_set_full_store_refuses_and_keeps_all),
        cmocka_unit_test(test_set_same_value_writes_nothing),
        cmocka_unit_test(test_set_replaced_value_is_gone_from_flash_once_moved),
        cmocka_unit_test(test_mount_damage_is_told_and_not_taken_for_a_fresh_device),
        cmocka_unit_test(test_get_bit_lost_since_mount_is_not_handed_out),
        cmocka_unit_test(test_set_worn_flash_fails_and_keeps_the_value),
        cmocka_unit_test(test_set_bad_names_are_refused),
        cmocka_unit_test(test_each_shows_every_name_once_with_its_last_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
