// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ROM loader client against a loader of the document's making, with faults.
#include "link_fake_rom.h"

#include "src/link/rom.h"

#include <errno.h>

typedef struct bench {
    fake_rom rom;
    peer peer;
    ds_transport *t;
    ds_rom *r;
    ds_err e;
} bench;

static void bench_start(bench *b)
{
    peer_start(&b->peer, fake_play, &b->rom);
    b->t = peer_open(&b->peer, "tcp");
}

static void bench_open(bench *b, uint32_t flash_size)
{
    bench_start(b);
    assert_ok(ds_rom_open(b->t, NULL, flash_size, ds_now_ms() + 20000, &b->r, &b->e), b->e);
}

static void bench_end(bench *b)
{
    ds_rom_close(b->r);
    ds_transport_close(b->t);
    peer_join(&b->peer);
    fake_deinit(&b->rom);
    free(b);
}

static bench *bench_new(enum ds_chip_id chip)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fake_init(&b->rom, chip);
    return b;
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void test_open_c3_finds_all(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    b->rom.flags = 0x5;
    b->rom.flags &= ~4u;
    b->rom.crypt_cnt = 7;
    ds_efuse_set_revision(b->rom.chip, &b->rom.efuses, 4);
    bench_open(b, 0);
    const ds_rom_info *i = ds_rom_get_info(b->r);
    assert_string_equal(i->chip->name, "esp32c3");
    assert_true(i->has_mac && i->has_efuses && i->has_security && i->secure_boot && i->flash_encryption);
    assert_false(i->secure_download);
    assert_memory_equal(i->mac, "\x24\x0A\xC4\x01\x02\x03", 6);
    assert_int_equal(i->key_purposes[0], 9);
    assert_int_equal(i->key_purposes[6], 12);
    assert_int_equal(i->revision, 4);
    assert_int_equal(i->flash_size, 0x100000);
    assert_memory_equal(&i->efuses, &b->rom.efuses, sizeof i->efuses);

    const fake_request *sync = fake_find(&b->rom, 0x08, 0);
    assert_int_equal(sync->len, 36);
    assert_memory_equal(sync->head, "\x07\x07\x12\x20\x55\x55", 6);
    assert_int_equal(sync->head[35], 0x55);
    assert_int_equal(fake_find(&b->rom, 0x0D, 0)->len, 8);
    const fake_request *params = fake_find(&b->rom, 0x0B, 0);
    static const uint8_t expected[24] = {0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0xFF, 0xFF};
    assert_int_equal(params->len, 24);
    assert_memory_equal(params->head, expected, sizeof expected);
    bench_end(b);
}

static void test_open_esp32_by_magic(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32);
    assert_true(ds_efuse_set(b->rom.chip, &b->rom.efuses, "SPI_PAD_CONFIG_CLK", 6));
    assert_true(ds_efuse_set(b->rom.chip, &b->rom.efuses, "SPI_PAD_CONFIG_HD", 9));
    assert_true(ds_efuse_set(b->rom.chip, &b->rom.efuses, "ABS_DONE_1", 1));
    assert_true(ds_efuse_set(b->rom.chip, &b->rom.efuses, "FLASH_CRYPT_CNT", 1));
    bench_open(b, 0);
    const ds_rom_info *i = ds_rom_get_info(b->r);
    assert_string_equal(i->chip->name, "esp32");
    assert_true(i->has_security && i->secure_boot && i->flash_encryption);
    assert_int_equal(i->flash_crypt_cnt, 1);
    assert_memory_equal(i->mac, "\x24\x0A\xC4\x01\x02\x03", 6);
    assert_memory_equal(fake_find(&b->rom, 0x0D, 0)->head, "\x06\0\0\x09\0\0\0\0", 8);
    bench_end(b);
}

static void write_and_compare(bench *b, uint32_t addr, const uint8_t *data, size_t len)
{
    assert_ok(ds_rom_write(b->r, addr, (ds_view){data, len}, NULL, NULL, &b->e), b->e);
    assert_memory_equal(b->rom.flash + addr, data, len);
    uint8_t md5[16], expected[16];
    unsigned n;
    assert_ok(ds_rom_md5(b->r, addr, (uint32_t)len, md5, &b->e), b->e);
    EVP_Digest(data, len, expected, &n, EVP_md5(), NULL);
    assert_memory_equal(md5, expected, 16);
}

static void test_write_esp32_plain_has_four_words_and_pads(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32);
    bench_open(b, 0x100000);
    uint8_t data[1501];
    fill(data, sizeof data, 7); // random: does not deflate
    write_and_compare(b, 0x1000, data, sizeof data);
    const fake_request *begin = fake_find(&b->rom, 0x02, 0);
    assert_int_equal(begin->len, 16);
    assert_memory_equal(begin->head, "\xE0\x05\0\0\x02\0\0\0\0\x04\0\0\0\x10\0\0",
                        16); // 1504 bytes, 2 packets of 0x400
    assert_int_equal(fake_count(&b->rom, 0x03), 2);
    const fake_request *last = fake_find(&b->rom, 0x03, 1);
    assert_int_equal(last->len, 16 + 0x400);
    assert_memory_equal(last->head, "\0\x04\0\0\x01\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_int_equal(b->rom.flash[0x1000 + 1501], 0xFF);
    assert_int_equal(fake_count(&b->rom, 0x11), 0);
    bench_end(b);
}

static void count_progress(void *arg, size_t done, size_t total)
{
    size_t *last = arg;
    assert_true(done >= *last && done <= total);
    *last = done;
}

static void test_write_c3_deflated(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    bench_open(b, 0x100000);
    size_t len = 0x90000, done = 0; // many chunks
    uint8_t *data = calloc(1, len);
    for (size_t i = 0; i < len; i += 16)
        fill(data + i, 5, (uint32_t)i);
    assert_ok(ds_rom_write(b->r, 0x3F000, (ds_view){data, len}, count_progress, &done, &b->e), b->e);
    assert_memory_equal(b->rom.flash + 0x3F000, data, len);
    assert_int_equal(done, len);
    const fake_request *begin = fake_find(&b->rom, 0x10, 0);
    assert_int_equal(begin->len, 20);               // fifth word: not encrypted
    assert_int_equal(ds_le32(begin->head), 0x1000); // up to the border of a 64 KiB block
    assert_int_equal(ds_le32(begin->head + 12), 0x3F000);
    assert_int_equal(ds_le32(begin->head + 16), 0);
    assert_int_equal(ds_le32(fake_find(&b->rom, 0x10, 1)->head + 12), 0x40000);
    assert_int_equal(fake_count(&b->rom, 0x03), 0);
    free(data);
    bench_end(b);
}

static void test_erase_and_slow_read(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    bench_open(b, 0x100000);
    fill(b->rom.flash, FAKE_FLASH, 3);
    DS_CLEANUP_BUF ds_buf got = {0};
    assert_ok(ds_rom_read(b->r, 0x2010, 150, &got, &b->e), b->e);
    assert_int_equal(got.len, 150);
    assert_memory_equal(got.ptr, b->rom.flash + 0x2010, 150);
    uint8_t before = b->rom.flash[0x4FFF];
    assert_ok(ds_rom_erase(b->r, 0x5000, 0x2000, &b->e), b->e);
    assert_int_equal(b->rom.flash[0x4FFF], before);
    assert_int_equal(b->rom.flash[0x5000] & b->rom.flash[0x6FFF], 0xFF);
    assert_int_equal(ds_rom_erase(b->r, 0x5001, 0x1000, &b->e), DS_INPUT);
    assert_int_equal(ds_rom_erase(b->r, 0xFF000, 0x2000, &b->e), DS_INPUT);
    assert_non_null(strstr(b->e.text, "do not fit"));
    bench_end(b);
}

typedef struct fault_case {
    enum fake_fault fault;
    uint8_t op;
    int skip;
    bench *b;
    uint8_t data[6000], md5[16];
} fault_case;

static void *write_with_fault(void *arg)
{
    fault_case *c = arg;
    bench *b = c->b;
    if (ds_rom_open(b->t, NULL, 0x100000, ds_now_ms() + 20000, &b->r, &b->e))
        return c;
    if (ds_rom_write(b->r, 0x10000, (ds_view){c->data, sizeof c->data}, NULL, NULL, &b->e) ||
        ds_rom_md5(b->r, 0x10000, sizeof c->data, c->md5, &b->e))
        return c;
    return NULL;
}

// All at once: most of them wait for a reply that was lost.
static void test_write_survives_faults(void **state)
{
    (void)state;
    static fault_case cases[] = {
        {.fault = FAULT_DROP, .op = 0x03, .skip = 2},     {.fault = FAULT_DROP, .op = 0x11, .skip = 1},
        {.fault = FAULT_DOUBLE, .op = 0x03, .skip = 1},   {.fault = FAULT_DOUBLE, .op = 0x11, .skip = 0},
        {.fault = FAULT_TEXT, .op = 0x03, .skip = 1},     {.fault = FAULT_ECHO, .op = 0x03, .skip = 1},
        {.fault = FAULT_LENGTH, .op = 0x03, .skip = 0},   {.fault = FAULT_CHECKSUM, .op = 0x03, .skip = 1},
        {.fault = FAULT_CHECKSUM, .op = 0x11, .skip = 0}, {.fault = FAULT_DROP, .op = 0x02, .skip = 0},
        {.fault = FAULT_DROP, .op = 0x13, .skip = 0},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    pthread_t threads[CASES];
    for (size_t i = 0; i < CASES; i++) {
        fault_case *c = &cases[i];
        c->b = bench_new(i & 1 ? DS_CHIP_ESP32 : DS_CHIP_ESP32C3);
        c->b->rom.fault = c->fault;
        c->b->rom.fault_op = c->op;
        c->b->rom.fault_skip = c->skip;
        c->b->rom.fault_times = 1;
        fill(c->data, sizeof c->data, 11);
        if (c->op == 0x11)
            memset(c->data + 4000, 0, 2000); // deflates
        bench_start(c->b);
        assert_int_equal(pthread_create(&threads[i], NULL, write_with_fault, c), 0);
    }
    for (size_t i = 0; i < CASES; i++) {
        fault_case *c = &cases[i];
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        if (failed)
            fail_msg("case %zu: %s", i, c->b->e.text);
        assert_int_equal(c->b->rom.fault_times, 0); // it did happen
        assert_memory_equal(c->b->rom.flash + 0x10000, c->data, sizeof c->data);
        uint8_t expected[16];
        unsigned n;
        EVP_Digest(c->data, sizeof c->data, expected, &n, EVP_md5(), NULL);
        assert_memory_equal(c->md5, expected, 16);
        bench_end(c->b);
    }
}

static void test_write_gives_up_on_checksum_after_three(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    bench_open(b, 0x100000);
    b->rom.fault = FAULT_CHECKSUM;
    b->rom.fault_op = 0x03;
    b->rom.fault_times = 1000;
    uint8_t data[64];
    fill(data, sizeof data, 1);
    assert_int_equal(ds_rom_write(b->r, 0, (ds_view){data, sizeof data}, NULL, NULL, &b->e), DS_DEVICE);
    assert_string_equal(b->e.text, "write flash at 0x0: write a block: the loader answers error 0x07 (checksum wrong)");
    assert_int_equal(b->e.code, 0x0107);
    assert_int_equal(fake_count(&b->rom, 0x03), 3);
    bench_end(b);
}

static void test_secure_download_sends_only_what_is_allowed(void **state)
{
    (void)state;
    static const uint8_t allowed[] = {0x02, 0x03, 0x08, 0x0B, 0x0D, 0x0F, 0x14};
    bench *b = bench_new(DS_CHIP_ESP32C3);
    b->rom.secure_download = true;
    b->rom.flags = 1 | 4;
    b->rom.crypt_cnt = 7;
    bench_open(b, 0x100000);
    const ds_rom_info *i = ds_rom_get_info(b->r);
    assert_true(i->secure_download && i->has_security && i->secure_boot && i->flash_encryption);
    assert_false(i->has_mac || i->has_efuses);
    uint8_t data[9000] = {0}; // would deflate well
    assert_ok(ds_rom_write(b->r, 0x2000, (ds_view){data, sizeof data}, NULL, NULL, &b->e), b->e);
    assert_memory_equal(b->rom.flash + 0x2000, data, sizeof data);
    uint32_t word;
    uint8_t md5[16];
    DS_CLEANUP_BUF ds_buf got = {0};
    assert_int_equal(ds_rom_read_reg(b->r, 0x40001000, &word, &b->e), DS_POLICY);
    assert_int_equal(ds_rom_write_reg(b->r, 0x40001000, 0, &b->e), DS_POLICY);
    assert_int_equal(ds_rom_md5(b->r, 0, 16, md5, &b->e), DS_POLICY);
    assert_int_equal(ds_rom_read(b->r, 0, 16, &got, &b->e), DS_POLICY);
    assert_ok(ds_rom_erase(b->r, 0x2000, 0x1000, &b->e), b->e);
    for (unsigned n = 0; n < b->rom.count; n++)
        assert_non_null(memchr(allowed, b->rom.log[n].op, sizeof allowed));
    bench_end(b);
}

static void test_secure_download_refuses_writes_until_size_is_known(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    b->rom.secure_download = true;
    b->rom.flags = 4;
    bench_open(b, 0);
    uint8_t data[4] = {0};
    assert_int_equal(ds_rom_write(b->r, 0, (ds_view){data, 4}, NULL, NULL, &b->e), DS_INPUT);
    assert_non_null(strstr(b->e.text, "flash size"));
    assert_ok(ds_rom_set_flash_size(b->r, 0x100000, &b->e), b->e);
    assert_ok(ds_rom_write(b->r, 0, (ds_view){data, 4}, NULL, NULL, &b->e), b->e);
    assert_memory_equal(b->rom.flash, data, 4);
    bench_end(b);
}

static void test_set_baud(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32C3);
    bench_open(b, 0x100000);
    assert_ok(ds_rom_set_baud(b->r, 921600, &b->e), b->e);
    assert_memory_equal(fake_find(&b->rom, 0x0F, 0)->head, "\0\x10\x0E\0\0\0\0\0", 8);
    bench_end(b);
}

// Every opening ends by its deadline with a text and a hint that tell what was seen.
static void open_fails(enum fake_fault fault, int within_ms, const char *text, const char *hint)
{
    bench *b = bench_new(DS_CHIP_ESP32C3);
    b->rom.fault = fault;
    b->rom.fault_times = 1 << 30;
    bench_start(b);
    int64_t start_ms = ds_now_ms();
    assert_int_equal(ds_rom_open(b->t, NULL, 0, start_ms + 700, &b->r, &b->e), DS_DEVICE);
    assert_true(ds_now_ms() - start_ms <= within_ms + 20000);
    if (!strstr(b->e.text, text) || !strstr(b->e.hint, hint))
        fail_msg("fault %d: %s (%s)", (int)fault, b->e.text, b->e.hint);
    bench_end(b);
}

static void test_open_failures_are_told_apart(void **state)
{
    (void)state;
    open_fails(FAULT_DROP, 1200, "sync with the ROM loader: no answer", "nothing came at all");
    open_fails(FAULT_BOOT_LOG, 1200, "no answer", "runs firmware instead of the loader");
    open_fails(FAULT_REFUSED, 1200, "no answer", "download mode is closed on this device, for good");
    open_fails(FAULT_ECHO, 1200, "no answer", "RX and TX");
    open_fails(FAULT_LENGTH, 1200, "damaged frames", "no loader's answer");
    open_fails(FAULT_FLOOD, 1500, "no answer", "baud rate");
    open_fails(FAULT_ENDLESS, 1500, "no answer", "");
    open_fails(FAULT_CLOSE, 1200, "the connection was closed", "power");
}

static void test_port_vanishes_midway(void **state)
{
    (void)state;
    bench *b = bench_new(DS_CHIP_ESP32);
    bench_open(b, 0x100000);
    b->rom.fault = FAULT_CLOSE;
    b->rom.fault_op = 0x03;
    b->rom.fault_skip = 2;
    b->rom.fault_times = 1;
    uint8_t data[8000];
    fill(data, sizeof data, 5);
    int64_t start_ms = ds_now_ms();
    assert_int_equal(ds_rom_write(b->r, 0, (ds_view){data, sizeof data}, NULL, NULL, &b->e), DS_DEVICE);
    assert_true(ds_now_ms() - start_ms < 20000);
    assert_non_null(strstr(b->e.text, "write flash at 0x0"));
    assert_non_null(strstr(b->e.text, "closed"));
    assert_true(b->e.hint[0]);
    bench_end(b);
}

static void test_open_reads_efuses_despite_doubled_and_noisy_replies(void **state)
{
    (void)state;
    static const enum fake_fault faults[] = {FAULT_DOUBLE, FAULT_TEXT};
    for (size_t i = 0; i < 2; i++) {
        bench *b = bench_new(DS_CHIP_ESP32C3);
        fill((uint8_t *)b->rom.efuses.w[2], sizeof b->rom.efuses.w[2], 9);
        b->rom.fault = faults[i];
        b->rom.fault_op = 0x0A;
        b->rom.fault_times = 1 << 30;
        bench_open(b, 0x100000);
        assert_memory_equal(&ds_rom_get_info(b->r)->efuses, &b->rom.efuses, sizeof b->rom.efuses);
        bench_end(b);
    }
}

static void test_unknown_flash_and_missing_flash(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *text;
    } cases[] = {{0, "no flash chip"}, {0xFFFFFF, "no flash chip"}, {0x774020, "tells no size"}};
    for (size_t i = 0; i < 3; i++) {
        bench *b = bench_new(DS_CHIP_ESP32C3);
        b->rom.flash_id = cases[i].id;
        bench_start(b);
        assert_int_equal(ds_rom_open(b->t, NULL, 0, ds_now_ms() + 5000, &b->r, &b->e), DS_DEVICE);
        assert_non_null(strstr(b->e.text, cases[i].text));
        bench_end(b);
    }
}

static void test_flash_size_is_read_from_the_chips_id(void **state)
{
    (void)state;
    static const struct {
        uint32_t id, size;
    } cases[] = {{0x124020, 256 << 10}, {0x1C4020, 256 << 20}, {0x204020, 64 << 20},  {0x224020, 256 << 20},
                 {0x324020, 256 << 10}, {0x3A4020, 64 << 20},  {0x00041F, 512 << 10}, {0x00091F, 16 << 20}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench *b = bench_new(DS_CHIP_ESP32C3);
        b->rom.flash_id = cases[i].id;
        bench_open(b, 0);
        assert_int_equal(ds_rom_get_info(b->r)->flash_size, cases[i].size);
        bench_end(b);
    }
}

static void *write_in_thread(void *arg)
{
    bench *b = arg;
    static const uint8_t data[20000] = {1, 2, 3};
    if (ds_rom_open(b->t, NULL, 0, ds_now_ms() + 20000, &b->r, &b->e) ||
        ds_rom_write(b->r, 0x8000, (ds_view){data, sizeof data}, NULL, NULL, &b->e))
        return b;
    return NULL;
}

static void test_two_devices_from_two_threads(void **state)
{
    (void)state;
    bench *b[2] = {bench_new(DS_CHIP_ESP32), bench_new(DS_CHIP_ESP32C3)};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        bench_start(b[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, write_in_thread, b[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        if (failed)
            fail_msg("%s", b[i]->e.text);
        bench_end(b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_c3_finds_all),
        cmocka_unit_test(test_open_esp32_by_magic),
        cmocka_unit_test(test_write_esp32_plain_has_four_words_and_pads),
        cmocka_unit_test(test_write_c3_deflated),
        cmocka_unit_test(test_erase_and_slow_read),
        cmocka_unit_test(test_write_survives_faults),
        cmocka_unit_test(test_write_gives_up_on_checksum_after_three),
        cmocka_unit_test(test_secure_download_sends_only_what_is_allowed),
        cmocka_unit_test(test_secure_download_refuses_writes_until_size_is_known),
        cmocka_unit_test(test_set_baud),
        cmocka_unit_test(test_open_failures_are_told_apart),
        cmocka_unit_test(test_port_vanishes_midway),
        cmocka_unit_test(test_open_reads_efuses_despite_doubled_and_noisy_replies),
        cmocka_unit_test(test_unknown_flash_and_missing_flash),
        cmocka_unit_test(test_flash_size_is_read_from_the_chips_id),
        cmocka_unit_test(test_two_devices_from_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
