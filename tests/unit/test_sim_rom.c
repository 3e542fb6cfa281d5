// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The boot ROM's serial loader: frames, registers, RAM, security. Byte samples are those of public wire traces of
// chips.
#include "sim_rom_bench.h"

static void test_rom_read_reg_answers_as_a_real_esp32(void **state)
{
    (void)state;
    static const uint8_t request[] = {0xC0, 0, 0x0A, 4, 0, 0, 0, 0, 0, 0, 0x10, 0, 0x40, 0xC0};
    static const uint8_t reply[] = {0xC0, 1, 0x0A, 4, 0, 0x83, 0x1D, 0xF0, 0, 0, 0, 0, 0, 0xC0};
    struct bench *b = bench_new("esp32", 300);
    ds_buf_add(&b->in, request, sizeof request);
    serve(b);
    assert_true(b->out.len > sizeof reply);
    assert_memory_equal(b->out.ptr + b->out.len - sizeof reply, reply, sizeof reply);
    assert_non_null(memmem(b->out.ptr, b->out.len, "waiting for download\r\n", 22));
    bench_free(b);
}

static void test_rom_sync_answers_eight_times(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    ask_sync(b);
    ask(b, 0x08, 1, 0x20120707u);
    serve(b);
    assert_int_equal(b->count, 9);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(error_of(b, i, 0x08), 0);
        assert_int_equal(b->replies[i].value, 0x20120707);
        assert_int_equal(b->replies[i].len, 4);
    }
    assert_int_equal(error_of(b, 8, 0x08), 0x05);
    bench_free(b);
}

static void test_rom_value_is_stale(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    ask(b, 0x0A, 1, 0x40001000u);
    ask(b, 0x0D, 2, 0u, 0u);
    serve(b);
    assert_int_equal(b->replies[1].value, 0x00F01D83);
    bench_free(b);
}

static void test_rom_unsupported_commands_answer_eight_errors(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    ask_raw(b, 0x14, NULL, 0, 0);
    ask_raw(b, 0xD0, NULL, 0, 0);
    serve(b);
    assert_int_equal(b->count, 16);
    assert_unsupported(b, 0, 0x14);
    assert_unsupported(b, 8, 0xD0);
    bench_free(b);
}

static void test_rom_security_info_tells_the_efuses(void **state)
{
    (void)state;
    static const uint8_t fresh[20] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 5, 0, 0, 0, 4, 0, 0, 0};
    static const uint8_t locked[20] = {0xC5, 0x04, 0, 0, 7, 9, 4, 0, 0, 0, 11, 12, 5, 0, 0, 0, 4, 0, 0, 0};
    struct bench *b = bench_new("esp32c3", 4);
    ask_raw(b, 0x14, NULL, 0, 0);
    serve(b);
    assert_int_equal(b->replies[0].len, 24);
    assert_memory_equal(b->replies[0].data, fresh, 20);
    burn(b, "SECURE_BOOT_EN", 1);
    burn(b, "ENABLE_SECURITY_DOWNLOAD", 1);
    burn(b, "SOFT_DIS_JTAG", 7);
    burn(b, "DIS_PAD_JTAG", 1);
    burn(b, "DIS_DOWNLOAD_ICACHE", 1);
    burn(b, "SPI_BOOT_CRYPT_CNT", 7);
    burn(b, "KEY_PURPOSE_0", 9);
    burn(b, "KEY_PURPOSE_1", 4);
    burn(b, "KEY_PURPOSE_5", 11);
    ask_raw(b, 0x14, NULL, 0, 0);
    serve(b);
    assert_memory_equal(b->replies[0].data, locked, 20);
    bench_free(b);
}

static void test_rom_secure_download_allows_what_flashes(void **state)
{
    (void)state;
    static const uint8_t allowed[] = {0x02, 0x03, 0x04, 0x08, 0x0B, 0x0D, 0x0F, 0x14};
    for (unsigned op = 0; op < 256; op++) {
        struct bench *b = bench_new("esp32c3", 4);
        burn(b, "ENABLE_SECURITY_DOWNLOAD", 1);
        ask_raw(b, (uint8_t)op, "\0", 1, 0); // malformed: allowed ones answer for themselves
        serve(b);
        if (memchr(allowed, (int)op, sizeof allowed)) {
            assert_int_equal(b->count, 1);
            assert_int_not_equal(error_of(b, 0, (uint8_t)op), 0);
        } else {
            assert_int_equal(b->count, 8);
            assert_int_equal(b->replies[0].data[1], 0x05);
        }
        bench_free(b);
    }
}

static void test_rom_secure_download_begins_with_the_burn(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    uint32_t base = b->c.chip->efuse_base;
    ask(b, 0x09, 4, base + 0x10, 0x20u, 0xFFFFFFFFu, 0u); // BLOCK0 word 4, bit 5
    ask(b, 0x09, 8, base + 0x1CC, 0x5A5Au, 0xFFFFFFFFu, 0u, base + 0x1D4, 2u, 0xFFFFFFFFu, 0u);
    ask(b, 0x0A, 1, base + 0x1D4);
    ask(b, 0x09, 8, base + 0x1CC, 0x5AA5u, 0xFFFFFFFFu, 0u, base + 0x1D4, 1u, 0xFFFFFFFFu, 1000u);
    ask(b, 0x0A, 1, base + 0x1D4);
    serve(b);
    assert_int_equal(b->count, 4 + 8);
    assert_int_equal(error_of(b, 1, 0x09), 0);
    assert_int_equal(error_of(b, 2, 0x0A), 0);
    assert_int_not_equal(error_of(b, 3, 0x09), 0);
    assert_unsupported(b, 4, 0x0A);
    bench_free(b);
}

static unsigned times_said(const struct bench *b, const char *words)
{
    unsigned n = 0;
    const uint8_t *at = b->out.ptr, *end = at + b->out.len;
    while (at && (at = memmem(at, (size_t)(end - at), words, strlen(words))) != NULL) {
        at += strlen(words);
        n++;
    }
    return n;
}

static void test_rom_download_disabled_says_so_and_hears_nothing(void **state)
{
    (void)state;
    static const char *const chip[] = {"esp32", "esp32c3"}, *const bit[] = {"UART_DOWNLOAD_DIS", "DIS_DOWNLOAD_MODE"};
    static const char *const words[] = {"Download mode is disabled. Restart with GPIO0 high.\r\n",
                                        "Download boot modes disabled\r\n"};
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = bench_new(chip[i], i ? 4 : 300);
        burn(b, bit[i], 1);
        ask_sync(b);
        b->idles = 3;
        ds_sim_rom_download(&b->c);
        // An ESP32 waits for its reset; the others reset themselves again and again.
        assert_int_equal(times_said(b, words[i]), i ? 4 : 1);
        assert_int_equal(times_said(b, i ? "rst:0x3 (RTC_SW_SYS_RST)" : "rst:0xc"), i ? 3 : 0);
        assert_int_equal(times_said(b, "waiting for download"), 0);
        assert_int_equal(times_said(b, "\xC0"), 0); // no frame
        bench_free(b);
    }
}

static void test_rom_registers_tell_clock_and_revision(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    ask(b, 0x0A, 1, 0x3FF40014u);
    ask(b, 0x0A, 1, 0x3FF6607Cu);
    ask(b, 0x0A, 1, 0x3FF5F06Cu);
    ask(b, 0x0A, 1, 0x3FF5A010u);
    write_reg(b, 0x3FFB0000, 0x12345678);
    ask(b, 0x09, 4, 0x3FFB0000u, 0xFFFFFFFFu, 0xFF00u, 0u);
    ask(b, 0x0A, 1, 0x3FFB0000u);
    ask(b, 0x0A, 1, 0x3FFB0001u);
    serve(b);
    assert_int_equal(b->replies[0].value, 40000000 / 115200);
    assert_int_equal(b->replies[1].value >> 31, 1);
    // What esptool calculates of these: cycles * 15625 * CLK8M_FREQ / 40 is the crystal.
    assert_int_equal((uint64_t)(b->replies[2].value >> 7) * 15625 * (b->replies[3].value & 0xFF) / 40, 40000000);
    assert_int_equal(b->replies[6].value, 0x1234FF78);
    assert_int_equal(error_of(b, 7, 0x0A), 0x01);
    bench_free(b);
}

static void test_rom_ram_takes_data_but_runs_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ask(b, 0x05, 4, 8u, 1u, 0x1800u, 0x40380000u);
    ask_packet(b, 0x07, 0, data, 8);
    ask_packet(b, 0x07, 1, data, 8);
    ask(b, 0x0A, 1, 0x40380004u);
    ask(b, 0x05, 4, 8u, 1u, 0x1800u, 0x10000000u);
    ask(b, 0x05, 4, 0xFFFFFFFFu, 1u, 0x1800u, 0x40380000u);
    ask(b, 0x06, 2, 1u, 0u);
    ask(b, 0x06, 2, 0u, 0x40380000u);
    serve(b);
    static const uint8_t ops[] = {0x05, 0x07, 0x07, 0x0A, 0x05, 0x05, 0x06, 0x06};
    static const uint8_t errors[] = {0, 0, 0x0F, 0, 0x0F, 0x0F, 0, 0x06};
    assert_int_equal(b->count, sizeof ops);
    for (size_t i = 0; i < sizeof ops; i++)
        assert_int_equal(error_of(b, i, ops[i]), errors[i]);
    assert_int_equal(b->replies[3].value, 0x08070605);
    bench_free(b);
}

// SRAM0 from its start, where bootloaders are loaded: its first 64 KiB are cache only once the cache is on.
static void test_rom_ram_of_an_esp32_holds_a_bootloader(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    static const uint32_t starts[] = {0x40070000, 0x40078000, 0x3FFF0030, 0x400BFFF8, 0x4006FFF8, 0x400BFFFC};
    static const uint8_t errors[] = {0, 0, 0, 0, 0x0F, 0x0F};
    for (size_t i = 0; i < sizeof errors; i++)
        ask(b, 0x05, 4, 8u, 1u, 0x1800u, starts[i]);
    serve(b);
    assert_int_equal(b->count, sizeof errors);
    for (size_t i = 0; i < sizeof errors; i++)
        assert_int_equal(error_of(b, i, 0x05), errors[i]);
    bench_free(b);
}

static void test_rom_baud_changes_after_the_reply(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    ask(b, 0x0F, 2, 0u, 0u);
    ask(b, 0x0F, 2, 921600u, 0u);
    serve(b);
    assert_int_equal(error_of(b, 0, 0x0F), 0x01);
    assert_int_equal(error_of(b, 1, 0x0F), 0);
    assert_int_equal(b->baud, 921600);
    assert_int_equal(b->out_at_baud, b->out.len);
    bench_free(b);
}

// How a CPU run with this script ends.
static int run_exit(struct bench *b)
{
    pid_t pid = fork();
    if (pid == 0) {
        ds_sim_rom_download(&b->c);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    ds_buf_clear(&b->in);
    return WEXITSTATUS(status);
}

static void test_rom_flash_end_and_watchdog_reset(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    ask(b, 0x02, 5, 0u, 0u, 0u, 0u, 0u);
    ask(b, 0x04, 1, 0u);
    assert_int_equal(run_exit(b), DS_SIM_EXIT_RESET);
    ask(b, 0x02, 5, 0u, 0u, 0u, 0u, 0u);
    ask(b, 0x04, 1, 1u);
    assert_int_equal(run_exit(b), 0);
    // Locked, the watchdog cannot be armed.
    b->idles = 3;
    write_reg(b, 0x60008090, 1u << 31 | 5u << 28 | 1u << 8 | 2);
    assert_int_equal(run_exit(b), 0);
    write_reg(b, 0x600080A8, 0x50D83AA1);
    write_reg(b, 0x60008094, 2000);
    write_reg(b, 0x60008090, 1u << 31 | 5u << 28 | 1u << 8 | 2);
    write_reg(b, 0x600080A8, 0);
    assert_int_equal(run_exit(b), DS_SIM_EXIT_RESET);
    bench_free(b);
}

static void test_rom_oversized_and_broken_frames_are_skipped(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    ds_buf_add_u8(&b->in, 0xC0);
    ds_buf_add_fill(&b->in, 0x00, 100000);
    ds_buf_add(&b->in, "\xC0\xC0\x00\x0A\xDB\x01\xC0", 7);                  // bad escape
    ds_buf_add(&b->in, "\xC0\x00\x0A\xC0", 4);                              // shorter than a header
    ds_buf_add(&b->in, "\xC0\x01\x0A\x04\0\0\0\0\0\0\x10\0\x40\xC0", 14);   // a reply, not a request
    ds_buf_add(&b->in, "\xC0\x00\x0A\xFF\xFF\0\0\0\0\0\x10\0\x40\xC0", 14); // size does not fit
    ask(b, 0x0A, 1, 0x40001000u);
    serve(b);
    assert_int_equal(b->count, 2);
    assert_int_equal(error_of(b, 0, 0x0A), 0x05);
    assert_int_equal(b->replies[1].value, 0x1B31506F);
    bench_free(b);
}

// Every command with every kind of length and number in it; sanitizers are the judge.
static void test_rom_random_commands_do_no_harm(void **state)
{
    (void)state;
    uint64_t rng = 20240817;
    for (unsigned round = 0; round < 40; round++) {
        struct bench *b = bench_new(round % 2 ? "esp32" : "esp32c3", 300);
        ask_attach(b, FLASH_SIZE);
        for (unsigned i = 0; i < 200; i++) {
            static const uint32_t edge[] = {0,      1,        4,        64,         0x400,     0x4000,
                                            0x1000, 0x3FF000, 0x400000, 0xFFFFFFFF, 0x3FFAE000};
            uint8_t op = (uint8_t)(ds_sim_random(&rng) % 0x16), data[96];
            fill(data, sizeof data, ds_sim_random(&rng));
            for (unsigned w = 0; w < 6; w++)
                if (ds_sim_random(&rng) % 3)
                    ds_put_le32(data + 4 * w, edge[ds_sim_random(&rng) % (sizeof edge / sizeof *edge)]);
            size_t len = ds_sim_random(&rng) % 2 ? 4 * (ds_sim_random(&rng) % 7) : ds_sim_random(&rng) % sizeof data;
            // FLASH_END and the watchdog would end the run.
            if (op == 0x04 || op == 0x12)
                continue;
            ask_raw(b, op, data, len, len > 16 ? ds_xor8(DS_XOR8_SEED, data + 16, len - 16) : 0);
            if (len > 16) {
                ds_put_le32(data, (uint32_t)(len - 16));
                ask_raw(b, op, data, len, ds_xor8(DS_XOR8_SEED, data + 16, len - 16));
            }
        }
        ds_sim_rom_download(&b->c);
        assert_true(b->out.len > 100);
        bench_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rom_read_reg_answers_as_a_real_esp32),
        cmocka_unit_test(test_rom_sync_answers_eight_times),
        cmocka_unit_test(test_rom_value_is_stale),
        cmocka_unit_test(test_rom_unsupported_commands_answer_eight_errors),
        cmocka_unit_test(test_rom_security_info_tells_the_efuses),
        cmocka_unit_test(test_rom_secure_download_allows_what_flashes),
        cmocka_unit_test(test_rom_secure_download_begins_with_the_burn),
        cmocka_unit_test(test_rom_download_disabled_says_so_and_hears_nothing),
        cmocka_unit_test(test_rom_registers_tell_clock_and_revision),
        cmocka_unit_test(test_rom_ram_takes_data_but_runs_nothing),
        cmocka_unit_test(test_rom_ram_of_an_esp32_holds_a_bootloader),
        cmocka_unit_test(test_rom_baud_changes_after_the_reply),
        cmocka_unit_test(test_rom_flash_end_and_watchdog_reset),
        cmocka_unit_test(test_rom_oversized_and_broken_frames_are_skipped),
        cmocka_unit_test(test_rom_random_commands_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
