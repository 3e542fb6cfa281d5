// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The anchor in eFuses: where it is burned, what is refused, and power cut between any two burns. Burning follows the
// chips' rules here: nothing onto write-protected bits, an RS-coded block once and whole.
#include "tests/unit/agent_posix_fake.h"

#define KEY5 9u
#define KEY4 8u
#define BLOCK3 3u

static unsigned burns, cut_burn; // power is lost instead of this burn; 0 = never
static bool spoil_burn;          // the next burn sets a bit less

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
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        f->efuses.w[block][i] |= bits->w[block][i];
    if (spoil_burn)
        f->efuses.w[block][7] &= f->efuses.w[block][7] - 1;
    spoil_burn = false;
    return true;
}

static fake *device(const char *chip)
{
    fake *f = fake_new(chip);
    f->hal.efuse_burn = burn;
    burns = cut_burn = 0;
    spoil_burn = false;
    return f;
}

static void fill_digest(uint8_t ret[32], uint8_t seed)
{
    for (unsigned i = 0; i < 32; i++)
        ret[i] = (uint8_t)(seed + i * 37);
}

static ds_status set(fake *f, const uint8_t digest[32])
{
    return f->port.port.anchor_set(f->port.port.ctx, digest);
}

static void expect_anchor(fake *f, const uint8_t digest[32], size_t len)
{
    uint8_t seen[32];
    size_t seen_len = 99;
    assert_int_equal(f->port.port.anchor_get(f->port.port.ctx, seen, &seen_len), DS_STATUS_OK);
    assert_int_equal(seen_len, len);
    assert_memory_equal(seen, digest, len);
}

static void test_anchor_c3_takes_key5_and_protects_it(void **state)
{
    (void)state;
    fake *f = device("esp32c3");
    uint8_t digest[32], other[32];
    fill_digest(digest, 3);
    fill_digest(other, 4);
    expect_anchor(f, digest, 0);
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    expect_anchor(f, digest, 32);
    ds_efuse_words want = {0};
    ds_efuse_set_mac(f->hal.chip, &want, (const uint8_t[]){2, 0x11, 0x22, 0x33, 0x44, 0x55});
    ds_efuse_set_revision(f->hal.chip, &want, 4);
    ds_efuse_set_block(&want, KEY5, digest);
    want.w[0][0] = 1u << 28 | 1u << 13; // WR_DIS: BLOCK_KEY5 and KEY_PURPOSE_5
    assert_memory_equal(&f->efuses, &want, sizeof want);
    assert_int_equal(burns, 2);
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    assert_int_equal(burns, 2);
    assert_code(set(f, other), MISMATCH);
    assert_memory_equal(&f->efuses, &want, sizeof want);
    fake_free(f);
}

static void test_anchor_c3_passes_over_blocks_it_cannot_use(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        uint32_t value;
    } unusable[] = {{"KEY_PURPOSE_5", 9}, {"WR_DIS", 1u << 28}, {"RD_DIS", 1u << 5}, {"BLOCK_KEY5", 0x1234}};
    uint8_t digest[32];
    fill_digest(digest, 5);
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++) {
        fake *f = device("esp32c3");
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, unusable[i].field, unusable[i].value));
        uint32_t before[DS_EFUSE_WORDS];
        memcpy(before, f->efuses.w[KEY5], sizeof before);
        expect_anchor(f, digest, 0);
        assert_int_equal(set(f, digest), DS_STATUS_OK);
        expect_anchor(f, digest, 32);
        assert_memory_equal(f->efuses.w[KEY5], before, sizeof before);
        assert_memory_equal(f->efuses.w[KEY4], digest, 32);
        fake_free(f);
    }
}

static void test_anchor_c3_without_a_free_block_says_so(void **state)
{
    (void)state;
    fake *f = device("esp32c3");
    uint8_t digest[32];
    fill_digest(digest, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses,
                                 (const char *const[]){"KEY_PURPOSE_0", "KEY_PURPOSE_1", "KEY_PURPOSE_2",
                                                       "KEY_PURPOSE_3", "KEY_PURPOSE_4", "KEY_PURPOSE_5"}[i],
                                 8));
    assert_code(set(f, digest), NO_SPACE);
    assert_int_equal(burns, 0);
    fake_free(f);
}

static void test_anchor_power_cut_is_completed(void **state)
{
    (void)state;
    static const char *const chips[] = {"esp32", "esp32c3"};
    uint8_t digest[32];
    fill_digest(digest, 7);
    for (size_t i = 0; i < 2; i++) {
        bool done = false;
        unsigned cut = 1;
        for (; !done; cut++) {
            fake *f = device(chips[i]);
            cut_burn = cut;
            done = set(f, digest) == DS_STATUS_OK;
            if (!done)
                expect_anchor(f, digest, 0); // not protected yet: it does not count
            restart(f);
            cut_burn = 0;
            assert_int_equal(set(f, digest), DS_STATUS_OK);
            expect_anchor(f, digest, i == 0 ? 7 : 32);
            assert_int_equal(burns, i == 0 ? 1 + !done : done ? 2 : 3);
            fake_free(f);
        }
        assert_int_equal(cut, i == 0 ? 3 : 4);
    }
}

// Of a purpose that could still be changed the anchor could be taken away.
static void test_anchor_c3_purpose_left_open_is_closed(void **state)
{
    (void)state;
    fake *f = device("esp32c3");
    uint8_t digest[32];
    fill_digest(digest, 8);
    ds_efuse_set_block(&f->efuses, KEY5, digest);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "WR_DIS", 1u << 28));
    expect_anchor(f, digest, 32);
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    assert_int_equal(ds_efuse_get(f->hal.chip, &f->efuses, "WR_DIS"), 1u << 28 | 1u << 13);
    fake_free(f);
}

static void test_anchor_c3_block_that_burned_badly_is_left_behind(void **state)
{
    (void)state;
    fake *f = device("esp32c3");
    uint8_t digest[32];
    fill_digest(digest, 9);
    spoil_burn = true;
    assert_code(set(f, digest), FLASH);
    expect_anchor(f, digest, 0);
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    expect_anchor(f, digest, 32);
    assert_memory_equal(f->efuses.w[KEY4], digest, 32);
    fake_free(f);
}

static void test_anchor_esp32_takes_words_that_nothing_else_uses(void **state)
{
    (void)state;
    fake *f = device("esp32");
    uint8_t digest[32], other[32];
    fill_digest(digest, 10);
    fill_digest(other, 11);
    ds_efuse_words want = f->efuses;
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    expect_anchor(f, digest, 7);
    // 0A 2F 54 79 9E C3 E8: 28 ones among 56 bits, so 28 zeros.
    want.w[BLOCK3][6] = 0x79542F0A;
    want.w[BLOCK3][7] = 28u << 24 | 0xE8C39E;
    assert_memory_equal(&f->efuses, &want, sizeof want);
    assert_code(set(f, other), MISMATCH);
    assert_int_equal(burns, 1);
    fake_free(f);
}

// Whoever can burn further bits breaks the anchor; they do not get one that they want.
static void test_anchor_esp32_any_further_bit_is_seen(void **state)
{
    (void)state;
    fake *f = device("esp32");
    uint8_t digest[32], seen[32];
    size_t len;
    fill_digest(digest, 12);
    assert_int_equal(set(f, digest), DS_STATUS_OK);
    ds_efuse_words whole = f->efuses;
    for (unsigned first = 0; first < 64; first++)
        for (unsigned second = 0; second < 64; second++) {
            f->efuses = whole;
            f->efuses.w[BLOCK3][6 + first / 32] |= 1u << first % 32;
            f->efuses.w[BLOCK3][6 + second / 32] |= 1u << second % 32;
            if (memcmp(&f->efuses, &whole, sizeof whole) != 0)
                assert_code(f->port.port.anchor_get(f->port.port.ctx, seen, &len), MISMATCH);
        }
    fake_free(f);
}

static void test_anchor_esp32_block_that_cannot_hold_it_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        uint32_t value;
    } cases[] = {{"CODING_SCHEME", 1}, {"WR_DIS", 1u << 9}, {"RD_DIS", 1u << 2}};
    uint8_t digest[32];
    fill_digest(digest, 13);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake *f = device("esp32");
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, cases[i].field, cases[i].value));
        assert_code(set(f, digest), UNSUPPORTED);
        assert_int_equal(burns, 0);
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anchor_c3_takes_key5_and_protects_it),
        cmocka_unit_test(test_anchor_c3_passes_over_blocks_it_cannot_use),
        cmocka_unit_test(test_anchor_c3_without_a_free_block_says_so),
        cmocka_unit_test(test_anchor_power_cut_is_completed),
        cmocka_unit_test(test_anchor_c3_purpose_left_open_is_closed),
        cmocka_unit_test(test_anchor_c3_block_that_burned_badly_is_left_behind),
        cmocka_unit_test(test_anchor_esp32_takes_words_that_nothing_else_uses),
        cmocka_unit_test(test_anchor_esp32_any_further_bit_is_seen),
        cmocka_unit_test(test_anchor_esp32_block_that_cannot_hold_it_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
