// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Images: built bytes against a hand-laid example, parsing of what was built, every truncation and every flipped byte.
#include "src/esp/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void build_app(ds_buf *ret, bool pad)
{
    uint8_t first[256 + 16] = {0}, second[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ds_app_desc d = {.secure_version = 3,
                     .version = "1.2.3",
                     .project = "demo",
                     .time = "12:00:00",
                     .date = "Jan  1 2026",
                     .idf_version = "v5.4"};
    memset(d.elf_sha256, 0xA5, sizeof d.elf_sha256);
    ds_app_desc_write(&d, first);
    ds_image_segment segments[] = {{0x3C000020, {first, sizeof first}}, {0x40380000, {second, sizeof second}}};
    ds_image_spec spec = {.chip_id = DS_CHIP_ESP32C3,
                          .entry = 0x40380000,
                          .spi_mode = 2,
                          .flash_size_code = 2,
                          .flash_freq_code = 15,
                          .min_rev_full = 3,
                          .max_rev_full = 199,
                          .segments = segments,
                          .segment_count = 2,
                          .secure_pad_v2 = pad};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_build(&spec, ret, &e), DS_OK);
}

static void test_image_build_small_gives_expected_bytes(void **state)
{
    (void)state;
    // Header, one segment, padding, checksum (EF ^ 11 ^ 22 ^ 33 ^ 44 = AB), and what sha256sum says of these 48 bytes.
    static const char expected[] = "e901022010084000ee0000000000016400ffff0000000001"
                                   "000040000400000011223344"
                                   "0000000000000000000000ab"
                                   "29d576d78f091b846ae4d8a367cf99fda27b7691e22685393a2e032087aaafac";
    uint8_t want[80], data[4] = {0x11, 0x22, 0x33, 0x44};
    assert_true(ds_unhex(expected, want, sizeof want));
    ds_image_segment segment = {0x400000, {data, 4}};
    ds_image_spec spec = {.chip_id = DS_CHIP_ESP32,
                          .entry = 0x400810,
                          .spi_mode = 2,
                          .flash_size_code = 2,
                          .min_rev_full = 100,
                          .max_rev_full = 65535,
                          .segments = &segment,
                          .segment_count = 1};
    DS_CLEANUP_BUF ds_buf out = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_build(&spec, &out, &e), DS_OK);
    assert_int_equal(out.len, sizeof want);
    assert_memory_equal(out.ptr, want, sizeof want);
}

static void test_image_parse_built_app_gives_its_values_back(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf image = {0};
    build_app(&image, false);
    size_t len = image.len;
    ds_buf_add_fill(&image, 0xFF, 100); // what follows an image in flash
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&image), &info, &e), DS_OK);
    assert_int_equal(info.len, len);
    assert_int_equal(info.chip_id, DS_CHIP_ESP32C3);
    assert_int_equal(info.entry, 0x40380000);
    assert_int_equal(info.spi_mode, 2);
    assert_int_equal(info.flash_size_code, 2);
    assert_int_equal(info.flash_freq_code, 15);
    assert_int_equal(info.min_rev_full, 3);
    assert_int_equal(info.max_rev_full, 199);
    assert_int_equal(info.segment_count, 2);
    assert_int_equal(info.segments[1].load_addr, 0x40380000);
    assert_int_equal(info.segments[1].data.len, 8);
    assert_int_equal(info.segments[1].data.ptr[7], 8);
    assert_true(info.has_hash && info.has_app_desc && !info.has_boot_desc);
    assert_memory_equal(info.sha256, image.ptr + len - 32, 32);
    assert_int_equal(info.app.secure_version, 3);
    assert_string_equal(info.app.version, "1.2.3");
    assert_string_equal(info.app.project, "demo");
    assert_string_equal(info.app.time, "12:00:00");
    assert_string_equal(info.app.date, "Jan  1 2026");
    assert_string_equal(info.app.idf_version, "v5.4");
    assert_int_equal(info.app.elf_sha256[31], 0xA5);
    // Where the format says the description lies.
    assert_memory_equal(image.ptr + 0x20, "\x32\x54\xCD\xAB", 4);
    assert_string_equal((char *)image.ptr + 0x30, "1.2.3");
    assert_string_equal((char *)image.ptr + 0x50, "demo");
    assert_int_equal(image.ptr[0xB0], 0xA5);
}

static void test_image_build_secure_pad_ends_on_page(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf image = {0};
    build_app(&image, true);
    assert_int_equal(image.len % DS_IMAGE_PAGE, 0);
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&image), &info, &e), DS_OK);
    assert_int_equal(info.len, image.len);
    assert_int_equal(info.segment_count, 3);
    assert_int_equal(info.segments[2].load_addr, 0);
}

static void test_image_parse_boot_desc_is_read(void **state)
{
    (void)state;
    uint8_t first[80];
    ds_boot_desc d = {.version = 7, .idf_version = "v5.4-demo", .date_time = "Jan  1 2026 12:00:00"};
    ds_boot_desc_write(&d, first);
    ds_image_segment segment = {0x3FCD0000, {first, sizeof first}};
    ds_image_spec spec = {.chip_id = DS_CHIP_ESP32C3, .segments = &segment, .segment_count = 1, .max_rev_full = 99};
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_OK);
    assert_int_equal(ds_image_parse(ds_buf_view(&image), &info, &e), DS_OK);
    assert_true(info.has_boot_desc && !info.has_app_desc);
    assert_int_equal(info.boot.version, 7);
    assert_string_equal(info.boot.idf_version, "v5.4-demo");
    assert_string_equal(info.boot.date_time, "Jan  1 2026 12:00:00");
}

static void test_image_parse_truncated_anywhere_says_what_is_missing(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf image = {0};
    build_app(&image, false);
    for (size_t len = 0; len < image.len; len++) {
        uint8_t *copy = malloc(len ? len : 1); // its own block, so that reading on is seen
        memcpy(copy, image.ptr, len);
        ds_image_info info;
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_image_parse((ds_view){copy, len}, &info, &e), DS_INPUT);
        assert_non_null(strstr(e.text, "missing"));
        free(copy);
    }
}

static void test_image_parse_flipped_bit_anywhere_is_refused(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf image = {0};
    build_app(&image, false);
    for (size_t i = 0; i < image.len; i++) {
        ds_image_info info;
        image.ptr[i] ^= 0x04;
        assert_int_equal(ds_image_parse(ds_buf_view(&image), &info, NULL), DS_INPUT);
        image.ptr[i] ^= 0x04;
    }
}

// Flash of which nothing behind its end is ever asked for; the farthest byte that was.
typedef struct flash {
    ds_view content;
    size_t farthest;
    bool broken;
} flash;

static bool read_flash(void *ctx, uint32_t addr, void *buf, uint32_t len)
{
    flash *f = ctx;
    ds_view part;
    assert_true(ds_view_slice(f->content, addr, len, &part));
    memcpy(buf, part.ptr, len);
    f->farthest = addr + len > f->farthest ? addr + len : f->farthest;
    return !f->broken;
}

static void test_image_load_reads_image_and_signature_and_no_more(void **state)
{
    (void)state;
    enum { AT = 0x1000, ROOM = 0x10000 };
    DS_CLEANUP_BUF ds_buf image = {0};
    DS_CLEANUP_BUF ds_buf content = {0};
    build_app(&image, false);
    ds_buf_resize(&content, AT, 0x5A);
    ds_buf_add(&content, image.ptr, image.len);
    ds_buf_resize(&content, AT + ROOM, 0x5A);
    flash f = {.content = ds_buf_view(&content)};
    const ds_image_source from = {read_flash, &f};
    ds_err e = DS_ERR_INIT;
    // One sector of image, one where its signature would be; where there is less room, what there is.
    const uint32_t rooms[] = {ROOM, 0x2000, 0x1800, (uint32_t)image.len}, want[] = {0x2000, 0x2000, 0x1800, rooms[3]};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        DS_CLEANUP_BUF ds_buf got = {0};
        ds_image_info info;
        f.farthest = 0;
        assert_int_equal(ds_image_load(&from, AT, rooms[i], &got, &e), DS_OK);
        assert_int_equal(got.len, want[i]);
        assert_int_equal(f.farthest, AT + want[i]);
        assert_memory_equal(got.ptr, content.ptr + AT, got.len);
        assert_int_equal(ds_image_parse(ds_buf_view(&got), &info, &e), DS_OK);
    }
}

static void test_image_load_never_leaves_its_room(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf image = {0};
    build_app(&image, false);
    flash f = {.content = ds_buf_view(&image)};
    const ds_image_source from = {read_flash, &f};
    ds_err e = DS_ERR_INIT;
    for (uint32_t room = 0; room < image.len; room++) {
        DS_CLEANUP_BUF ds_buf got = {0};
        assert_int_not_equal(ds_image_load(&from, 0, room, &got, &e), DS_OK);
        assert_int_equal(got.len, 0);
    }
    // Lengths that lie, and a count of segments that does.
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {{0, 0}, {1, 255}, {28, 0xFF}, {30, 0xFF}, {31, 0xFF}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        DS_CLEANUP_BUF ds_buf got = {0};
        uint8_t was = image.ptr[lies[i].at];
        image.ptr[lies[i].at] = lies[i].value;
        assert_int_equal(ds_image_load(&from, 0, (uint32_t)image.len, &got, &e), DS_INPUT);
        image.ptr[lies[i].at] = was;
    }
    f.broken = true;
    DS_CLEANUP_BUF ds_buf got = {0};
    assert_int_equal(ds_image_load(&from, 0, (uint32_t)image.len, &got, &e), DS_DEVICE);
}

static void test_image_parse_old_header_takes_legacy_revision(void **state)
{
    (void)state;
    uint8_t data[4] = {0};
    ds_image_segment segment = {0x40080000, {data, 4}};
    ds_image_spec spec = {.chip_id = DS_CHIP_ESP32, .segments = &segment, .segment_count = 1, .min_rev_full = 301};
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_OK); // max_rev_full 0: as if the field did not exist
    assert_int_equal(ds_image_parse(ds_buf_view(&image), &info, &e), DS_OK);
    assert_int_equal(info.min_rev_full, 300);
    assert_int_equal(info.max_rev_full, 65535);
}

static void test_image_build_bad_spec_is_refused(void **state)
{
    (void)state;
    uint8_t data[5] = {0};
    ds_image_segment segment = {0x40080000, {data, 5}};
    ds_image_spec spec = {.segments = &segment, .segment_count = 1};
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_INPUT);
    spec.segment_count = 0;
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_INPUT);
    segment.data.len = 4;
    spec.segment_count = 17;
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_INPUT);
    assert_int_equal(image.len, 0);
}

static void test_version_compare_orders_as_numbers(void **state)
{
    (void)state;
    static const char *const ascending[] = {
        "0.9", "1.2.0", "1.2.1", "v1.10", "1.10.1rc1", "1.10.2", "2", "10.0", "99999999999999999999.0"};
    for (size_t i = 0; i < sizeof ascending / sizeof *ascending; i++)
        for (size_t k = 0; k < sizeof ascending / sizeof *ascending; k++) {
            int order = ds_version_compare(ascending[i], ascending[k]);
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
        }
    assert_int_equal(ds_version_compare("1.2", "1.2.0"), 0);
    assert_int_equal(ds_version_compare("v1.2.0-14-gdeadbee-dirty", "1.2"), 0);
    assert_int_equal(ds_version_compare("1.02", "1.2"), 0);
    assert_int_equal(ds_version_compare("", ""), 0);
    assert_true(ds_version_compare("", "1") < 0);
}

static void test_chip_lookups_agree(void **state)
{
    (void)state;
    assert_ptr_equal(ds_chip_by_name("esp32"), ds_chip_by_id(0));
    assert_ptr_equal(ds_chip_by_magic(0x00F01D83), ds_chip_by_id(0));
    assert_ptr_equal(ds_chip_by_magic(0x4361606F), ds_chip_by_id(5));
    assert_ptr_equal(ds_chip_at(1), ds_chip_by_name("esp32c3"));
    assert_null(ds_chip_at(2));
    assert_null(ds_chip_by_name("esp8266"));
    assert_null(ds_chip_by_id(9));
    assert_null(ds_chip_by_magic(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_build_small_gives_expected_bytes),
        cmocka_unit_test(test_image_parse_built_app_gives_its_values_back),
        cmocka_unit_test(test_image_build_secure_pad_ends_on_page),
        cmocka_unit_test(test_image_parse_boot_desc_is_read),
        cmocka_unit_test(test_image_parse_truncated_anywhere_says_what_is_missing),
        cmocka_unit_test(test_image_parse_flipped_bit_anywhere_is_refused),
        cmocka_unit_test(test_image_load_reads_image_and_signature_and_no_more),
        cmocka_unit_test(test_image_load_never_leaves_its_room),
        cmocka_unit_test(test_image_parse_old_header_takes_legacy_revision),
        cmocka_unit_test(test_image_build_bad_spec_is_refused),
        cmocka_unit_test(test_version_compare_orders_as_numbers),
        cmocka_unit_test(test_chip_lookups_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
