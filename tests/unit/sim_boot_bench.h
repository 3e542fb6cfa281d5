// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the tests of the boot chain share. Each run is a process, as in the simulator; the firmware is replaced by a
// line that tells which image would have run.
#ifndef DS_TESTS_SIM_BOOT_BENCH_H
#define DS_TESTS_SIM_BOOT_BENCH_H

#include "sim/chip.h"
#include "sim/firmware.h"
#include "sim/image.h"
#include "src/base/file.h"
#include "src/esp/flashenc.h"
#include "src/esp/otadata.h"
#include "src/esp/sbv2.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define FLASH_SIZE 0x100000u
#define TABLE 0x8000u
#define NVS 0x9000u
#define OTADATA 0xB000u
#define NVS_KEYS 0xD000u
#define SECRET 0xE000u
#define OTA_0 0x10000u
#define OTA_1 0x30000u
#define MAX_RUNS 4

static const char csv[] = "nvs,data,nvs,0x9000,0x2000\notadata,data,ota,,0x2000\nnvs_keys,data,nvs_keys,,0x1000\n"
                          "secret,data,0x40,,0x1000,encrypted\nota_0,app,ota_0,0x10000,0x20000\n"
                          "ota_1,app,ota_1,,0x20000\n";

// What a run leaves for its parent.
static struct shared {
    uint64_t flash_ops;
    size_t len;
    char console[1 << 16];
} * shared;

static char dir[] = "/tmp/ds-boot-XXXXXX";
static char flash_path[64], efuse_path[64];
static EVP_PKEY *right_key, *wrong_key;
static uint8_t right_digest[32];

// The images of one chip.
typedef struct {
    const ds_chip *chip;
    ds_buf plain_boot, secure_boot, release_boot, mfg, app;
} set;
static set sets[2];

void ds_sim_firmware_run(ds_sim_chip *c, const ds_ptable *table, const ds_part *running, const ds_image_info *info)
{
    (void)table;
    ds_sim_print(c, "RUN %s %s from %s\n", info->app.project, info->app.version, running->label);
}

static inline int wire_read(void *ctx, uint8_t *buf, size_t cap, int timeout_ms)
{
    (void)ctx, (void)buf, (void)cap, (void)timeout_ms;
    return -1; // nobody is there: a chip that would try again for ever stops
}

static inline void wire_write(void *ctx, const uint8_t *buf, size_t len)
{
    (void)ctx;
    size_t room = sizeof shared->console - 1 - shared->len;
    memcpy(shared->console + shared->len, buf, len < room ? len : room);
    shared->len += len < room ? len : room;
    shared->console[shared->len] = '\0';
}

static inline void open_chip(const ds_chip *chip, ds_sim_fault *fault, ds_sim_timing *timing, ds_sim_chip *ret)
{
    static const uint8_t mac[6] = {0x24, 0x0A, 0xC4, 1, 2, 3};
    ds_err e = DS_ERR_INIT;
    ret->chip = chip;
    ret->fault = fault;
    ret->timing = timing;
    uint16_t revision = chip->id == DS_CHIP_ESP32 ? 300 : 4;
    if (ds_sim_flash_open(flash_path, FLASH_SIZE, fault, timing, &ret->flash, &e) ||
        ds_sim_efuse_open(efuse_path, chip, mac, revision, fault, &ret->efuse, &e))
        fail_msg("%s", e.text);
}

static inline void close_chip(ds_sim_chip *c)
{
    ds_sim_flash_close(c->flash);
    ds_sim_efuse_close(c->efuse);
}

// One CPU run; cut_at 0: no power cut. Its exit code.
static inline int run_once(const ds_chip *chip, enum ds_sim_reset reset, uint64_t cut_at)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ds_sim_fault fault = {.cut_at = cut_at, .flash_ops = &shared->flash_ops};
        ds_sim_timing timing = {0};
        ds_sim_wire wire = {.read = wire_read, .write = wire_write};
        ds_sim_chip c = {.wire = &wire, .reset = reset};
        open_chip(chip, &fault, &timing, &c);
        ds_sim_boot(&c);
        _exit(DS_SIM_EXIT_OFF);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// From power-up until the chip stops by itself or power is cut; the console's text is the answer.
static inline const char *power_up(const ds_chip *chip, uint64_t cut_at, int *ret_exit)
{
    int code = DS_SIM_EXIT_RESET;
    shared->len = 0;
    shared->console[0] = '\0';
    shared->flash_ops = 0;
    for (int i = 0; i < MAX_RUNS && code == DS_SIM_EXIT_RESET; i++)
        code = run_once(chip, i ? DS_SIM_RESET_SW : DS_SIM_RESET_POWERON, cut_at);
    if (ret_exit)
        *ret_exit = code;
    return shared->console;
}

static inline void boot_says(const ds_chip *chip, const char *want)
{
    int code;
    const char *log = power_up(chip, 0, &code);
    assert_int_equal(code, DS_SIM_EXIT_OFF);
    if (!strstr(log, want))
        fail_msg("'%s' is not in:\n%s", want, log);
}

static inline void new_device(const ds_chip *chip)
{
    unlink(flash_path);
    unlink(efuse_path);
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    close_chip(&c);
}

static inline void write_flash(const ds_chip *chip, uint32_t addr, ds_view data)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    uint32_t len = (uint32_t)((data.len + 4095) / 4096 * 4096);
    DS_CLEANUP_BUF ds_buf padded = {0};
    ds_buf_add(&padded, data.ptr, data.len);
    ds_buf_resize(&padded, len, 0xFF);
    assert_true(ds_sim_flash_erase(c.flash, addr, len));
    assert_true(ds_sim_flash_program(c.flash, addr, padded.ptr, len));
    close_chip(&c);
}

static inline void read_flash(const ds_chip *chip, uint8_t *ret)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    assert_true(ds_sim_flash_read(c.flash, 0, ret, FLASH_SIZE));
    close_chip(&c);
}

static inline void read_efuses(const ds_chip *chip, ds_efuse_words *ret, ds_efuse_security *ret_security)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    ds_sim_efuse_read_hw(c.efuse, ret);
    ds_efuse_security_get(chip, ret, ret_security);
    close_chip(&c);
}

static inline void burn(const ds_chip *chip, const char *field, uint32_t value)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    ds_efuse_words bits = {0};
    assert_true(ds_efuse_set(chip, &bits, field, value));
    assert_true(ds_sim_efuse_burn(c.efuse, ds_efuse_field_find(chip, field)->block, &bits));
    close_chip(&c);
}

static inline void write_table(const ds_chip *chip)
{
    ds_ptable t;
    uint8_t raw[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_ptable_from_csv(csv, TABLE, &t, &e), DS_OK);
    assert_int_equal(ds_ptable_build(&t, raw, &e), DS_OK);
    write_flash(chip, TABLE, (ds_view){raw, sizeof raw});
}

static inline void select_slot(const ds_chip *chip, unsigned slot)
{
    uint8_t data[DS_OTADATA_SIZE];
    unsigned sector;
    ds_otadata none = {.active = -1};
    memset(data, 0xFF, sizeof data);
    ds_otadata_select(&none, slot, 2, data, &sector);
    write_flash(chip, OTADATA, (ds_view){data, sizeof data});
}

// All that a station writes: bootloader, table, app in ota_0, mfg in ota_1, otadata; nvs_keys blank. NVS is left alone.
static inline void flash_plain(const set *s, const ds_buf *boot, unsigned slot)
{
    uint8_t blank[4096], secret[4096];
    memset(blank, 0xFF, sizeof blank);
    memset(secret, 0x5A, sizeof secret);
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(boot));
    write_table(s->chip);
    select_slot(s->chip, slot);
    write_flash(s->chip, NVS_KEYS, (ds_view){blank, sizeof blank});
    write_flash(s->chip, SECRET, (ds_view){secret, sizeof secret});
    write_flash(s->chip, OTA_0, ds_buf_view(&s->app));
    write_flash(s->chip, OTA_1, ds_buf_view(&s->mfg));
}

static inline void fresh(const set *s, const ds_buf *boot, unsigned slot)
{
    new_device(s->chip);
    flash_plain(s, boot, slot);
    write_flash(s->chip, NVS, (ds_view){(const uint8_t *)"plain stamp", 11});
}

static inline void make(const ds_sim_image_spec *spec, EVP_PKEY *key, ds_buf *ret)
{
    ds_err e = DS_ERR_INIT;
    if (ds_sim_image_make(spec, ret, &e) || (key && ds_sbv2_sign(ret, key, &e)))
        fail_msg("%s", e.text);
}

static inline void make_set(const char *name, set *s)
{
    s->chip = ds_chip_by_name(name);
    ds_sim_image_spec boot = {.chip = s->chip, .kind = DS_SIM_IMAGE_BOOTLOADER, .table_offset = TABLE, .body = 4000};
    make(&boot, NULL, &s->plain_boot);
    boot.kind = DS_SIM_IMAGE_SECURE_BOOTLOADER;
    make(&boot, right_key, &s->secure_boot);
    boot.release = true;
    make(&boot, right_key, &s->release_boot);
    ds_sim_image_spec app = {.chip = s->chip, .kind = DS_SIM_IMAGE_MFG, .version = "1.0.0", .body = 6000};
    make(&app, NULL, &s->mfg);
    app.kind = DS_SIM_IMAGE_APP;
    app.project = "demo";
    app.version = "2.0.0";
    make(&app, right_key, &s->app);
}

static inline int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(flash_path, sizeof flash_path, "%s/flash", dir);
    snprintf(efuse_path, sizeof efuse_path, "%s/efuse", dir);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *f = fopen(DS_TEST_DATA "/sbv2/test-rsa3072.pem", "r");
    if (shared == MAP_FAILED || !f)
        return -1;
    right_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    wrong_key = EVP_RSA_gen(3072);
    if (!right_key || !wrong_key || ds_sbv2_key_digest(right_key, right_digest, NULL))
        return -1;
    make_set("esp32", &sets[0]);
    make_set("esp32c3", &sets[1]);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        ds_buf *all[] = {&sets[i].plain_boot, &sets[i].secure_boot, &sets[i].release_boot, &sets[i].mfg, &sets[i].app};
        for (unsigned k = 0; k < 5; k++)
            ds_buf_free(all[k]);
    }
    EVP_PKEY_free(right_key);
    EVP_PKEY_free(wrong_key);
    munmap(shared, sizeof *shared);
    unlink(flash_path);
    unlink(efuse_path);
    return rmdir(dir);
}

static inline bool nothing_burned(const ds_chip *chip)
{
    ds_efuse_words w;
    ds_efuse_security s;
    read_efuses(chip, &w, &s);
    return !s.secure_boot && !s.flash_encryption && !s.digest_count && s.flash_key_block < 0 && !s.jtag_disabled;
}

static inline void flash_key(const ds_chip *chip, uint8_t ret[32])
{
    ds_efuse_words w;
    ds_efuse_security s;
    uint8_t block[32];
    read_efuses(chip, &w, &s);
    assert_true(s.flash_key_block >= 0);
    ds_efuse_get_block(&w, (unsigned)s.flash_key_block, block);
    for (unsigned i = 0; i < 32; i++)
        ret[i] = block[31 - i];
}

static inline void decrypted_equals(const ds_chip *chip, const uint8_t *flash, uint32_t addr, ds_view want)
{
    uint8_t key[32];
    flash_key(chip, key);
    size_t len = want.len / 16 * 16;
    uint8_t *out = malloc(len);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_flashenc_decrypt(chip->cipher, (ds_view){key, 32}, 0xF, addr, flash + addr, out, len, &e),
                     DS_OK);
    assert_memory_equal(out, want.ptr, len);
    assert_memory_not_equal(flash + addr, want.ptr, len);
    free(out);
}

// Everything that is to be ciphertext is, under the chip's key; the rest is untouched.
static inline void check_locked_flash(const set *s, const ds_buf *boot)
{
    static uint8_t flash[FLASH_SIZE];
    uint8_t secret[4096], blank[4096];
    memset(secret, 0x5A, sizeof secret);
    memset(blank, 0xFF, sizeof blank);
    read_flash(s->chip, flash);
    decrypted_equals(s->chip, flash, s->chip->bootloader_offset, ds_buf_view(boot));
    decrypted_equals(s->chip, flash, OTA_0, ds_buf_view(&s->app));
    decrypted_equals(s->chip, flash, SECRET, (ds_view){secret, sizeof secret});
    decrypted_equals(s->chip, flash, NVS_KEYS, (ds_view){blank, sizeof blank});
    decrypted_equals(s->chip, flash, TABLE + 0xC00, (ds_view){blank, 0x400});
    decrypted_equals(s->chip, flash, OTADATA + 0x1000, (ds_view){blank, 0x1000});
    assert_memory_equal(flash + NVS, "plain stamp", 11);
    assert_memory_equal(flash + OTA_1, s->mfg.ptr, s->mfg.len);
    assert_null(memmem(flash, OTA_1, "demo", 5));
}

// A test on either chip.
#define BOTH(test)                                     \
    {#test " (esp32)", test, NULL, NULL, &sets[0]},    \
    {                                                  \
#test " (esp32c3)", test, NULL, NULL, &sets[1] \
    }

#endif
