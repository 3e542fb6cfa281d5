// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The port over a fake chip: values, keys, image places, identity, download mode, refusals of publish.
#include "tests/unit/agent_posix_fake.h"

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

static bool keep_stamp(void *arg, const char *name_space, const char *key)
{
    unsigned *asked = arg;
    ++*asked;
    return strcmp(name_space, "stamp") == 0 && strcmp(key, "two") != 0;
}

static void test_values_clear_erases_what_is_not_claimed(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    const ds_port *port = &f->port.port;
    static const uint8_t big[3000] = {7};
    char text[32];
    size_t len;
    unsigned asked = 0;
    assert_int_equal(port->values_clear(port->ctx, DS_AREA_PLAIN, keep_stamp, &asked), DS_STATUS_OK);
    assert_int_equal(f->steps, 0);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "one", "1"), DS_STATUS_OK);
    assert_int_equal(set_text(f, DS_AREA_PLAIN, "two", "2"), DS_STATUS_OK);
    assert_int_equal(port->value_set(port->ctx, DS_AREA_PLAIN, "wifi", "big", DS_VALUE_BLOB, big, sizeof big), 0);
    assert_int_equal(port->value_set(port->ctx, DS_AREA_PLAIN, "wifi", "n", DS_VALUE_U8, "a", 1), DS_STATUS_OK);
    assert_int_equal(port->values_clear(port->ctx, DS_AREA_PLAIN, keep_stamp, &asked), DS_STATUS_OK);
    assert_int_equal(asked, 4);
    // Left: two namespaces, and a text of two entries.
    assert_int_equal(port->area_free(port->ctx, DS_AREA_PLAIN), (3 * 126 - 4) * 32);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(get_text(f, DS_AREA_PLAIN, "one", text, sizeof text), DS_STATUS_OK);
        assert_code(get_text(f, DS_AREA_PLAIN, "two", text, sizeof text), NOT_FOUND);
        assert_code(port->value_get(port->ctx, DS_AREA_PLAIN, "wifi", "big", text, sizeof text, &len), NOT_FOUND);
        assert_code(port->value_get(port->ctx, DS_AREA_PLAIN, "wifi", "n", text, sizeof text, &len), NOT_FOUND);
        restart(f);
    }
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
    f->flash[KEYS_AT + 3] ^= 0xFF; // whatever the random key made of it
    restart(f);
    assert_code(get_text(f, DS_AREA_ENCRYPTED, "serial", text, sizeof text), FLASH);
    assert_code(set_text(f, DS_AREA_ENCRYPTED, "serial", "SN0043"), FLASH);
    assert_int_equal(f->steps, 0);
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

static void test_download_close_protected_fuse_is_unsupported(void **state)
{
    (void)state;
    static const struct {
        const char *chip;
        unsigned protection;
    } cases[] = {{"esp32", 2}, {"esp32c3", 18}};
    for (size_t i = 0; i < 2; i++) {
        fake *f = fake_new(cases[i].chip);
        const ds_port *port = &f->port.port;
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "WR_DIS", 1u << cases[i].protection));
        ds_efuse_words before = f->efuses;
        assert_code(port->download_close(port->ctx), UNSUPPORTED);
        assert_memory_equal(&f->efuses, &before, sizeof before);
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
    ds_publish m = {.client_id = "id", .topic = "t", .payload = "p"};
    m.key = m.chain = (const uint8_t *)"x";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m.endpoint = bad[i];
        assert_code(port->publish(port->ctx, &m), BAD_REQUEST);
    }
    m.endpoint = "mqtts://127.0.0.1:8883";
    assert_code(port->publish(port->ctx, &m), NETWORK);
    assert_non_null(memmem(f->console, f->console_len, "no endpoint_ca", 14));
    assert_int_equal(set_text(f, DS_AREA_ENCRYPTED, "endpoint_ca", "not a certificate"), DS_STATUS_OK);
    m.key_len = m.chain_len = 1;
    for (int in_dsig = 0; in_dsig < 2; in_dsig++) {
        m.key_in_dsig = in_dsig;
        assert_code(port->publish(port->ctx, &m), CRYPTO);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_set_plain_is_read_back_after_restart),
        cmocka_unit_test(test_value_each_stops_where_the_callback_says),
        cmocka_unit_test(test_values_clear_erases_what_is_not_claimed),
        cmocka_unit_test(test_encrypted_area_without_flash_encryption_makes_no_keys),
        cmocka_unit_test(test_encrypted_area_keys_and_values_are_ciphertext),
        cmocka_unit_test(test_encrypted_area_power_cut_at_first_use_is_repeatable),
        cmocka_unit_test(test_encrypted_area_damaged_keys_with_data_are_not_replaced),
        cmocka_unit_test(test_image_write_stays_inside_its_place),
        cmocka_unit_test(test_identity_tells_chip_mac_and_app),
        cmocka_unit_test(test_download_close_burns_the_chips_fuse),
        cmocka_unit_test(test_download_close_protected_fuse_is_unsupported),
        cmocka_unit_test(test_self_test_tells_what_fails),
        cmocka_unit_test(test_log_line_is_printable_text),
        cmocka_unit_test(test_publish_without_a_way_to_verify_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
