// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A fake chip below the posix port: flash in memory with NOR semantics and flash encryption, eFuses as words that only
// gain bits. Power can be cut at any flash operation.
#ifndef DS_TESTS_AGENT_POSIX_FAKE_H
#define DS_TESTS_AGENT_POSIX_FAKE_H

#include "agent/port/posix/posix.h"
#include "src/esp/flashenc.h"
#include "src/esp/image.h"
#include "src/esp/sbv2.h"

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
    unsigned restarts;
    char console[512];
    size_t console_len;
    ds_ptable table;
    ds_hal hal;
    ds_posix port;
} fake;

static inline bool encrypts(const fake *f)
{
    ds_efuse_security s;
    ds_efuse_security_get(f->hal.chip, &f->efuses, &s);
    return s.flash_encryption;
}

static inline bool fake_read(void *ctx, uint32_t addr, void *buf, uint32_t len, bool crypt)
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

static inline bool fake_program(void *ctx, uint32_t addr, const void *data, uint32_t len, bool crypt)
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

static inline bool fake_erase(void *ctx, uint32_t addr, uint32_t len)
{
    fake *f = ctx;
    if (f->off || addr % 4096 || len % 4096 || addr > FLASH_SIZE || len > FLASH_SIZE - addr)
        return false;
    f->off = ++f->steps == f->cut;
    memset(f->flash + addr, 0xFF, f->off ? len / 2 : len);
    return !f->off;
}

static inline void fake_efuses(void *ctx, ds_efuse_words *ret)
{
    *ret = ((fake *)ctx)->efuses;
}

static inline bool fake_burn(void *ctx, unsigned block, const ds_efuse_words *bits)
{
    fake *f = ctx;
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        f->efuses.w[block][i] |= bits->w[block][i];
    return true;
}

static inline int fake_console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    (void)ctx, (void)buf, (void)cap, (void)timeout_ms;
    return -1;
}

static inline void fake_console_write(void *ctx, const uint8_t *buf, size_t len)
{
    fake *f = ctx;
    assert_true(len < sizeof f->console - f->console_len);
    memcpy(f->console + f->console_len, buf, len);
    f->console_len += len;
}

static inline void fake_restart(void *ctx)
{
    ((fake *)ctx)->restarts++;
}

static inline void add_part(fake *f, uint8_t type, uint8_t subtype, uint32_t offset, uint32_t size, const char *label)
{
    ds_part *p = &f->table.parts[f->table.count++];
    *p = (ds_part){.type = type, .subtype = subtype, .offset = offset, .size = size};
    memcpy(p->label, label, strlen(label) + 1);
}

static inline fake *fake_new(const char *chip)
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
                      .console_write = fake_console_write,
                      .restart = fake_restart};
    ds_efuse_set_mac(f->hal.chip, &f->efuses, mac);
    ds_efuse_set_revision(f->hal.chip, &f->efuses, f->hal.chip->id == DS_CHIP_ESP32 ? 300 : 4);
    ds_posix_init(&f->port, &f->hal);
    return f;
}

static inline void fake_free(fake *f)
{
    ds_posix_deinit(&f->port);
    free(f);
}

// As after a reset: nothing remembered but flash and eFuses.
static inline void restart(fake *f)
{
    ds_posix_deinit(&f->port);
    f->off = false;
    f->steps = f->cut = 0;
    ds_posix_init(&f->port, &f->hal);
}

static inline void encrypt_flash(fake *f)
{
    bool esp32 = f->hal.chip->id == DS_CHIP_ESP32;
    assert_true(
        ds_efuse_set(f->hal.chip, &f->efuses, esp32 ? "FLASH_CRYPT_CNT" : "SPI_BOOT_CRYPT_CNT", esp32 ? 0x7F : 7));
    restart(f);
}

static inline ds_status set_text(fake *f, enum ds_area area, const char *key, const char *text)
{
    const ds_port *port = &f->port.port;
    return port->value_set(port->ctx, area, "stamp", key, DS_VALUE_STRING, text, strlen(text));
}

static inline ds_status get_text(fake *f, enum ds_area area, const char *key, char *ret, size_t cap)
{
    const ds_port *port = &f->port.port;
    size_t len = 0;
    ds_status s = port->value_get(port->ctx, area, "stamp", key, ret, cap - 1, &len);
    ret[s == DS_STATUS_OK ? len : 0] = '\0';
    return s;
}

static inline bool flash_holds(const fake *f, const void *needle, size_t len)
{
    return memmem(f->flash, FLASH_SIZE, needle, len) != NULL;
}

// An image in the place, as whatever flash encryption there is makes it.
static inline void put_image(fake *f, uint32_t at, const ds_buf *image)
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

static inline ds_buf make_image(const ds_chip *chip, const char *version, uint32_t secure_version, EVP_PKEY *key)
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

static inline void install(fake *f, uint32_t at, const char *version, EVP_PKEY *key)
{
    ds_buf image = make_image(f->hal.chip, version, 0, key);
    put_image(f, at, &image);
    ds_buf_free(&image);
}

#endif
