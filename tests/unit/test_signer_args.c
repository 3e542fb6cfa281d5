// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's command line: what the parent writes is what the child reads, and no PIN can stand in it.
#include "src/signer/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_signer_args_survive_the_way_and_hold_no_secret(void **state)
{
    (void)state;
    const ds_signer_args in = {
        .config = {.key = "pkcs11:token=a;object=b",
                   .module = "/m.so",
                   .certificate = "/c.pem",
                   .log = "/l",
                   .log_key = "file:/k",
                   .quota = "/q",
                   .pin = DS_PIN_FILE,
                   .pin_file = "/p",
                   .seal = "/s",
                   .seal_key = "/sk",
                   .seal_tpm = "device:/t",
                   .station = "line-1",
                   .token_serial = "12",
                   .pin_fd = -1},
        .fd = 3,
    };
    ds_signer_argv line;
    ds_signer_args_write(&in, &line);
    char *argv[DS_SIGNER_ARGV];
    memcpy(argv, line.argv, sizeof argv);
    int argc = 0;
    while (argv[argc])
        argc++;
    ds_signer_args out;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_signer_args_read(argc - 1, argv + 1, &out, &e), DS_OK);
    assert_int_equal(out.fd, 3);
    assert_int_equal(out.config.pin, DS_PIN_FILE);
    assert_string_equal(out.config.pin_file, "/p");
    assert_string_equal(out.config.key, in.config.key);
    assert_string_equal(out.config.log, "/l");
    assert_string_equal(out.config.log_key, "file:/k");
    assert_string_equal(out.config.quota, "/q");
    assert_string_equal(out.config.seal, "/s");
    assert_string_equal(out.config.seal_key, "/sk");
    assert_string_equal(out.config.seal_tpm, "device:/t");
    assert_string_equal(out.config.station, "line-1");
    char verb[] = "signer", pin[] = "--pin", value[] = "1234";
    char *with_pin[] = {verb, pin, value, NULL};
    assert_int_equal(ds_signer_args_read(3, with_pin, &out, &e), DS_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signer_args_survive_the_way_and_hold_no_secret),
    };
    return cmocka_run_group_tests_name("signer: arguments", tests, NULL, NULL);
}
