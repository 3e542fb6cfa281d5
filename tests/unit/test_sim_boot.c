// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The boot chain: what runs and what is refused, a secure first boot on both chips, and power cuts all along it. Each
// run is a process, as in the simulator; the firmware is replaced by a line that tells which image would have run.
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

static int wire_read(void *ctx, uint8_t *buf, size_t cap, int timeout_ms)
{
    (void)ctx, (void)buf, (void)cap, (void)timeout_ms;
    return -1; // nobody is there: a chip that would try again for ever stops
}

static void wire_write(void *ctx, const uint8_t *buf, size_t len)
{
    (void)ctx;
    size_t room = sizeof shared->console - 1 - shared->len;
    memcpy(shared->console + shared->len, buf, len < room ? len : room);
    shared->len += len < room ? len : room;
    shared->console[shared->len] = '\0';
}

static void open_chip(const ds_chip *chip, ds_sim_fault *fault, ds_sim_timing *timing, ds_sim_chip *ret)
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

static void close_chip(ds_sim_chip *c)
{
    ds_sim_flash_close(c->flash);
    ds_sim_efuse_close(c->efuse);
}

// One CPU run; cut_at 0: no power cut. Its exit code.
static int run_once(const ds_chip *chip, enum ds_sim_reset reset, uint64_t cut_at)
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
static const char *power_up(const ds_chip *chip, uint64_t cut_at, int *ret_exit)
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

static void boot_says(const ds_chip *chip, const char *want)
{
    int code;
    const char *log = power_up(chip, 0, &code);
    assert_int_equal(code, DS_SIM_EXIT_OFF);
    if (!strstr(log, want))
        fail_msg("'%s' is not in:\n%s", want, log);
}

static void new_device(const ds_chip *chip)
{
    unlink(flash_path);
    unlink(efuse_path);
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    close_chip(&c);
}

static void write_flash(const ds_chip *chip, uint32_t addr, ds_view data)
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

static void read_flash(const ds_chip *chip, uint8_t *ret)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    assert_true(ds_sim_flash_read(c.flash, 0, ret, FLASH_SIZE));
    close_chip(&c);
}

static void read_efuses(const ds_chip *chip, ds_efuse_words *ret, ds_efuse_security *ret_security)
{
    ds_sim_chip c = {0};
    ds_sim_fault fault = {0};
    ds_sim_timing timing = {0};
    open_chip(chip, &fault, &timing, &c);
    ds_sim_efuse_read_hw(c.efuse, ret);
    ds_efuse_security_get(chip, ret, ret_security);
    close_chip(&c);
}

static void burn(const ds_chip *chip, const char *field, uint32_t value)
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

static void write_table(const ds_chip *chip)
{
    ds_ptable t;
    uint8_t raw[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_ptable_from_csv(csv, TABLE, &t, &e), DS_OK);
    assert_int_equal(ds_ptable_build(&t, raw, &e), DS_OK);
    write_flash(chip, TABLE, (ds_view){raw, sizeof raw});
}

static void select_slot(const ds_chip *chip, unsigned slot)
{
    uint8_t data[DS_OTADATA_SIZE];
    unsigned sector;
    ds_otadata none = {.active = -1};
    memset(data, 0xFF, sizeof data);
    ds_otadata_select(&none, slot, 2, data, &sector);
    write_flash(chip, OTADATA, (ds_view){data, sizeof data});
}

// All that a station writes: bootloader, table, app in ota_0, mfg in ota_1, otadata; nvs_keys blank. NVS is left alone.
static void flash_plain(const set *s, const ds_buf *boot, unsigned slot)
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

static void fresh(const set *s, const ds_buf *boot, unsigned slot)
{
    new_device(s->chip);
    flash_plain(s, boot, slot);
    write_flash(s->chip, NVS, (ds_view){(const uint8_t *)"plain stamp", 11});
}

static void make(const ds_sim_image_spec *spec, EVP_PKEY *key, ds_buf *ret)
{
    ds_err e = DS_ERR_INIT;
    if (ds_sim_image_make(spec, ret, &e) || (key && ds_sbv2_sign(ret, key, &e)))
        fail_msg("%s", e.text);
}

static void make_set(const char *name, set *s)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static bool nothing_burned(const ds_chip *chip)
{
    ds_efuse_words w;
    ds_efuse_security s;
    read_efuses(chip, &w, &s);
    return !s.secure_boot && !s.flash_encryption && !s.digest_count && s.flash_key_block < 0 && !s.jtag_disabled;
}

// ---- images

static void test_image_make_is_deterministic_and_laid_out_for_the_cache(void **state)
{
    const set *s = *state;
    ds_sim_image_spec spec = {.chip = s->chip,
                              .kind = DS_SIM_IMAGE_APP,
                              .project = "demo",
                              .version = "3.1.4",
                              .secure_version = 2,
                              .body = 200000,
                              .secure_pad = true};
    DS_CLEANUP_BUF ds_buf a = {0}, b = {0};
    make(&spec, NULL, &a);
    make(&spec, NULL, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.ptr, b.ptr, a.len);
    assert_int_equal(a.len % DS_IMAGE_PAGE, 0);
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&a), &info, &e), DS_OK);
    assert_int_equal(info.chip_id, s->chip->id);
    assert_int_equal(info.app.secure_version, 2);
    assert_string_equal(info.app.project, "demo");
    assert_string_equal(info.app.version, "3.1.4");
    for (unsigned i = 0; i < 3; i += 2) // DROM, IROM
        assert_int_equal((size_t)(info.segments[i].data.ptr - a.ptr) % DS_IMAGE_PAGE,
                         info.segments[i].load_addr % DS_IMAGE_PAGE);
    ds_buf_clear(&b);
    spec.version = "3.1.5";
    make(&spec, NULL, &b);
    assert_memory_not_equal(a.ptr + 0x400, b.ptr + 0x400, 256);
}

static void test_image_boot_kind_is_read_back(void **state)
{
    const set *s = *state;
    ds_image_info info;
    ds_sim_boot_kind kind;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&s->release_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && kind.secure && kind.release && kind.table_offset == TABLE);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->secure_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && kind.secure && !kind.release);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->plain_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && !kind.secure);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->app), &info, &e), DS_OK);
    assert_false(ds_sim_image_boot_kind(&info, &kind));
    ds_sim_image_spec large = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_SECURE_BOOTLOADER, .table_offset = 0x8000, .body = 0x8000};
    DS_CLEANUP_BUF ds_buf out = {0};
    assert_int_equal(ds_sim_image_make(&large, &out, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "before the partition table"));
}

// ---- without security

static void test_boot_plain_device_runs_what_otadata_names(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 1);
    boot_says(s->chip, "RUN devstamp-mfg 1.0.0 from ota_1");
    assert_non_null(strstr(shared->console, "SPI_FAST_FLASH_BOOT"));
    assert_non_null(strstr(shared->console, "\r\nentry 0x40"));
    select_slot(s->chip, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    assert_true(nothing_burned(s->chip));
}

static void test_boot_blank_flash_repeats_invalid_header(void **state)
{
    const set *s = *state;
    new_device(s->chip);
    boot_says(s->chip, "invalid header: 0xffffffff");
}

static void test_boot_blank_otadata_runs_first_slot_and_notes_it(void **state)
{
    const set *s = *state;
    uint8_t blank[DS_OTADATA_SIZE];
    static uint8_t flash[FLASH_SIZE];
    memset(blank, 0xFF, sizeof blank);
    fresh(s, &s->plain_boot, 1);
    write_flash(s->chip, OTADATA, (ds_view){blank, sizeof blank});
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    ds_otadata o;
    read_flash(s->chip, flash);
    ds_otadata_parse(flash + OTADATA, &o);
    assert_int_equal(ds_otadata_slot(&o, 2), 0);
}

static void test_boot_damaged_app_is_not_run_and_the_other_is(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    DS_CLEANUP_BUF ds_buf bad = {0};
    ds_buf_add(&bad, s->app.ptr, s->app.len);
    bad.ptr[0x500] ^= 1;
    write_flash(s->chip, OTA_0, ds_buf_view(&bad));
    boot_says(s->chip, "RUN devstamp-mfg 1.0.0 from ota_1");
    assert_non_null(strstr(shared->console, "slot 0 is not bootable"));
    write_flash(s->chip, OTA_1, ds_buf_view(&bad));
    boot_says(s->chip, "No bootable app partitions");
    assert_null(strstr(shared->console, "RUN"));
}

static void test_boot_damaged_table_or_bootloader_runs_nothing(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    write_flash(s->chip, TABLE, (ds_view){(const uint8_t *)"\xAA\x50", 2});
    boot_says(s->chip, "Failed to verify partition table");
    assert_null(strstr(shared->console, "RUN"));
    DS_CLEANUP_BUF ds_buf bad = {0};
    ds_buf_add(&bad, s->plain_boot.ptr, s->plain_boot.len);
    bad.ptr[0x500] ^= 1;
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&bad));
    boot_says(s->chip, "csum err");
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&s->mfg));
    boot_says(s->chip, "no native code for this bootloader");
}

static void test_boot_image_for_another_chip_is_refused(void **state)
{
    const set *s = *state, *other = s == &sets[0] ? &sets[1] : &sets[0];
    fresh(s, &s->plain_boot, 0);
    write_flash(s->chip, OTA_0, ds_buf_view(&other->app));
    boot_says(s->chip, "mismatch chip ID");
    assert_non_null(strstr(shared->console, "RUN devstamp-mfg"));
}

static void test_boot_older_secure_version_is_refused(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    burn(s->chip, "SECURE_VERSION", 1);
    boot_says(s->chip, "secure version 0 of the app is older than the device's 1");
    assert_null(strstr(shared->console, "RUN"));
    ds_sim_image_spec spec = {.chip = s->chip,
                              .kind = DS_SIM_IMAGE_APP,
                              .project = "demo",
                              .version = "2.1",
                              .secure_version = 1,
                              .body = 3000};
    DS_CLEANUP_BUF ds_buf newer = {0};
    make(&spec, NULL, &newer);
    write_flash(s->chip, OTA_1, ds_buf_view(&newer));
    boot_says(s->chip, "RUN demo 2.1 from ota_1");
}

// ---- first boot of a secure bootloader

static void app_signed_by(const set *s, EVP_PKEY *key, ds_buf *ret)
{
    ds_sim_image_spec spec = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_APP, .project = "demo", .version = "2.0.0", .body = 6000};
    ds_buf_clear(ret);
    make(&spec, key, ret);
}

static void test_first_boot_without_proof_burns_nothing(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    fresh(s, &s->secure_boot, 0);
    app_signed_by(s, NULL, &image);
    ds_buf_add_fill(&image, 0xFF, 2 * 4096); // over the signature that was there
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed: not signed");
    assert_true(nothing_burned(s->chip));
    app_signed_by(s, wrong_key, &image);
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "No application key digest matches the bootloader key digest.");
    assert_true(nothing_burned(s->chip));
    app_signed_by(s, right_key, &image);
    image.ptr[image.len - 4096 + 900] ^= 1; // within the signature
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed");
    assert_true(nothing_burned(s->chip));
    // The bootloader itself is not signed.
    flash_plain(s, &s->secure_boot, 0);
    ds_buf_clear(&image);
    ds_buf_add(&image, s->secure_boot.ptr, s->secure_boot.len - 4096);
    ds_buf_add_fill(&image, 0xFF, 4096);
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&image));
    boot_says(s->chip, "No valid bootloader signature blocks found: not signed.");
    assert_true(nothing_burned(s->chip));
    assert_null(strstr(shared->console, "RUN"));
}

static void test_first_boot_without_room_for_a_flash_key_burns_nothing(void **state)
{
    const set *s = *state;
    fresh(s, &s->secure_boot, 0);
    burn(s->chip, "WR_DIS", 1); // RD_DIS: no key could be read-protected any more
    boot_says(s->chip, "Not enough free efuse key blocks");
    assert_true(nothing_burned(s->chip));
}

static void test_first_boot_ecdsa_signature_is_not_taken_by_these_chips(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    fresh(s, &s->secure_boot, 0);
    app_signed_by(s, ec, &image);
    EVP_PKEY_free(ec);
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed: not signed");
    assert_true(nothing_burned(s->chip));
}

static void flash_key(const ds_chip *chip, uint8_t ret[32])
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

static void decrypted_equals(const ds_chip *chip, const uint8_t *flash, uint32_t addr, ds_view want)
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
static void check_locked_flash(const set *s, const ds_buf *boot)
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

static void check_efuses(const set *s, bool release)
{
    ds_efuse_words w;
    ds_efuse_security sec;
    read_efuses(s->chip, &w, &sec);
    assert_true(sec.secure_boot && sec.flash_encryption && sec.jtag_disabled && sec.flash_key_protected);
    assert_int_equal(sec.release, release);
    assert_false(sec.download_disabled);
    assert_int_equal(sec.secure_download, release && s->chip->has_secure_download);
    assert_int_equal(sec.digest_count, 1);
    assert_memory_equal(sec.digests[0], right_digest, 32);
    assert_true(ds_efuse_get(s->chip, &w, "WR_DIS") & 1); // RD_DIS is locked
    if (s->chip->id == DS_CHIP_ESP32) {
        assert_int_equal(ds_efuse_get(s->chip, &w, "FLASH_CRYPT_CNT"), release ? 0x7F : 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "FLASH_CRYPT_CONFIG"), 0xF);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DISABLE_DL_DECRYPT"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DISABLE_DL_CACHE"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "CONSOLE_DEBUG_DISABLE"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "UART_DOWNLOAD_DIS"), 0);
    } else {
        assert_int_equal(ds_efuse_get(s->chip, &w, "SPI_BOOT_CRYPT_CNT"), release ? 7 : 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "KEY_PURPOSE_0"), 9);
        assert_int_equal(ds_efuse_get(s->chip, &w, "KEY_PURPOSE_1"), 4);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE0"), 0);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE1"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE2"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DIS_DOWNLOAD_MANUAL_ENCRYPT"), release);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DIS_DOWNLOAD_MODE"), 0);
    }
}

static void first_boot(const set *s, const ds_buf *boot, bool release)
{
    fresh(s, boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    static const char *const order[] = {"enabling secure boot v2",
                                        "Secure boot permanently enabled",
                                        "Generating new flash encryption key",
                                        "bootloader encrypted successfully",
                                        "partition table encrypted",
                                        "Encrypting partition 1 at offset 0xb000",
                                        "Encrypting partition 2 at",
                                        "Encrypting partition 3 at",
                                        "Encrypting partition 4 at offset 0x10000",
                                        "Flash encryption completed",
                                        "Resetting with flash encryption enabled",
                                        "flash encryption is enabled",
                                        "RUN demo"};
    const char *at = shared->console;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        at = strstr(at, order[i]);
        if (!at)
            fail_msg("'%s' is not in its place in:\n%s", order[i], shared->console);
    }
    assert_null(strstr(shared->console, "Encrypting partition 5")); // the unsigned mfg app
    check_efuses(s, release);
    check_locked_flash(s, boot);
    // And again, from power-up.
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    assert_non_null(strstr(shared->console, "secure boot v2 is already enabled"));
}

static void test_first_boot_development_locks_and_boots_again(void **state)
{
    const set *s = *state;
    first_boot(s, &s->secure_boot, false);
    assert_non_null(strstr(shared->console, s->chip->id == DS_CHIP_ESP32 ? "(3 plaintext" : "(1 plaintext"));
}

static void test_first_boot_release_locks_for_good(void **state)
{
    const set *s = *state;
    first_boot(s, &s->release_boot, true);
    assert_non_null(strstr(shared->console, "(0 plaintext"));
}

static void flip(const ds_chip *chip, uint32_t addr)
{
    static uint8_t flash[FLASH_SIZE];
    read_flash(chip, flash);
    flash[addr] ^= 1;
    uint32_t sector = addr / 4096 * 4096;
    write_flash(chip, sector, (ds_view){flash + sector, 4096});
}

static void test_locked_device_refuses_what_was_changed(void **state)
{
    const set *s = *state;
    fresh(s, &s->release_boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    // mfg is not signed and was not encrypted: it is no way out of a damaged app.
    flip(s->chip, OTA_0 + 0x800);
    boot_says(s->chip, "No bootable app partitions");
    flip(s->chip, OTA_0 + 0x800);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    flip(s->chip, s->chip->bootloader_offset + 0x800);
    boot_says(s->chip, "SHA-256 simple hash comparison failed.\r\nsecure boot verification failed\r\nets_main.c 333");
    // Plain images on a chip that decrypts.
    flash_plain(s, &s->release_boot, 0);
    boot_says(s->chip, "invalid header: 0x");
    assert_null(strstr(shared->console, "RUN"));
}

static void test_rom_refuses_bootloader_of_another_key(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf other = {0};
    int code;
    fresh(s, &s->secure_boot, 0);
    // Cut while the first sector is encrypted: secure boot is on, encryption is not.
    (void)power_up(s->chip, 20, &code);
    assert_int_equal(code, DS_SIM_EXIT_POWER_CUT);
    ds_sim_image_spec spec = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_SECURE_BOOTLOADER, .table_offset = TABLE, .body = 4000};
    make(&spec, wrong_key, &other);
    flash_plain(s, &other, 0);
    boot_says(s->chip, "Sig block 0 signed with untrusted key\r\nsecure boot verification failed");
    ds_buf_clear(&other);
    make(&spec, NULL, &other);
    flash_plain(s, &other, 0);
    boot_says(s->chip, "secure boot verification failed");
    assert_null(strstr(shared->console, "RUN"));
    flash_plain(s, &s->secure_boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
}

// ---- power cuts

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

#define BOTH(test)                                     \
    {#test " (esp32)", test, NULL, NULL, &sets[0]},    \
    {                                                  \
#test " (esp32c3)", test, NULL, NULL, &sets[1] \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_image_make_is_deterministic_and_laid_out_for_the_cache),
        BOTH(test_image_boot_kind_is_read_back),
        BOTH(test_boot_plain_device_runs_what_otadata_names),
        BOTH(test_boot_blank_flash_repeats_invalid_header),
        BOTH(test_boot_blank_otadata_runs_first_slot_and_notes_it),
        BOTH(test_boot_damaged_app_is_not_run_and_the_other_is),
        BOTH(test_boot_damaged_table_or_bootloader_runs_nothing),
        BOTH(test_boot_image_for_another_chip_is_refused),
        BOTH(test_boot_older_secure_version_is_refused),
        BOTH(test_first_boot_without_proof_burns_nothing),
        BOTH(test_first_boot_without_room_for_a_flash_key_burns_nothing),
        BOTH(test_first_boot_ecdsa_signature_is_not_taken_by_these_chips),
        BOTH(test_first_boot_development_locks_and_boots_again),
        BOTH(test_first_boot_release_locks_for_good),
        BOTH(test_locked_device_refuses_what_was_changed),
        BOTH(test_rom_refuses_bootloader_of_another_key),
        BOTH(test_first_boot_power_cut_anywhere_is_recoverable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
