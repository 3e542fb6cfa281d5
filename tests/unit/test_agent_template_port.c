// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A port that nobody filled in refuses: the agent on it makes no key and claims nothing.
#include "agent/port/template/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Every member before the app side's is there: a function added to the contract is added to the skeleton.
static void test_template_port_has_every_function(void **state)
{
    (void)state;
    ds_port port;
    ds_template_port(&port);
    const size_t begin = offsetof(ds_port, value_get), end = offsetof(ds_port, download_close);
    static const uint8_t null[sizeof(void (*)(void))];
    for (size_t at = begin; at < end; at += sizeof null)
        assert_memory_not_equal((const uint8_t *)&port + at, null, sizeof null);
}

static void test_template_port_unfinished_refuses(void **state)
{
    (void)state;
    static uint8_t frame[DS_AGENT_FRAME_MAX + 16], scratch[DS_AGENT_FRAME_MAX + 16];
    ds_port port;
    ds_agent agent;
    ds_identity identity;
    ds_security security;
    uint8_t bytes[32];
    size_t len = 0;
    ds_template_port(&port);
    ds_agent_init(&agent, &port, DS_AGENT_MFG, frame, scratch);
    assert_int_equal(ds_agent_stage(&agent), -1);
    assert_int_not_equal(port.random(port.ctx, bytes, sizeof bytes), 0);
    assert_int_equal(port.self_test(port.ctx), 7);
    assert_int_equal(DS_STATUS_CODE(port.value_get(port.ctx, DS_AREA_PLAIN, "stamp", "key", bytes, sizeof bytes, &len)),
                     DEVSTAMP__STATUS_CODE__CODE_UNSUPPORTED);
    assert_int_equal(port.image_capacity(port.ctx, DS_PLACE_UPDATE_SLOT), 0);
    assert_false(port.area_is_blank(port.ctx, DS_AREA_PLAIN));
    port.identity(port.ctx, &identity);
    port.security(port.ctx, &security);
    assert_int_equal(identity.chip_id, DS_CHIP_ID_GENERIC);
    assert_false(security.secure_boot || security.flash_encryption);
    assert_false(ds_agent_poll(&agent, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template_port_has_every_function),
        cmocka_unit_test(test_template_port_unfinished_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
