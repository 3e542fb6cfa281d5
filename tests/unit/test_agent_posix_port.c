// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The port over a fake chip: flash in memory with NOR semantics and flash encryption, eFuses as words that only gain
// bits.
#include "agent/port/posix/posix.h"
#include "src/esp/flashenc.h"
#include "src/esp/image.h"
#include "src/esp/otadata.h"
#include "src/esp/sbv2.h"

#include <openssl/ec.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLASH_SIZE 0x100000u
#define TABLE_OFFSET 0x10000u
#define KEYS_AT 0x11000u
#define OTADATA_AT 0x12000u
#define STAMP_AT 0x14000u
#define NVS_AT 0x18000u
#define OTA0_AT 0x20000u
#define OTA1_AT 0x60000u
#define SLOT_SIZE 0x40000u

#define assert_code(status, code) assert_int_equal(DS_STATUS_CODE(status), DEVSTAMP__STATUS_CODE__CODE_##code)

typedef struct fake {
    uint8_t flash[FLASH_SIZE];
    uint8_t flash_key[32];
    ds_efuse_words efuses;
    unsigned steps, cut; // flash operations; during which one power goes, 0 = never
    bool off;
    char console[512];
    size_t console_len;
    ds_ptable table;
    ds_hal hal;
    ds_posix port;
} fake;

static bool encrypts(const fake *f)
{
    ds_efuse_security s;
    ds_efuse_security_get(f->hal.chip, &f->efuses, &s);
    return s.flash_encryption;
}

static bool fake_read(void *ctx, uint32_t addr, void *buf, uint32_t len, bool crypt)
{
    fake *f = ctx;
    if (f->off || addr > FLASH_SIZE || len > FLASH_SIZE - addr)
        return false;
    if (!crypt || !encrypts(f)) {
        memcpy(buf, f->flash + addr, len);
        return true;
    }
    uint32_t from = addr / 32 * 32, to = (addr + len + 31) / 32 * 32;
    uint8_t *clear = ds_alloc(to - from);
    enum ds_class c = ds_flashenc_decrypt(f->hal.chip->cipher, (ds_view){f->flash_key, 32}, 0xF, from, f->flash + from,
                                          clear, to - from, NULL);
    memcpy(buf, clear + (addr - from), len);
    free(clear);
    return c == DS_OK;
}

static bool fake_program(void *ctx, uint32_t addr, const void *data, uint32_t len, bool crypt)
{
    fake *f = ctx;
    if (f->off || addr > FLASH_SIZE || len > FLASH_SIZE - addr || addr % 4 || len % 4)
        return false;
    uint8_t *bytes = ds_alloc(len);
    memcpy(bytes, data, len);
    bool ok = true;
    if (crypt && encrypts(f)) {
        assert_true(addr % f->hal.chip->encrypt_align == 0 && len % f->hal.chip->encrypt_align == 0);
        ok = ds_flashenc_encrypt(f->hal.chip->cipher, (ds_view){f->flash_key, 32}, 0xF, addr, bytes, bytes, len,
                                 NULL) == DS_OK;
    }
    for (uint32_t i = 0; ok && i < len; i += 4) {
        f->off = ++f->steps == f->cut;
        for (uint32_t k = 0; k < 4 && !f->off; k++)
            f->flash[addr + i + k] &= bytes[i + k];
        ok = !f->off;
    }
    free(bytes);
    return ok;
}

static bool fake_erase(void *ctx, uint32_t addr, uint32_t len)
{
    fake *f = ctx;
    if (f->off || addr % 4096 || len % 4096 || addr > FLASH_SIZE || len > FLASH_SIZE - addr)
        return false;
    f->off = ++f->steps == f->cut;
    memset(f->flash + addr, 0xFF, f->off ? len / 2 : len);
    return !f->off;
}

static void fake_efuses(void *ctx, ds_efuse_words *ret)
{
    *ret = ((fake *)ctx)->efuses;
}

static bool fake_burn(void *ctx, unsigned block, const ds_efuse_words *bits)
{
    fake *f = ctx;
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        f->efuses.w[block][i] |= bits->w[block][i];
    return true;
}

static int fake_console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    (void)ctx, (void)buf, (void)cap, (void)timeout_ms;
    return -1;
}

static void fake_console_write(void *ctx, const uint8_t *buf, size_t len)
{
    fake *f = ctx;
    assert_true(len < sizeof f->console - f->console_len);
    memcpy(f->console + f->console_len, buf, len);
    f->console_len += len;
}

static void add_part(fake *f, uint8_t type, uint8_t subtype, uint32_t offset, uint32_t size, const char *label)
{
    ds_part *p = &f->table.parts[f->table.count++];
    *p = (ds_part){.type = type, .subtype = subtype, .offset = offset, .size = size};
    memcpy(p->label, label, strlen(label) + 1);
}

static fake *fake_new(const char *chip)
{
    static const uint8_t mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
    fake *f = ds_alloc(sizeof *f);
    memset(f->flash, 0xFF, sizeof f->flash);
    for (unsigned i = 0; i < sizeof f->flash_key; i++)
        f->flash_key[i] = (uint8_t)(0x5C + i);
    add_part(f, DS_PART_DATA, DS_PART_DATA_NVS_KEYS, KEYS_AT, 0x1000, "nvs_keys");
    add_part(f, DS_PART_DATA, DS_PART_DATA_OTA, OTADATA_AT, 0x2000, "otadata");
    add_part(f, DS_PART_DATA, DS_PART_DATA_NVS, STAMP_AT, 0x4000, "stamp");
    add_part(f, DS_PART_DATA, DS_PART_DATA_NVS, NVS_AT, 0x6000, "nvs");
    add_part(f, DS_PART_APP, DS_PART_APP_OTA0, OTA0_AT, SLOT_SIZE, "ota_0");
    add_part(f, DS_PART_APP, DS_PART_APP_OTA0 + 1, OTA1_AT, SLOT_SIZE, "ota_1");
    f->hal = (ds_hal){.ctx = f,
                      .chip = ds_chip_by_name(chip),
                      .table = &f->table,
                      .running = &f->table.parts[5],
                      .flash_size = FLASH_SIZE,
                      .table_offset = TABLE_OFFSET,
                      .project = "devstamp-mfg",
                      .version = "2.1.0",
                      .flash_read = fake_read,
                      .flash_program = fake_program,
                      .flash_erase = fake_erase,
                      .efuses = fake_efuses,
                      .efuse_burn = fake_burn,
                      .console_read = fake_console_read,
                      .console_write = fake_console_write};
    ds_efuse_set_mac(f->hal.chip, &f->efuses, mac);
    ds_efuse_set_revision(f->hal.chip, &f->efuses, f->hal.chip->id == DS_CHIP_ESP32 ? 300 : 4);
    ds_posix_init(&f->port, &f->hal);
    return f;
}

static void fake_free(fake *f)
{
    ds_posix_deinit(&f->port);
    free(f);
}

// As after a reset: nothing remembered but flash and eFuses.
static void restart(fake *f)
{
    ds_posix_deinit(&f->port);
    f->off = false;
    f->steps = f->cut = 0;
    ds_posix_init(&f->port, &f->hal);
}

static void encrypt_flash(fake *f)
{
    bool esp32 = f->hal.chip->id == DS_CHIP_ESP32;
    assert_true(
        ds_efuse_set(f->hal.chip, &f->efuses, esp32 ? "FLASH_CRYPT_CNT" : "SPI_BOOT_CRYPT_CNT", esp32 ? 0x7F : 7));
    restart(f);
}

static ds_status set_text(fake *f, enum ds_area area, const char *key, const char *text)
{
    const ds_port *port = &f->port.port;
    return port->value_set(port->ctx, area, "stamp", key, DS_VALUE_STRING, text, strlen(text));
}

static ds_status get_text(fake *f, enum ds_area area, const char *key, char *ret, size_t cap)
{
    const ds_port *port = &f->port.port;
    size_t len = 0;
    ds_status s = port->value_get(port->ctx, area, "stamp", key, ret, cap - 1, &len);
    ret[s == DS_STATUS_OK ? len : 0] = '\0';
    return s;
}

static bool flash_holds(const fake *f, const void *needle, size_t len)
{
    return memmem(f->flash, FLASH_SIZE, needle, len) != NULL;
}

static void test_value_set_plain_is_read_back_after_restart(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    const ds_port *port = &f->port.port;
    char text[32];
    uint8_t number[8];
    size_t len;
    assert_true(port->area_is_blank(port->ctx, DS_AREA_PLAIN));
    assert_code(get_text(f, DS_AREA_PLAIN, "serial", text, sizeof text), NOT_FOUND);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "serial", "SN0042"), DS_STATUS_OK);
    assert_int_equal(port->value_set(port->ctx, DS_AREA_PLAIN, "app", "n", DS_VALUE_I32, "\xfe\xff\xff\xff", 4),
                     DS_STATUS_OK);
    assert_code(port->value_set(port->ctx, DS_AREA_PLAIN, "app", "n", DS_VALUE_U32, "abc", 3), BAD_REQUEST);
    assert_code(port->value_set(port->ctx, DS_AREA_PLAIN, "app", "", DS_VALUE_U8, "a", 1), BAD_REQUEST);
    restart(f);
    assert_int_equal(get_text(f, DS_AREA_PLAIN, "serial", text, sizeof text), DS_STATUS_OK);
    assert_string_equal(text, "SN0042");
    assert_int_equal(port->value_get(port->ctx, DS_AREA_PLAIN, "app", "n", number, sizeof number, &len), DS_STATUS_OK);
    assert_int_equal(len, 4);
    assert_memory_equal(number, "\xfe\xff\xff\xff", 4);
    assert_code(port->value_get(port->ctx, DS_AREA_PLAIN, "stamp", "serial", number, 3, &len), NO_SPACE);
    assert_int_equal(len, 6);
    assert_false(port->area_is_blank(port->ctx, DS_AREA_PLAIN));
    assert_int_equal(port->area_free(port->ctx, DS_AREA_PLAIN), (3 * 126 - 5) * 32);
    assert_int_equal(port->area_erase(port->ctx, DS_AREA_PLAIN), DS_STATUS_OK);
    assert_true(port->area_is_blank(port->ctx, DS_AREA_PLAIN));
    assert_code(get_text(f, DS_AREA_PLAIN, "serial", text, sizeof text), NOT_FOUND);
    fake_free(f);
}

static ds_status count_value(void *arg, const char *name_space, const char *key, enum ds_value_type type,
                             const uint8_t *data, size_t len)
{
    unsigned *count = arg;
    assert_string_equal(name_space, "stamp");
    if (!strcmp(key, "one"))
        assert_true(type == DS_VALUE_STRING && len == 1 && data[0] == '1');
    ++*count;
    return *count == 2 ? DS_STATUS(PORT, EXISTS) : DS_STATUS_OK;
}

static void test_value_each_stops_where_the_callback_says(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    const ds_port *port = &f->port.port;
    unsigned count = 0;
    assert_int_equal(port->value_each(port->ctx, DS_AREA_PLAIN, count_value, &count), DS_STATUS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "one", "1"), DS_STATUS_OK);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "two", "2"), DS_STATUS_OK);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "three", "3"), DS_STATUS_OK);
    assert_code(port->value_each(port->ctx, DS_AREA_PLAIN, count_value, &count), EXISTS);
    assert_int_equal(count, 2);
    fake_free(f);
}

static void test_encrypted_area_without_flash_encryption_makes_no_keys(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    char text[32];
    assert_code(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), NOT_FOUND);
    assert_code(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0042"), NOT_ALLOWED);
    assert_int_equal(f->steps, 0);
    fake_free(f);
}

// What the partition holds as someone with the flash key sees it.
static void expect_encrypted_value(fake *f, const char *key, const char *want)
{
    uint8_t sector[4096];
    bool present = false;
    ds_nvs_keys keys;
    ds_nvs_items items = {0};
    ds_err e = DS_ERR_INIT;
    assert_true(fake_read(f, KEYS_AT, sector, sizeof sector, true));
    assert_int_equal(ds_nvs_keys_read(sector, &present, &keys, &e), DS_OK);
    assert_true(present);
    assert_false(flash_holds(f, keys.bytes, 16));
    assert_int_equal(ds_nvs_parse((ds_view){f->flash + NVS_AT, 0x6000}, &keys, &items, &e), DS_OK);
    const ds_nvs_item *item = ds_nvs_find(&items, "stamp", key);
    assert_non_null(item);
    assert_int_equal(item->data.len, strlen(want));
    assert_memory_equal(item->data.ptr, want, strlen(want));
    ds_nvs_items_free(&items);
}

static void test_encrypted_area_keys_and_values_are_ciphertext(void **state)
{
    (void)state;
    static const char *const chips[] = {"esp32", "esp32c3"};
    for (size_t i = 0; i < 2; i++) {
        fake *f = fake_new(chips[i]);
        char text[32];
        encrypt_flash(f);
        assert_code(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), NOT_FOUND);
        assert_int_equal(f->steps, 0);
        assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0042-secret"), DS_STATUS_OK);
        restart(f);
        assert_int_equal(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), DS_STATUS_OK);
        assert_string_equal(text, "SN0042-secret");
        assert_false(flash_holds(f, "SN0042", 6));
        assert_false(flash_holds(f, "serial", 6));
        expect_encrypted_value(f, "serial", "SN0042-secret");
        fake_free(f);
    }
}

static void test_encrypted_area_power_cut_at_first_use_is_repeatable(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    encrypt_flash(f);
    // In-place encryption leaves the ciphertext of blank flash there.
    uint8_t blank[4096];
    memset(blank, 0xFF, sizeof blank);
    assert_int_equal(ds_flashenc_encrypt(f->hal.chip->cipher, (ds_view){f->flash_key, 32}, 0xF, KEYS_AT, blank,
                                         f->flash + KEYS_AT, sizeof blank, NULL),
                     DS_OK);
    fake *start = ds_alloc(sizeof *start);
    *start = *f;
    bool done = false;
    for (unsigned cut = 1; !done; cut++) {
        memcpy(f->flash, start->flash, sizeof f->flash);
        restart(f);
        f->cut = cut;
        done = set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0042") == DS_STATUS_OK;
        restart(f);
        assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0042"), DS_STATUS_OK);
        expect_encrypted_value(f, "serial", "SN0042");
        assert_true(cut < 200);
    }
    free(start);
    fake_free(f);
}

static void test_encrypted_area_damaged_keys_with_data_are_not_replaced(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    char text[32];
    encrypt_flash(f);
    assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0042"), DS_STATUS_OK);
    f->flash[KEYS_AT + 3] = 0;
    restart(f);
    assert_code(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), FLASH);
    assert_code(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0043"), FLASH);
    assert_int_equal(f->steps, 0);
    fake_free(f);
}

// An image in the place, as whatever flash encryption there is makes it.
static void put_image(fake *f, uint32_t at, const ds_buf *image)
{
    ds_buf padded = {0};
    ds_buf_add(&padded, image->ptr, image->len);
    ds_buf_resize(&padded, (image->len + 31) / 32 * 32, 0xFF);
    assert_true(fake_erase(f, at, (uint32_t)((padded.len + 4095) / 4096 * 4096)));
    assert_true(fake_program(f, at, padded.ptr, (uint32_t)padded.len, true));
    ds_buf_free(&padded);
    f->steps = 0;
    f->port.app_version_known = false;
}

static ds_buf make_image(const ds_chip *chip, const char *version, uint32_t secure_version, EVP_PKEY *key)
{
    uint8_t body[4096] = {0};
    ds_app_desc desc = {.secure_version = secure_version, .project = "test-app"};
    ds_err e = DS_ERR_INIT;
    ds_buf image = {0};
    memcpy(desc.version, version, strlen(version));
    ds_app_desc_write(&desc, body);
    ds_image_segment segment = {0x3F400020, {body, sizeof body}};
    ds_image_spec spec = {.chip_id = chip->id, .max_rev_full = 65535, .segments = &segment, .segment_count = 1};
    assert_int_equal(ds_image_build(&spec, &image, &e), DS_OK);
    if (key)
        assert_int_equal(ds_sbv2_sign(&image, key, &e), DS_OK);
    return image;
}

static void install(fake *f, uint32_t at, const char *version, EVP_PKEY *key)
{
    ds_buf image = make_image(f->hal.chip, version, 0, key);
    put_image(f, at, &image);
    ds_buf_free(&image);
}

static ds_status boot(fake *f, const char *label)
{
    return f->port.port.boot_select(f->port.port.ctx, label);
}

static void expect_boots(fake *f, const char *label)
{
    ds_identity id;
    f->port.port.identity(f->port.port.ctx, &id);
    assert_string_equal(id.boot_partition, label);
}

static void test_boot_select_plain_image_writes_otadata_once(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    install(f, OTA0_AT, "1.0.0", NULL);
    install(f, OTA1_AT, "2.0.0", NULL);
    expect_boots(f, "ota_0");
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT), 2);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT + 28), 0x55F63774);
    expect_boots(f, "ota_1");
    unsigned steps = f->steps;
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    assert_int_equal(f->steps, steps);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT + 0x1000), 3);
    expect_boots(f, "ota_0");
    assert_code(boot(f, "ota_2"), NOT_FOUND);
    assert_code(boot(f, "stamp"), NOT_FOUND);
    fake_free(f);
}

static void test_boot_select_bad_images_change_nothing(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    ds_buf image = make_image(ds_chip_by_name("esp32"), "1.0.0", 0, NULL);
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // blank
    put_image(f, OTA0_AT, &image);
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // another chip's
    ds_buf_free(&image);
    install(f, OTA0_AT, "1.0.0", NULL);
    f->flash[OTA0_AT + 1000] ^= 0x10;
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // damaged
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "SECURE_VERSION", 1));
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // rolled back
    assert_int_equal(f->steps, 0);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT), 0xFFFFFFFF);
    fake_free(f);
}

static void test_boot_select_signed_bootloader_demands_its_key(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    install(f, f->hal.chip->bootloader_offset, "boot", key);
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", other);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    assert_int_equal(f->steps, 0);
    install(f, OTA0_AT, "1.0.0", key);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    f->flash[f->hal.chip->bootloader_offset + 0x2000 - 1] = 0; // padding that was signed: the bootloader will not boot
    assert_code(boot(f, "ota_1"), BAD_SIGNATURE);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    fake_free(f);
}

static void test_boot_select_secure_boot_trusts_the_efuse_digest(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    uint8_t digest[32];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_key_digest(key, digest, &e), DS_OK);
    ds_efuse_set_block(&f->efuses, 4, digest);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "KEY_PURPOSE_0", DS_EFUSE_PURPOSE_SB_DIGEST0));
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "SECURE_BOOT_EN", 1));
    encrypt_flash(f);
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", other);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", key);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    expect_boots(f, "ota_0");
    assert_int_not_equal(ds_le32(f->flash + OTADATA_AT), 1); // ciphertext
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    fake_free(f);
}

static void test_boot_select_power_cut_boots_old_or_new(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    install(f, OTA0_AT, "1.0.0", NULL);
    install(f, OTA1_AT, "2.0.0", NULL);
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    bool done = false;
    for (unsigned cut = 1; !done; cut++) {
        uint8_t before[DS_OTADATA_SIZE];
        ds_identity id;
        memcpy(before, f->flash + OTADATA_AT, sizeof before);
        restart(f);
        f->cut = cut;
        done = boot(f, "ota_0") == DS_STATUS_OK;
        restart(f);
        f->port.port.identity(f->port.port.ctx, &id);
        assert_true(!strcmp(id.boot_partition, "ota_0") || (!done && !strcmp(id.boot_partition, "ota_1")));
        assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
        expect_boots(f, "ota_0");
        if (!done)
            memcpy(f->flash + OTADATA_AT, before, sizeof before);
        assert_true(cut < 20);
    }
    fake_free(f);
}

static void test_image_write_stays_inside_its_place(void **state)
{
    (void)state;
    fake *f = fake_new("esp32");
    const ds_port *port = &f->port.port;
    uint8_t data[4096], back[4096];
    memset(data, 0xA5, sizeof data);
    assert_int_equal(port->image_capacity(port->ctx, DS_PLACE_BOOTLOADER), TABLE_OFFSET - 0x1000);
    assert_int_equal(port->image_capacity(port->ctx, DS_PLACE_UPDATE_SLOT), SLOT_SIZE);
    encrypt_flash(f);
    assert_int_equal(port->image_erase(port->ctx, DS_PLACE_UPDATE_SLOT, 0x1000, 0x1000), DS_STATUS_OK);
    assert_int_equal(port->image_write(port->ctx, DS_PLACE_UPDATE_SLOT, 0x1000, data, sizeof data), DS_STATUS_OK);
    assert_int_equal(port->image_read(port->ctx, DS_PLACE_UPDATE_SLOT, 0x1000, back, sizeof back), DS_STATUS_OK);
    assert_memory_equal(back, data, sizeof data);
    assert_memory_not_equal(f->flash + OTA0_AT + 0x1000, data, 32);
    assert_code(port->image_write(port->ctx, DS_PLACE_UPDATE_SLOT, 0x1010, data, 16), BAD_REQUEST);
    assert_code(port->image_erase(port->ctx, DS_PLACE_BOOTLOADER, TABLE_OFFSET - 0x1000, 0x1000), BAD_REQUEST);
    assert_code(port->image_erase(port->ctx, DS_PLACE_UPDATE_SLOT, 0xFFFFF000, 0x1000), BAD_REQUEST);
    assert_code(port->image_write(port->ctx, DS_PLACE_UPDATE_SLOT, SLOT_SIZE - 4096, data, 4128), BAD_REQUEST);
    assert_code(port->image_read(port->ctx, DS_PLACE_UPDATE_SLOT, SLOT_SIZE, back, 1), BAD_REQUEST);
    f->hal.table_offset = 0; // unknown: the sector before the lowest partition
    assert_int_equal(port->image_capacity(port->ctx, DS_PLACE_BOOTLOADER), KEYS_AT - 0x1000 - 0x1000);
    f->hal.running = &f->table.parts[4];
    assert_int_equal(port->image_erase(port->ctx, DS_PLACE_UPDATE_SLOT, 0, SLOT_SIZE), DS_STATUS_OK);
    assert_memory_not_equal(f->flash + OTA0_AT + 0x1000, f->flash + OTA1_AT + 0x1000, 32);
    fake_free(f);
}

static void test_identity_tells_chip_mac_and_app(void **state)
{
    (void)state;
    fake *f = fake_new("esp32");
    const ds_port *port = &f->port.port;
    ds_identity id;
    install(f, OTA0_AT, "1.2.3", NULL);
    port->identity(port->ctx, &id);
    assert_int_equal(id.chip_id, 0);
    assert_int_equal(id.chip_revision, 300);
    assert_memory_equal(id.mac, "\x02\x11\x22\x33\x44\x55", 6);
    assert_string_equal(id.project, "devstamp-mfg");
    assert_string_equal(id.app_version, "1.2.3");
    assert_string_equal(id.boot_partition, "ota_0");
    assert_int_equal(port->image_erase(port->ctx, DS_PLACE_UPDATE_SLOT, 0, 0x1000), DS_STATUS_OK);
    port->identity(port->ctx, &id);
    assert_string_equal(id.app_version, "");
    fake_free(f);
}

static void test_download_close_burns_the_chips_fuse(void **state)
{
    (void)state;
    static const struct {
        const char *chip, *fuse;
    } cases[] = {{"esp32", "UART_DOWNLOAD_DIS"}, {"esp32c3", "DIS_DOWNLOAD_MODE"}};
    for (size_t i = 0; i < 2; i++) {
        fake *f = fake_new(cases[i].chip);
        const ds_port *port = &f->port.port;
        ds_efuse_words before = f->efuses, want = before;
        ds_security s;
        port->security(port->ctx, &s);
        assert_int_equal(s.download, DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_OPEN);
        assert_int_equal(port->download_close(port->ctx), DS_STATUS_OK);
        assert_true(ds_efuse_set(f->hal.chip, &want, cases[i].fuse, 1));
        assert_memory_equal(&f->efuses, &want, sizeof want); // that bit and no other
        assert_int_equal(port->download_close(port->ctx), DS_STATUS_OK);
        port->security(port->ctx, &s);
        assert_int_equal(s.download, DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED);
        assert_false(s.flash_encryption || s.secure_boot || s.release_mode);
        fake_free(f);
    }
}

static void test_self_test_tells_what_fails(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    const ds_port *port = &f->port.port;
    install(f, OTA1_AT, "2.1.0", NULL);
    assert_int_equal(port->self_test(port->ctx), 0);
    f->flash[OTA1_AT] = 0;
    assert_int_equal(port->self_test(port->ctx), 1);
    fake_free(f);
}

static void test_log_line_is_printable_text(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    f->port.port.log(f->port.port.ctx, "app: \xC0 moved\n");
    assert_int_equal(f->console_len, 15);
    assert_memory_equal(f->console, "app: ? moved?\r\n", 15);
    fake_free(f);
}

static void test_publish_without_a_way_to_verify_is_refused(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    const ds_port *port = &f->port.port;
    static const char *const bad[] = {"mqtt://h:1",  "mqtts://h",       "mqtts://:1",
                                      "mqtts://h:0", "mqtts://h:70000", "mqtts://h:1x"};
    encrypt_flash(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_code(port->publish(port->ctx, bad[i], "id", (const uint8_t *)"", 0, (const uint8_t *)"", 0, "t", "p"),
                    BAD_REQUEST);
    ds_status s = port->publish(port->ctx, "mqtts://127.0.0.1:8883", "id", (const uint8_t *)"", 0, (const uint8_t *)"",
                                0, "t", "p");
    assert_code(s, NETWORK);
    assert_non_null(memmem(f->console, f->console_len, "no endpoint_ca", 14));
    assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "endpoint_ca", "not a certificate"), DS_STATUS_OK);
    s = port->publish(port->ctx, "mqtts://127.0.0.1:8883", "id", (const uint8_t *)"x", 1, (const uint8_t *)"x", 1, "t",
                      "p");
    assert_code(s, CRYPTO);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_set_plain_is_read_back_after_restart),
        cmocka_unit_test(test_value_each_stops_where_the_callback_says),
        cmocka_unit_test(test_encrypted_area_without_flash_encryption_makes_no_keys),
        cmocka_unit_test(test_encrypted_area_keys_and_values_are_ciphertext),
        cmocka_unit_test(test_encrypted_area_power_cut_at_first_use_is_repeatable),
        cmocka_unit_test(test_encrypted_area_damaged_keys_with_data_are_not_replaced),
        cmocka_unit_test(test_boot_select_plain_image_writes_otadata_once),
        cmocka_unit_test(test_boot_select_bad_images_change_nothing),
        cmocka_unit_test(test_boot_select_signed_bootloader_demands_its_key),
        cmocka_unit_test(test_boot_select_secure_boot_trusts_the_efuse_digest),
        cmocka_unit_test(test_boot_select_power_cut_boots_old_or_new),
        cmocka_unit_test(test_image_write_stays_inside_its_place),
        cmocka_unit_test(test_identity_tells_chip_mac_and_app),
        cmocka_unit_test(test_download_close_burns_the_chips_fuse),
        cmocka_unit_test(test_self_test_tells_what_fails),
        cmocka_unit_test(test_log_line_is_printable_text),
        cmocka_unit_test(test_publish_without_a_way_to_verify_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
