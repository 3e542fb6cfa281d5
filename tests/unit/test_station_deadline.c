// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How long a step may take: by key type, amount of flash and wire.
#include "src/station/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const ds_step *step_named(const char *name)
{
    for (size_t i = 0; i < DS_STEP_COUNT; i++)
        if (strcmp(ds_steps[i].name, name) == 0)
            return &ds_steps[i];
    fail_msg("no step %s", name);
    return NULL;
}

static int64_t deadline_ms(const char *step, int key_type, size_t flash)
{
    ds_station station = {.baud = 115200};
    ds_line_options options = {.station = &station};
    ds_recipe recipe = {.key_type = key_type};
    recipe.regions[0].data.len = flash;
    ds_job job = {.o = &options, .recipe = &recipe};
    return ds_step_deadline(step_named(step), &job);
}

static void test_rsa_3072_alone_gets_ten_minutes_for_its_key(void **state)
{
    (void)state;
    assert_int_equal(deadline_ms("key", DEVSTAMP__KEY_TYPE__KEY_RSA_3072, 0), 600000);
    assert_int_equal(deadline_ms("key", DEVSTAMP__KEY_TYPE__KEY_RSA_2048, 0), 120000);
    assert_int_equal(deadline_ms("key", DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384, 0), 120000);
    assert_int_equal(deadline_ms("csr", DEVSTAMP__KEY_TYPE__KEY_RSA_3072, 0), 30000);
}

static void test_flash_adds_to_every_step(void **state)
{
    (void)state;
    int64_t more = deadline_ms("firstboot", DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, 1 << 20) -
                   deadline_ms("firstboot", DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, 0);
    assert_int_equal(more, 256 * 100 + (int64_t)(1 << 20) * 10000 / 115200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rsa_3072_alone_gets_ten_minutes_for_its_key),
        cmocka_unit_test(test_flash_adds_to_every_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
