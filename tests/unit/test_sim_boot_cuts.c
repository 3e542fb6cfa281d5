// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Power cuts all along a secure first boot.
#include "sim_boot_bench.h"

typedef struct {
    bool secure_boot, has_key;
    uint8_t key[32];
} burned;

static burned what_is_burned(const ds_chip *chip)
{
    ds_efuse_words w;
    ds_efuse_security s;
    burned b = {0};
    read_efuses(chip, &w, &s);
    b.secure_boot = s.secure_boot;
    b.has_key = s.flash_key_protected;
    if (b.has_key)
        flash_key(chip, b.key);
    return b;
}

// One cut: what the chip is then must be one of the known states, and plain images bring it back with the key it has.
static void cut_and_recover(const set *s, uint64_t cut_at, uint64_t total)
{
    int code;
    fresh(s, &s->release_boot, 0);
    (void)power_up(s->chip, cut_at, &code);
    assert_int_equal(code, DS_SIM_EXIT_POWER_CUT);
    burned before = what_is_burned(s->chip);
    const char *log = power_up(s->chip, 0, &code);
    bool ran = strstr(log, "RUN demo 2.0.0 from ota_0");
    bool refused = strstr(log, "invalid header: 0x") || strstr(log, "secure boot verification failed") ||
                   strstr(log, "Failed to verify partition table") || strstr(log, "No bootable app");
    if (ran == refused)
        fail_msg("cut at %llu of %llu:\n%s", (unsigned long long)cut_at, (unsigned long long)total, log);
    if (!ran) {
        assert_true(before.secure_boot && before.has_key); // refused only once encryption had begun
        flash_plain(s, &s->release_boot, 0);
        boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    }
    burned after = what_is_burned(s->chip);
    if (before.has_key)
        assert_memory_equal(after.key, before.key, 32);
    check_locked_flash(s, &s->release_boot);
    ds_efuse_words w;
    ds_efuse_security sec;
    read_efuses(s->chip, &w, &sec);
    assert_true(sec.release && sec.secure_boot && sec.flash_key_protected && sec.digest_count == 1);
}

// The burns and what follows them, some erases with their neighbours, the last operations, and a spread of others. The
// environment's DS_TEST_CUT_STRIDE=N takes every Nth instead.
static bool take_cut(uint64_t at, uint64_t total)
{
    const char *stride = getenv("DS_TEST_CUT_STRIDE");
    uint64_t n = stride ? strtoull(stride, NULL, 10) : 0;
    if (n)
        return at % n == 0;
    bool near_erase = at > 4 && (at - 5) % 1025 < 2; // a sector is one erase and 1024 words, after four burns
    return at <= 8 || at + 6 > total || (near_erase && at / 1025 % 4 == 0) || at % 997 == 0;
}

static void test_first_boot_power_cut_anywhere_is_recoverable(void **state)
{
    const set *s = *state;
    int code;
    fresh(s, &s->release_boot, 0);
    (void)power_up(s->chip, 0, &code);
    assert_int_equal(code, DS_SIM_EXIT_OFF);
    uint64_t total = shared->flash_ops;
    assert_true(total > 10000);
    for (uint64_t at = 1; at <= total; at++)
        if (take_cut(at, total))
            cut_and_recover(s, at, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_first_boot_power_cut_anywhere_is_recoverable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
