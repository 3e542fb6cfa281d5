// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key blocks for the chip's peripherals: which are taken, how they are protected, power cut between any two burns, and
// what is done with bits that burned badly. Burning and reading follow the chip's rules here.
#include "tests/unit/agent_posix_fake.h"

#include "src/esp/dsig.h"

#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include <stdio.h>

#define KEY2 6u
#define KEY3 7u
#define KEY4 8u
#define KEY5 9u

static unsigned burns, cut_burn; // power is lost instead of this burn; 0 = never
static bool spoil_burn;          // the next burn of a key block sets a bit less
static bool spoil_and_cut;       // and power goes with it

static bool burn(void *ctx, unsigned block, const ds_efuse_words *bits)
{
    fake *f = ctx;
    const ds_efuse_block *def = ds_efuse_block_at(f->hal.chip, block);
    uint32_t wr_dis = ds_efuse_get(f->hal.chip, &f->efuses, "WR_DIS"), fresh = 0, held = 0;
    if (f->off || ++burns == cut_burn) {
        f->off = true;
        return false;
    }
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++) {
        fresh |= bits->w[block][i] & ~f->efuses.w[block][i];
        held |= f->efuses.w[block][i];
    }
    assert_true(fresh != 0); // nothing is burned for nothing
    if ((def->wr_dis_bit >= 0 && wr_dis >> def->wr_dis_bit & 1) || (def->rs_coded && held))
        return false;
    if (block == 0 && wr_dis & 1 && ds_efuse_get(f->hal.chip, bits, "RD_DIS"))
        return false;
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        f->efuses.w[block][i] |= bits->w[block][i];
    if (spoil_burn && block) {
        f->efuses.w[block][7] &= f->efuses.w[block][7] - 1;
        spoil_burn = false;
        f->off = spoil_and_cut;
    }
    return !f->off;
}

// As software reads them.
static void efuses(void *ctx, ds_efuse_words *ret)
{
    const fake *f = ctx;
    *ret = f->efuses;
    uint32_t rd_dis = ds_efuse_get(f->hal.chip, ret, "RD_DIS");
    for (unsigned b = 0; b < ds_efuse_block_count(f->hal.chip); b++)
        if (ds_efuse_block_at(f->hal.chip, b)->rd_dis_bit >= 0 &&
            rd_dis >> ds_efuse_block_at(f->hal.chip, b)->rd_dis_bit & 1)
            memset(ret->w[b], 0, sizeof ret->w[b]);
}

static bool key_for(const fake *f, unsigned block, uint32_t purpose, uint8_t ret[32])
{
    ds_efuse_key k;
    ds_efuse_key_get(f->hal.chip, &f->efuses, block - 4, &k);
    memcpy(ret, k.bytes, 32);
    return k.purpose == purpose;
}

static bool hmac(void *ctx, unsigned block, const void *message, size_t len, uint8_t ret[32])
{
    uint8_t key[32];
    return key_for(ctx, block, DS_EFUSE_PURPOSE_HMAC_UP, key) && HMAC(EVP_sha256(), key, 32, message, len, ret, NULL);
}

static bool dsig(void *ctx, unsigned block, ds_view data, const uint8_t *in, uint8_t *ret, size_t len)
{
    uint8_t key[32];
    return key_for(ctx, block, DS_EFUSE_PURPOSE_HMAC_DOWN_DS, key) &&
           !ds_dsig_sign(3072, data, key, in, ret, len, NULL);
}

static fake *device(void)
{
    fake *f = fake_new("esp32c3");
    f->hal.efuse_burn = burn;
    f->hal.efuses = efuses;
    f->hal.hmac = hmac;
    f->hal.dsig = dsig;
    burns = cut_burn = 0;
    spoil_burn = spoil_and_cut = false;
    restart(f);
    return f;
}

static void fill(uint8_t ret[32], uint8_t seed)
{
    for (unsigned i = 0; i < 32; i++)
        ret[i] = (uint8_t)(seed + i * 37);
}

static ds_status put(fake *f, enum ds_key_use use, const uint8_t key[32])
{
    return f->port.port.key_burn(f->port.port.ctx, use, key);
}

static ds_status mac_of(fake *f, uint8_t ret[32])
{
    return f->port.port.hmac(f->port.port.ctx, "x", 1, ret);
}

// The port's HMAC is the one of this key.
static void expect_hmac_by(fake *f, const uint8_t key[32])
{
    uint8_t got[32], want[32];
    assert_int_equal(mac_of(f, got), DS_STATUS_OK);
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)"x", 1, want, NULL));
    assert_memory_equal(got, want, 32);
}

static bool readable_anywhere(fake *f, const uint8_t key[32])
{
    ds_efuse_words seen;
    efuses(f, &seen);
    for (unsigned b = 4; b < 10; b++)
        if (!memcmp(seen.w[b], key, 28)) // a bit may be missing in the last word
            return true;
    return false;
}

static void test_burn_takes_key4_and_hides_it(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32], got[32];
    fill(key, 3);
    assert_code(mac_of(f, got), NOT_FOUND);
    ds_efuse_words want = f->efuses;
    assert_int_equal(put(f, DS_KEY_USE_NVS, key), DS_STATUS_OK);
    ds_efuse_set_block(&want, KEY4, key);
    want.w[0][0] |= 1u << 27 | 1u << 12; // WR_DIS: BLOCK_KEY4 and KEY_PURPOSE_4
    want.w[0][1] |= 1u << 4;             // RD_DIS
    want.w[0][3] |= 8u << 8;             // KEY_PURPOSE_4: HMAC_UP
    assert_memory_equal(&f->efuses, &want, sizeof want);
    assert_int_equal(burns, 3);
    expect_hmac_by(f, key);
    fake_free(f);
}

static void test_burn_goes_down_to_key2_and_no_further(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t keys[4][32];
    for (uint8_t i = 0; i < 4; i++)
        fill(keys[i], (uint8_t)(i * 11));
    assert_int_equal(put(f, DS_KEY_USE_DSIG, keys[0]), DS_STATUS_OK);
    assert_int_equal(put(f, DS_KEY_USE_NVS, keys[1]), DS_STATUS_OK);
    expect_hmac_by(f, keys[1]);
    assert_int_equal(put(f, DS_KEY_USE_NVS, keys[2]), DS_STATUS_OK);
    expect_hmac_by(f, keys[2]); // the one that was burned last
    ds_efuse_words before = f->efuses;
    assert_code(put(f, DS_KEY_USE_NVS, keys[3]), NO_SPACE);
    assert_memory_equal(&f->efuses, &before, sizeof before);
    for (unsigned b = 4; b < 10; b++) {
        static const uint8_t blank[32];
        const uint8_t *want = b == KEY4 ? keys[0] : b == KEY3 ? keys[1] : b == KEY2 ? keys[2] : blank;
        assert_memory_equal(f->efuses.w[b], want, 32);
    }
    // What the peripherals need stays free for bootloader and anchor.
    assert_int_equal(f->port.port.anchor_set(f->port.port.ctx, keys[3]), DS_STATUS_OK);
    assert_memory_equal(f->efuses.w[KEY5], keys[3], 32);
    fake_free(f);
}

static void test_burn_power_cut_is_completed_in_the_same_block(void **state)
{
    (void)state;
    for (int use = 0; use < 2; use++) {
        uint8_t key[32], got[32];
        fill(key, 7);
        bool done = false;
        unsigned cut = 1;
        for (; !done; cut++) {
            fake *f = device();
            cut_burn = cut;
            done = put(f, (enum ds_key_use)use, key) == DS_STATUS_OK;
            if (!done)
                assert_code(mac_of(f, got), NOT_FOUND); // it does not count yet
            restart(f);
            cut_burn = 0;
            if (!done)
                assert_int_equal(put(f, (enum ds_key_use)use, key), DS_STATUS_OK);
            assert_memory_equal(f->efuses.w[KEY4], key, 32);
            assert_int_equal(burns, done ? 3 : 4);
            assert_false(readable_anywhere(f, key));
            for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
                assert_int_equal(f->efuses.w[KEY3][i], 0);
            fake_free(f);
        }
        assert_int_equal(cut, 5);
    }
}

// Power lost amid a burn may leave a purpose of which some bits are set.
static void test_burn_completes_half_a_purpose(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32];
    fill(key, 8);
    ds_efuse_set_block(&f->efuses, KEY4, key);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "KEY_PURPOSE_4", 5)); // of 7
    assert_int_equal(put(f, DS_KEY_USE_DSIG, key), DS_STATUS_OK);
    assert_int_equal(ds_efuse_get(f->hal.chip, &f->efuses, "KEY_PURPOSE_4"), 7);
    assert_int_equal(burns, 2);
    fake_free(f);
}

// Or a block that cannot be written any more and can still be read.
static void test_burn_completes_half_a_protection(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32];
    fill(key, 8);
    ds_efuse_set_block(&f->efuses, KEY4, key);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "KEY_PURPOSE_4", 7));
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "WR_DIS", 1u << 12 | 1u << 27));
    assert_int_equal(put(f, DS_KEY_USE_DSIG, key), DS_STATUS_OK);
    assert_false(readable_anywhere(f, key));
    assert_int_equal(burns, 1);
    fake_free(f);
}

// A purpose that was locked with some of its bits only: the block is of no use, and must not show the secret.
static void test_burn_hides_what_got_another_purpose(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32];
    fill(key, 8);
    ds_efuse_set_block(&f->efuses, KEY4, key);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "KEY_PURPOSE_4", 5));
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "WR_DIS", 1u << 12));
    assert_int_equal(put(f, DS_KEY_USE_DSIG, key), DS_STATUS_OK);
    assert_memory_equal(f->efuses.w[KEY3], key, 32);
    assert_false(readable_anywhere(f, key));
    fake_free(f);
}

static void test_burn_hides_what_took_its_bits_badly(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        fake *f = device();
        uint8_t key[32];
        fill(key, 9);
        spoil_burn = true;
        spoil_and_cut = cut;
        assert_code(put(f, DS_KEY_USE_NVS, key), FLASH);
        restart(f);
        assert_int_equal(readable_anywhere(f, key), cut);
        assert_int_equal(put(f, DS_KEY_USE_NVS, key), DS_STATUS_OK);
        assert_memory_equal(f->efuses.w[KEY3], key, 32);
        assert_false(readable_anywhere(f, key));
        expect_hmac_by(f, key);
        fake_free(f);
    }
}

static void test_burn_passes_over_what_is_somebodys(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        uint32_t value;
    } theirs[] = {
        {"KEY_PURPOSE_4", 6}, {"WR_DIS", 1u << 27}, {"RD_DIS", 1u << 4}, {"BLOCK_KEY4", 0x1234}, {"WR_DIS", 1u << 12}};
    uint8_t key[32];
    fill(key, 5);
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        fake *f = device();
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, theirs[i].field, theirs[i].value));
        ds_efuse_words before = f->efuses;
        assert_int_equal(put(f, DS_KEY_USE_DSIG, key), DS_STATUS_OK);
        assert_memory_equal(f->efuses.w[KEY4], before.w[KEY4], 32);
        assert_memory_equal(f->efuses.w[KEY3], key, 32);
        assert_int_equal(ds_efuse_get(f->hal.chip, &f->efuses, "RD_DIS"),
                         ds_efuse_get(f->hal.chip, &before, "RD_DIS") | 1u << 3);
        fake_free(f);
    }
}

// From the first boot of a secure bootloader on no block can be hidden any more.
static void test_burn_after_read_protection_is_locked_is_refused(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32];
    fill(key, 6);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "WR_DIS", 1));
    assert_code(put(f, DS_KEY_USE_NVS, key), NOT_ALLOWED);
    assert_int_equal(burns, 0);
    fake_free(f);
}

static void test_keys_do_not_exist_on_an_esp32(void **state)
{
    (void)state;
    fake *f = fake_new("esp32");
    assert_null(f->port.port.key_burn);
    assert_null(f->port.port.hmac);
    assert_null(f->port.port.dsig);
    assert_int_equal(f->port.port.dsig_bits, 0);
    fake_free(f);
}

static void test_dsig_finds_the_block_that_opens_the_data(void **state)
{
    (void)state;
    fake *f = device();
    const ds_port *port = &f->port.port;
    uint8_t keys[3][32], message[256] = {0, 5}, signature[256];
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    for (uint8_t i = 0; i < 3; i++) {
        DS_CLEANUP_BUF ds_buf data = {0};
        ds_err e = DS_ERR_INIT;
        fill(keys[i], (uint8_t)(20 + i));
        assert_int_equal(ds_dsig_seal(3072, rsa, keys[i], keys[0], &data, &e), DS_OK);
        assert_code(port->dsig(port->ctx, data.ptr, data.len, message, signature, 256), NOT_FOUND);
        assert_int_equal(put(f, DS_KEY_USE_DSIG, keys[i]), DS_STATUS_OK);
        assert_int_equal(port->dsig(port->ctx, data.ptr, data.len, message, signature, 256), DS_STATUS_OK);
        data.ptr[50] ^= 1;
        assert_code(port->dsig(port->ctx, data.ptr, data.len, message, signature, 256), NOT_FOUND);
    }
    EVP_PKEY_free(rsa);
    fake_free(f);
}

// --- encrypted NVS

static bool nvs_holds(const fake *f, const uint8_t secret[32], const char *text)
{
    ds_nvs_keys keys;
    ds_nvs_items items = {0};
    ds_err e = DS_ERR_INIT;
    for (int half = 0; half < 2; half++) {
        uint8_t seed[32];
        ds_nvs_hmac_seed(half, seed);
        assert_non_null(HMAC(EVP_sha256(), secret, 32, seed, 32, keys.bytes + 32 * half, NULL));
    }
    bool ok = !ds_nvs_parse((ds_view){f->flash + NVS_AT, 0x6000}, &keys, &items, &e);
    const ds_nvs_item *item = ok ? ds_nvs_find(&items, "stamp", "serial") : NULL;
    ok = item && item->data.len == strlen(text) && !memcmp(item->data.ptr, text, item->data.len);
    ds_nvs_items_free(&items);
    return ok;
}

static void test_encrypted_area_by_hmac_needs_no_keys_in_flash(void **state)
{
    (void)state;
    fake *f = device();
    uint8_t key[32], blank[4096];
    char text[16];
    fill(key, 30);
    memset(blank, 0xFF, sizeof blank);
    assert_int_equal(put(f, DS_KEY_USE_NVS, key), DS_STATUS_OK);
    assert_code(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN1"), NOT_ALLOWED); // flash encryption is off
    assert_memory_equal(f->flash + NVS_AT, blank, sizeof blank);
    f->table.parts[0] = f->table.parts[--f->table.count]; // no nvs_keys partition
    encrypt_flash(f);
    assert_code(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), NOT_FOUND);
    assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN1"), DS_STATUS_OK);
    restart(f);
    assert_int_equal(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), DS_STATUS_OK);
    assert_string_equal(text, "SN1");
    assert_memory_equal(f->flash + KEYS_AT, blank, sizeof blank);
    assert_false(flash_holds(f, "SN1", 3));
    assert_true(nvs_holds(f, key, "SN1"));
    key[0] ^= 1;
    assert_false(nvs_holds(f, key, "SN1"));
    fake_free(f);
}

// Not a key whose block can still be read or changed.
static void test_encrypted_area_by_hmac_waits_for_protection(void **state)
{
    (void)state;
    uint8_t key[32], got[32];
    fill(key, 31);
    for (unsigned cut = 2; cut <= 3; cut++) {
        fake *f = device();
        cut_burn = cut;
        assert_int_not_equal(put(f, DS_KEY_USE_NVS, key), DS_STATUS_OK);
        restart(f);
        assert_code(mac_of(f, got), NOT_FOUND);
        encrypt_flash(f);
        assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN1"), DS_STATUS_OK);
        assert_false(nvs_holds(f, key, "SN1"));
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burn_takes_key4_and_hides_it),
        cmocka_unit_test(test_burn_goes_down_to_key2_and_no_further),
        cmocka_unit_test(test_burn_power_cut_is_completed_in_the_same_block),
        cmocka_unit_test(test_burn_completes_half_a_purpose),
        cmocka_unit_test(test_burn_completes_half_a_protection),
        cmocka_unit_test(test_burn_hides_what_got_another_purpose),
        cmocka_unit_test(test_burn_hides_what_took_its_bits_badly),
        cmocka_unit_test(test_burn_passes_over_what_is_somebodys),
        cmocka_unit_test(test_burn_after_read_protection_is_locked_is_refused),
        cmocka_unit_test(test_keys_do_not_exist_on_an_esp32),
        cmocka_unit_test(test_dsig_finds_the_block_that_opens_the_data),
        cmocka_unit_test(test_encrypted_area_by_hmac_needs_no_keys_in_flash),
        cmocka_unit_test(test_encrypted_area_by_hmac_waits_for_protection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
