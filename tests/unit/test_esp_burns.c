// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The plan of burns: what it refuses, and the rows that differ by wish. That it is what devices burn is shown by
// tests/e2e/test_bundle.py.
#include "src/esp/burns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t digests[4][32] = {{1}, {2}, {3}, {4}};

static ds_burn_wish wish(const char *chip)
{
    return (ds_burn_wish){.chip = ds_platform_by_name(chip), .digests = digests, .digest_count = 1, .release = true};
}

static const char *value_of(const ds_burns *p, enum ds_burn_when when, const char *field)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->list[i].when == when && strcmp(p->list[i].field, field) == 0)
            return p->list[i].value;
    return NULL;
}

static void expect(const ds_burn_wish *w, enum ds_burn_when when, const char *field, const char *value)
{
    ds_burns p;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_burns_plan(w, &p, &e), DS_OK);
    const char *is = value_of(&p, when, field);
    if (!value ? is != NULL : !is || strcmp(is, value) != 0)
        fail_msg("%s is %s, not %s", field, is ? is : "not burned", value ? value : "left alone");
}

static void test_burns_beyond_the_chip_are_refused(void **state)
{
    (void)state;
    ds_burns p;
    ds_err e = DS_ERR_INIT;
    ds_burn_wish w = wish("esp32");
    w.digest_count = 2;
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "trusts 1 secure boot key at most, not 2"));
    w = wish("esp32c3");
    w.digest_count = 4;
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_INPUT);
    w = wish("esp32c3");
    w.secure_version = 16;
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_OK);
    w.secure_version = 17;
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "counts secure versions to 16, not 17"));
    w = wish("esp32");
    w.secure_version = 32;
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_OK);
    assert_string_equal(value_of(&p, DS_BURN_APP, "SECURE_VERSION"), "0xffffffff");
    w = wish("generic");
    assert_int_equal(ds_burns_plan(&w, &p, &e), DS_OK);
    assert_int_equal(p.count, 0);
}

static void test_burns_follow_the_wish(void **state)
{
    (void)state;
    ds_burn_wish w = wish("esp32c3");
    expect(&w, DS_BURN_FIRSTBOOT, "SPI_BOOT_CRYPT_CNT", "0x7");
    expect(&w, DS_BURN_FIRSTBOOT, "ENABLE_SECURITY_DOWNLOAD", "0x1");
    expect(&w, DS_BURN_FIRSTBOOT, "BLOCK_KEY1", "secret");
    expect(&w, DS_BURN_FIRSTBOOT, "SECURE_BOOT_KEY_REVOKE0", NULL);
    expect(&w, DS_BURN_FIRSTBOOT, "SECURE_BOOT_KEY_REVOKE1", "0x1");
    expect(&w, DS_BURN_APP, "BLOCK_KEY5", "certificate");
    expect(&w, DS_BURN_APP, "DIS_DOWNLOAD_MODE", NULL);
    expect(&w, DS_BURN_STAMP, "WR_DIS", NULL);
    w.release = false;
    w.close_download = w.key_in_ds = w.nvs_by_hmac = true;
    w.digest_count = 3;
    expect(&w, DS_BURN_FIRSTBOOT, "SPI_BOOT_CRYPT_CNT", "0x1");
    expect(&w, DS_BURN_FIRSTBOOT, "ENABLE_SECURITY_DOWNLOAD", NULL);
    expect(&w, DS_BURN_FIRSTBOOT, "SECURE_BOOT_KEY_REVOKE2", NULL);
    expect(&w, DS_BURN_FIRSTBOOT, "KEY_PURPOSE_2", "0xb");
    expect(&w, DS_BURN_FIRSTBOOT, "BLOCK_KEY3", "secret");
    expect(&w, DS_BURN_STAMP, "KEY_PURPOSE_4", "0x7");
    expect(&w, DS_BURN_STAMP, "KEY_PURPOSE_3", "0x8");
    expect(&w, DS_BURN_APP, "DIS_DOWNLOAD_MODE", "0x1");
}

static void test_burns_all_have_their_words(void **state)
{
    (void)state;
    static const char *const chips[] = {"esp32", "esp32c3"};
    for (size_t c = 0; c < 2; c++) {
        ds_burns p;
        ds_burn_wish w = wish(chips[c]);
        w.close_download = true;
        w.key_in_ds = w.nvs_by_hmac = w.chip->has_hmac;
        w.secure_version = 1;
        assert_int_equal(ds_burns_plan(&w, &p, NULL), DS_OK);
        for (unsigned i = 0; i < p.count; i++) // only digests of keys are told by what is left
            if (strstr(ds_burn_words(&p.list[i]), "signing key that is trusted") && strlen(p.list[i].value) != 64)
                fail_msg("%s has no words of its own", p.list[i].field);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burns_beyond_the_chip_are_refused),
        cmocka_unit_test(test_burns_follow_the_wish),
        cmocka_unit_test(test_burns_all_have_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
