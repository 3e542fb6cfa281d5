// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The whole way of the mfg agent over the store on NOR flash, with power lost at its words: running the station again
// completes the stamp, with the one key the device ever showed. A port's own store is tested in the same way: put its
// value functions in place of these.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "agent/port/nor/store.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"
#include "tests/unit/nor_fake.h"

enum { STEP = 9 }; // between two cuts; the words at which it begins differ by geometry

static fake_port f;
static fake_station st;
static nor_fake flash;
static ds_nor_store store;

// A processor without power does nothing more.
static ds_status settle(ds_status s)
{
    if (flash.dead)
        f.dead = true;
    return f.dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status nor_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                         size_t *ret_len)
{
    (void)ctx, (void)area;
    return f.dead ? DS_STATUS(PORT, FLASH) : ds_nor_store_get(&store, name_space, key, buf, cap, ret_len);
}

static ds_status nor_set(void *ctx, enum ds_area area, const char *name_space, const char *key, enum ds_value_type type,
                         const void *data, size_t len)
{
    (void)ctx, (void)area;
    return f.dead ? DS_STATUS(PORT, FLASH) : settle(ds_nor_store_set(&store, name_space, key, type, data, len));
}

static ds_status nor_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    (void)ctx, (void)area;
    return f.dead ? DS_STATUS(PORT, FLASH) : ds_nor_store_each(&store, fn, arg);
}

static void use_store(void)
{
    f.port.value_get = nor_get;
    f.port.value_set = nor_set;
    f.port.value_each = nor_each;
    ds_nor_store_mount(&store, &flash.nor);
}

// Provisions with power lost at operation cut; returns how many operations a way has.
static unsigned way_with_cut(uint32_t block_size, uint32_t blocks, unsigned cut)
{
    uint8_t key[sizeof st.public_key];
    fake_init(&f, cut + 1);
    fake_station_init(&st);
    nor_fake_init(&flash, block_size, blocks, cut + 1);
    nor_fake_power_on(&flash, cut);
    use_store();
    int code = fake_provision(&f, &st);
    unsigned operations = flash.operations;
    size_t shown = st.public_key_len;
    memcpy(key, st.public_key, sizeof key);
    if (flash.dead) {
        assert_int_not_equal(code, 0);
        nor_fake_power_on(&flash, 0);
        fake_power_on(&f, DS_AGENT_MFG);
        use_store();
        code = fake_provision(&f, &st);
    }
    assert_int_equal(code, 0);
    if (shown > 0)
        assert_memory_equal(key, st.public_key, shown);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_false(flash.rule_broken);
    free(flash.bytes);
    return operations;
}

static void test_way_power_lost_at_words_of_the_store_is_completed(void **state)
{
    (void)state;
    static const struct {
        uint32_t block_size, blocks;
    } geometries[] = {{4096, 2}, {1024, 8}, {131072, 2}};
    for (unsigned g = 0; g < sizeof geometries / sizeof *geometries; g++) {
        unsigned operations = way_with_cut(geometries[g].block_size, geometries[g].blocks, 0);
        assert_true(operations > 200);
        for (unsigned cut = 1 + g; cut <= operations; cut += STEP)
            way_with_cut(geometries[g].block_size, geometries[g].blocks, cut);
    }
}

static void test_way_on_a_store_too_small_is_refused(void **state)
{
    (void)state;
    fake_init(&f, 1);
    fake_station_init(&st);
    nor_fake_init(&flash, 512, 2, 1);
    use_store();
    assert_int_equal(fake_provision(&f, &st), DEVSTAMP__STATUS_CODE__CODE_NO_SPACE);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_KEYED);
    free(flash.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_way_power_lost_at_words_of_the_store_is_completed),
        cmocka_unit_test(test_way_on_a_store_too_small_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
