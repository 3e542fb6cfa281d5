// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Images: chunks, resends, refusals, and faults at every write.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

#define CODE(x) DEVSTAMP__STATUS_CODE__CODE_##x
#define BOOTLOADER DEVSTAMP__IMAGE_TARGET__TARGET_BOOTLOADER
#define UPDATE DEVSTAMP__IMAGE_TARGET__TARGET_UPDATE_SLOT

static fake_port f;
static fake_station st;
static uint8_t image[80 * 1024 + 16]; // over one erase block, and a last chunk of 16 bytes
static uint32_t next_offset;
static bool same;

static int setup(void **state)
{
    (void)state;
    fake_init(&f, 4);
    fake_station_init(&st);
    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)(i * 7 + (i >> 8));
    image[0] = 0xE9;
    image[12] = 5;
    image[13] = 0;
    memset(f.places, 0, sizeof f.places); // an old image: nothing can be written without an erase
    return 0;
}

static int call(Devstamp__Request *q)
{
    Devstamp__Response *r = fake_call(&f, &st, q);
    int code = r != NULL ? (int)DS_STATUS_CODE(r->status) : -1;
    if (code == 0) {
        next_offset = r->image->next_offset;
        same = r->image->same;
    }
    fake_free(r);
    return code;
}

static int begin_with(int target, uint32_t size, size_t digest_len)
{
    uint8_t digest[32];
    assert_true(ds_sha256(image, size < sizeof image ? size : sizeof image, digest));
    Devstamp__ImageBegin b = DEVSTAMP__IMAGE_BEGIN__INIT;
    b.target = (Devstamp__ImageTarget)target;
    b.size = size;
    b.sha256 = (ProtobufCBinaryData){digest_len, digest};
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_BEGIN;
    q.image_begin = &b;
    return call(&q);
}

static int begin(int target, uint32_t size)
{
    return begin_with(target, size, 32);
}

static int data_of(uint32_t offset, uint8_t *data, size_t len)
{
    Devstamp__ImageData d = DEVSTAMP__IMAGE_DATA__INIT;
    d.offset = offset;
    d.data = (ProtobufCBinaryData){len, data};
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_DATA;
    q.image_data = &d;
    return call(&q);
}

static int chunk(uint32_t offset)
{
    size_t left = sizeof image - offset;
    return data_of(offset, image + offset, left < 4096 ? left : 4096);
}

static int end(void)
{
    Devstamp__ImageEnd e = DEVSTAMP__IMAGE_END__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_END;
    q.image_end = &e;
    return call(&q);
}

// As a station does: each chunk once again where it failed.
static int write_all(int target)
{
    int code = begin(target, sizeof image);
    if (code != 0)
        return code;
    for (uint32_t at = next_offset; code == 0 && at < sizeof image; at += 4096)
        if ((code = chunk(at)) != 0)
            code = chunk(at);
    return code != 0 ? code : end();
}

static void assert_written(int place)
{
    assert_memory_equal(f.places[place], image, sizeof image);
    for (size_t i = sizeof image; i < (sizeof image + 31) / 32 * 32; i++)
        assert_int_equal(f.places[place][i], 0xFF);
}

static void test_write_whole_and_again(void **state)
{
    (void)state;
    assert_int_equal(begin(BOOTLOADER, sizeof image), 0);
    assert_false(same);
    for (uint32_t at = 0; at < sizeof image; at += 4096) {
        assert_int_equal(next_offset, at);
        assert_int_equal(chunk(at), 0);
        long writes = f.writes;
        assert_int_equal(chunk(at), 0); // its answer was lost
        assert_int_equal(f.writes, writes);
    }
    assert_int_equal(next_offset, sizeof image);
    assert_int_equal(end(), 0);
    assert_int_equal(end(), 0);
    assert_written(DS_PLACE_BOOTLOADER);
    fake_power_on(&f, DS_AGENT_MFG);
    assert_int_equal(end(), CODE(NOT_ALLOWED));
    assert_int_equal(begin(BOOTLOADER, sizeof image), 0);
    assert_true(same);
    assert_int_equal(next_offset, sizeof image);
    assert_int_equal(end(), 0);
    assert_int_equal(f.places[DS_PLACE_UPDATE_SLOT][0], 0);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_int_equal(chunk(0), CODE(NOT_ALLOWED));
    assert_int_equal(end(), CODE(NOT_ALLOWED));
    assert_int_equal(begin(2, sizeof image), CODE(BAD_REQUEST));
    assert_int_equal(begin(UPDATE, 0), CODE(BAD_REQUEST));
    assert_int_equal(begin(UPDATE, FAKE_PLACE + 1), CODE(NO_SPACE));
    assert_int_equal(begin(UPDATE, 0xFFFFFFFF), CODE(NO_SPACE));
    assert_int_equal(begin_with(UPDATE, sizeof image, 31), CODE(BAD_REQUEST));
    assert_int_equal(begin(UPDATE, sizeof image), 0);
    assert_int_equal(chunk(4096), CODE(BAD_REQUEST)); // out of order
    assert_int_equal(data_of(0, image, 4095), CODE(BAD_REQUEST));
    assert_int_equal(data_of(16, image, 4096), CODE(BAD_REQUEST));
    assert_int_equal(data_of(0xFFFFF000, image, 4096), CODE(BAD_REQUEST));
    assert_int_equal(end(), CODE(NOT_ALLOWED));
    image[12] = 0; // for an ESP32
    long writes = f.writes;
    assert_int_equal(chunk(0), CODE(BAD_IMAGE));
    assert_int_equal(f.writes, writes);
    image[12] = 5;
    assert_int_equal(chunk(0), 0);
    uint8_t other[4096];
    memset(other, 1, sizeof other);
    assert_int_equal(data_of(0, other, sizeof other), CODE(FLASH)); // not what was written there
}

static void test_wrong_digest_at_end(void **state)
{
    (void)state;
    assert_int_equal(begin(UPDATE, sizeof image), 0);
    image[5000] ^= 1;
    for (uint32_t at = 0; at < sizeof image; at += 4096)
        assert_int_equal(chunk(at), 0);
    assert_int_equal(end(), CODE(MISMATCH));
    assert_int_equal(end(), CODE(NOT_ALLOWED));
}

static void test_stuck_bit_is_found(void **state)
{
    (void)state;
    f.stuck_flash = true;
    image[0x2000] &= 0xFE;
    assert_int_equal(begin(UPDATE, sizeof image), 0);
    assert_int_equal(chunk(0), 0);
    assert_int_equal(chunk(4096), f.places[1][4096] == image[4096] ? 0 : (int)CODE(FLASH));
    assert_int_equal(write_all(UPDATE), CODE(FLASH));
}

static void test_spoiled_write_is_erased_before_next_try(void **state)
{
    (void)state;
    assert_int_equal(begin(UPDATE, sizeof image), 0);
    assert_int_equal(chunk(0), 0);
    f.spoil_write = true;
    assert_int_equal(chunk(4096), CODE(FLASH));
    for (uint32_t at = 4096; at < sizeof image; at += 4096)
        assert_int_equal(chunk(at), 0);
    assert_int_equal(end(), 0);
    assert_written(DS_PLACE_UPDATE_SLOT);
}

static void test_app_role_update_slot_only(void **state)
{
    (void)state;
    fake_power_on(&f, DS_AGENT_APP);
    assert_int_equal(begin(BOOTLOADER, sizeof image), CODE(NOT_ALLOWED));
    assert_int_equal(write_all(UPDATE), 0);
    assert_written(DS_PLACE_UPDATE_SLOT);
}

static void test_app_role_takes_four_images_a_boot(void **state)
{
    (void)state;
    fake_power_on(&f, DS_AGENT_APP);
    for (int i = 0; i < 4; i++) {
        image[100]++;
        assert_int_equal(write_all(UPDATE), 0);
    }
    assert_int_equal(begin(UPDATE, sizeof image), 0); // is there already: nothing will be written
    assert_true(same);
    image[100]++;
    for (int i = 0; i < 300; i++) {
        assert_int_equal(begin(UPDATE, sizeof image), CODE(NOT_ALLOWED));
        if (i % 2)
            st.id--; // the same request again too
    }
    assert_int_equal(chunk(0), CODE(NOT_ALLOWED));
    fake_power_on(&f, DS_AGENT_APP);
    assert_int_equal(begin(UPDATE, sizeof image), 0);
    for (int i = 0; i < 9; i++) {
        st.id--; // an answer was lost: the same request counts once
        assert_int_equal(begin(UPDATE, sizeof image), 0);
    }
    assert_int_equal(write_all(UPDATE), 0);
    fake_power_on(&f, DS_AGENT_MFG);
    for (int i = 0; i < 6; i++) {
        image[100]++;
        assert_int_equal(write_all(UPDATE), 0);
    }
}

static void test_every_call_fails_once(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 1; reached; n++) {
        setup(NULL);
        f.fail_call = n;
        f.fail_after = n % 2 != 0;
        int code = write_all(UPDATE);
        reached = f.calls >= n;
        f.fail_call = 0;
        for (int i = 0; code != 0 && i < 2; i++)
            code = write_all(UPDATE);
        assert_int_equal(code, 0);
        assert_written(DS_PLACE_UPDATE_SLOT);
    }
}

static void test_power_lost_at_every_write(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 2; reached; n++) {
        setup(NULL);
        f.power_write = n / 2;
        f.power_after = n % 2 != 0;
        int code = write_all(UPDATE);
        reached = f.dead;
        assert_int_equal(code, reached ? -1 : 0);
        fake_power_on(&f, DS_AGENT_MFG);
        assert_int_equal(write_all(UPDATE), 0);
        assert_written(DS_PLACE_UPDATE_SLOT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_write_whole_and_again, setup),
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_wrong_digest_at_end, setup),
        cmocka_unit_test_setup(test_stuck_bit_is_found, setup),
        cmocka_unit_test_setup(test_spoiled_write_is_erased_before_next_try, setup),
        cmocka_unit_test_setup(test_app_role_update_slot_only, setup),
        cmocka_unit_test_setup(test_app_role_takes_four_images_a_boot, setup),
        cmocka_unit_test_setup(test_every_call_fails_once, setup),
        cmocka_unit_test_setup(test_power_lost_at_every_write, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
