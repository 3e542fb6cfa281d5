// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The boot ROM's serial loader on flash: plain, deflated and encrypted writes, digests, reads, the SPI controller.
#include "sim_rom_bench.h"

#include <zlib.h>

#define C3_SPI 0x60002000u
#define ESP32_SPI 0x3FF42000u

static void test_rom_flash_write_digest_and_read(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    static uint8_t data[0x800], flash[0x1000];
    fill(data, sizeof data, 3);
    assert_true(ds_sim_flash_program(b->c.flash, 0x10FF0, (const uint8_t[16]){0}, 16));
    ask_attach(b, FLASH_SIZE);
    ask(b, 0x02, 4, 0x800u, 2u, 0x400u, 0x10000u);
    ask_packet(b, 0x03, 0, data, 0x400);
    ask_packet(b, 0x03, 1, data + 0x400, 0x400);
    ask_packet(b, 0x03, 1, data + 0x400, 0x400); // its reply was lost
    ask(b, 0x13, 4, 0x10000u, 3u, 0u, 0u);
    ask(b, 0x0E, 2, 0x10001u, 64u);
    ask(b, 0x0E, 2, 0x10001u, 65u);
    assert_true(ds_sim_flash_program(b->c.flash, 0x20000, "abc", 3));
    ask(b, 0x13, 4, 0x20000u, 3u, 0u, 0u);
    serve(b);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(error_of(b, i, (const uint8_t[]){0x0D, 0x0B, 0x02, 0x03, 0x03, 0x03}[i]), 0);
    assert_true(ds_sim_flash_read(b->c.flash, 0x10000, flash, sizeof flash));
    assert_memory_equal(flash, data, sizeof data);
    for (size_t i = sizeof data; i < sizeof flash; i++)
        assert_int_equal(flash[i], 0xFF); // erased up front
    assert_int_equal(b->replies[6].len, 36);
    assert_int_equal(error_of(b, 7, 0x0E), 0);
    assert_int_equal(b->replies[7].len, 68);
    assert_memory_equal(b->replies[7].data, data + 1, 64);
    assert_int_equal(error_of(b, 8, 0x0E), 0x0A);
    // RFC 1321: MD5("abc").
    assert_memory_equal(b->replies[9].data, "900150983cd24fb0d6963f7d28e17f72", 32);
    bench_free(b);
}

static void test_rom_flash_write_bad_packets_are_refused(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    uint8_t data[64] = {1, 2, 3}, packet[80] = {64}, back[4];
    memcpy(packet + 16, data, 64);
    ask_packet(b, 0x03, 0, data, 64); // no begin
    ask_attach(b, FLASH_SIZE);
    ask(b, 0x02, 5, 64u, 1u, 64u, 0x1000u, 0u);
    ask_raw(b, 0x03, packet, 80, 0x12); // checksum
    ask_raw(b, 0x03, packet, 79, 0);    // shorter than it says
    ask_packet(b, 0x03, 1, data, 64);   // beyond the last
    ask_packet(b, 0x03, 0xFFFFFFFF, data, 64);
    ask_packet(b, 0x11, 0, data, 64);           // not a deflated write
    ask(b, 0x02, 4, 64u, 1u, 0x4001u, 0x1000u); // packets larger than the ROM's buffer
    ask(b, 0x02, 3, 64u, 1u, 64u);
    serve(b);
    static const uint8_t ops[] = {0x03, 0x0D, 0x0B, 0x02, 0x03, 0x03, 0x03, 0x03, 0x11, 0x02, 0x02};
    static const uint8_t errors[] = {0x01, 0, 0, 0, 0x07, 0x05, 0x01, 0x01, 0x01, 0x01, 0x05};
    assert_int_equal(b->count, sizeof ops);
    for (size_t i = 0; i < sizeof ops; i++)
        assert_int_equal(error_of(b, i, ops[i]), errors[i]);
    assert_true(ds_sim_flash_read(b->c.flash, 0x1000, back, 4));
    assert_int_equal(ds_le32(back), 0xFFFFFFFF);
    bench_free(b);
}

static void test_rom_flash_needs_attach_and_its_size(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    ask(b, 0x02, 5, 16u, 1u, 16u, 0u, 0u); // not attached
    ask(b, 0x02, 5, 0u, 0u, 0u, 0u, 0u);   // nothing to do: the "run" idiom
    ask(b, 0x0D, 2, 0u, 0u);
    ask(b, 0x02, 5, 16u, 1u, 16u, 0x300000u, 0u); // beyond the 2 MiB a ROM believes in
    ask(b, 0x0E, 2, 0x200000u, 16u);
    ask(b, 0x13, 4, 0u, 0x200001u, 0u, 0u);
    ask_attach(b, FLASH_SIZE);
    ask(b, 0x02, 5, 16u, 1u, 16u, 0x300000u, 0u);
    ask(b, 0x02, 5, 0xFFFFFFFFu, 1u, 16u, 0x300000u, 0u);
    ask_attach(b, 16u << 20); // more than there is: what is there can be used
    ask(b, 0x0E, 2, 0u, 16u);
    ask(b, 0x02, 5, 0x1000u, 0u, 0x400u, FLASH_SIZE - 0x1000u, 0u);
    ask(b, 0x02, 5, 0x1000u, 0u, 0x400u, FLASH_SIZE, 0u);
    ask(b, 0x0E, 2, FLASH_SIZE - 16u, 32u);
    ask(b, 0x13, 4, 0u, 16u << 20, 0u, 0u);
    serve(b);
    static const uint8_t ops[] = {0x02, 0x02, 0x0D, 0x02, 0x0E, 0x13, 0x0D, 0x0B, 0x02,
                                  0x02, 0x0D, 0x0B, 0x0E, 0x02, 0x02, 0x0E, 0x13};
    static const uint8_t errors[] = {0x06, 0, 0, 0x06, 0x09, 0x09, 0, 0, 0, 0x06, 0, 0, 0, 0, 0x06, 0x09, 0x09};
    assert_int_equal(b->count, sizeof ops);
    for (size_t i = 0; i < sizeof ops; i++)
        assert_int_equal(error_of(b, i, ops[i]), errors[i]);
    bench_free(b);
}

// Compress len bytes; returns how many.
static size_t deflated(const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    uLongf n = cap;
    assert_int_equal(compress2(out, &n, in, len, 9), Z_OK);
    return n;
}

static void ask_deflated(struct bench *b, const uint8_t *z, size_t n, uint32_t size, uint32_t addr)
{
    uint32_t packets = (uint32_t)((n + 0x3FF) / 0x400);
    ask(b, 0x10, 4, size, packets, 0x400u, addr);
    for (uint32_t i = 0; i < packets; i++) {
        size_t len = i + 1 < packets ? 0x400 : n - i * 0x400u;
        ask_packet(b, 0x11, i, z + i * 0x400u, len);
        if (i == 1)
            ask_packet(b, 0x11, i, z + i * 0x400u, len); // its reply was lost
    }
}

static void test_rom_deflated_write_is_inflated(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32", 300);
    static uint8_t data[50000], z[60000], flash[50000];
    fill(data + 20000, 5000, 8);
    size_t n = deflated(data, sizeof data, z, sizeof z);
    ask_attach(b, FLASH_SIZE);
    ask_deflated(b, z, n, 0xC400, 0x8000);
    serve(b);
    assert_true(b->count >= 8);
    for (size_t i = 2; i < b->count; i++)
        assert_int_equal(error_of(b, i, i == 2 ? 0x10 : 0x11), 0);
    assert_true(ds_sim_flash_read(b->c.flash, 0x8000, flash, sizeof flash));
    assert_memory_equal(flash, data, sizeof data);
    bench_free(b);
}

static void test_rom_deflated_write_errors_are_told(void **state)
{
    (void)state;
    struct bench *b = bench_new("esp32c3", 4);
    static uint8_t data[600], z[1024];
    fill(data, sizeof data, 4);
    size_t n = deflated(data, sizeof data, z, sizeof z);
    assert_true(n < 0x400);
    ask_attach(b, FLASH_SIZE);
    z[n - 1] ^= 1;
    ask_deflated(b, z, n, 600, 0x1000); // Adler-32
    z[n - 1] ^= 1;
    ask_packet(b, 0x11, 0, z, n); // the write is over
    z[0] ^= 0xFF;
    ask_deflated(b, z, n, 600, 0x1000); // not zlib
    z[0] ^= 0xFF;
    ask_deflated(b, z, n, 599, 0x1000); // more than was said
    ask(b, 0x10, 4, 600u, 1u, 0x400u, 0x1000u);
    ask_packet(b, 0x11, 1, z, n); // out of order
    ask(b, 0x12, 1, 0u);          // not finished
    serve(b);
    static const uint8_t ops[] = {0x10, 0x11, 0x11, 0x10, 0x11, 0x10, 0x11, 0x10, 0x11, 0x12};
    static const uint8_t errors[] = {0, 0x0C, 0x01, 0, 0x0B, 0, 0x0D, 0, 0x0D, 0x0D};
    assert_int_equal(b->count, 2 + sizeof ops);
    for (size_t i = 0; i < sizeof ops; i++)
        assert_int_equal(error_of(b, 2 + i, ops[i]), errors[i]);
    bench_free(b);
}

static void test_rom_encrypted_write_uses_the_key(void **state)
{
    (void)state;
    // espsecure: XTS-128, key 00..1F, address 0x10000, plaintext 00..7F: first and last 16 bytes.
    static const uint8_t first[16] = {0x2C, 0x2A, 0x28, 0x8E, 0x9E, 0x96, 0x64, 0x75,
                                      0x87, 0x88, 0x30, 0x12, 0xB8, 0x1D, 0x17, 0x39};
    static const uint8_t last[16] = {0x23, 0xCD, 0x8D, 0xE5, 0xF7, 0x2A, 0xFC, 0xDA,
                                     0x58, 0xEE, 0x8F, 0xED, 0x7A, 0xDD, 0x2A, 0xE0};
    struct bench *b = bench_new("esp32c3", 4);
    ds_efuse_words bits = {0};
    uint8_t key[32], plain[128], got[128];
    for (unsigned i = 0; i < 128; i++)
        plain[i] = (uint8_t)i;
    for (unsigned i = 0; i < 32; i++)
        key[i] = (uint8_t)(31 - i);
    ds_efuse_set_block(&bits, 4, key);
    assert_true(ds_sim_efuse_burn(b->c.efuse, 4, &bits));
    burn(b, "KEY_PURPOSE_0", 4);
    burn(b, "SPI_BOOT_CRYPT_CNT", 1);
    ask_attach(b, FLASH_SIZE);
    ask(b, 0x02, 5, 128u, 1u, 128u, 0x10000u, 1u);
    ask_packet(b, 0x03, 0, plain, 128);
    serve(b);
    assert_int_equal(error_of(b, 2, 0x02), 0);
    assert_int_equal(error_of(b, 3, 0x03), 0);
    assert_true(ds_sim_flash_read(b->c.flash, 0x10000, got, 128));
    assert_memory_equal(got, first, 16);
    assert_memory_equal(got + 112, last, 16);
    // Release mode: refused, and nothing is erased.
    burn(b, "DIS_DOWNLOAD_MANUAL_ENCRYPT", 1);
    ask_attach(b, FLASH_SIZE);
    ask(b, 0x02, 5, 128u, 1u, 128u, 0x10000u, 1u);
    serve(b);
    assert_int_equal(error_of(b, 2, 0x02), 0x64);
    assert_true(ds_sim_flash_read(b->c.flash, 0x10000, got, 128));
    assert_memory_equal(got, first, 16);
    bench_free(b);
}

static void test_rom_spi_controller_reads_the_flash_id(void **state)
{
    (void)state;
    static const struct {
        const char *chip;
        uint32_t base, usr, usr2, miso, w0;
    } k[] = {{"esp32", ESP32_SPI, 0x1C, 0x24, 0x2C, 0x80}, {"esp32c3", C3_SPI, 0x18, 0x20, 0x28, 0x58}};
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = bench_new(k[i].chip, i ? 4 : 300);
        write_reg(b, k[i].base + k[i].miso, 23);
        write_reg(b, k[i].base + k[i].usr, 1u << 31 | 1u << 28);
        write_reg(b, k[i].base + k[i].usr2, 7u << 28 | 0x9F);
        write_reg(b, k[i].base + k[i].w0, 0);
        write_reg(b, k[i].base, 1u << 18);
        ask(b, 0x0A, 1, k[i].base);
        ask(b, 0x0A, 1, k[i].base + k[i].w0);
        serve(b);
        assert_int_equal(b->replies[5].value & 1u << 18, 0);
        assert_int_equal(b->replies[6].value, 0x1640EF);
        bench_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rom_flash_write_digest_and_read),
        cmocka_unit_test(test_rom_flash_write_bad_packets_are_refused),
        cmocka_unit_test(test_rom_flash_needs_attach_and_its_size),
        cmocka_unit_test(test_rom_deflated_write_is_inflated),
        cmocka_unit_test(test_rom_deflated_write_errors_are_told),
        cmocka_unit_test(test_rom_encrypted_write_uses_the_key),
        cmocka_unit_test(test_rom_spi_controller_reads_the_flash_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
