// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Errors with context, files and secrets of the base room.
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strncpy(folder, "/tmp/devstamp-test-XXXXXX", sizeof folder - 1);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    DS_CLEANUP_FREE char *file = ds_asprintf("%s/file", folder);
    unlink(file);
    return rmdir(folder);
}

static void test_wrap_reads_outside_in(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_fail_errno(&e, DS_STORE, ENOSPC, "write %s", "x"), DS_STORE);
    assert_int_equal(ds_wrap(&e, "ledger"), DS_STORE);
    assert_string_equal(e.text, "ledger: write x: No space left on device");
    assert_int_equal(e.code, ENOSPC);
    assert_int_equal(ds_hint(&e, "free some space"), DS_STORE);
    assert_int_equal(ds_hint(&e, "a less informed hint"), DS_STORE);
    assert_string_equal(e.hint, "free some space");
}

static void test_wrap_long_text_keeps_the_outermost(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    char inner[600];
    memset(inner, 'i', sizeof inner - 1);
    inner[sizeof inner - 1] = '\0';
    (void)ds_fail(&e, DS_INPUT, "%s", inner);
    (void)ds_wrap(&e, "slot 3");
    assert_memory_equal(e.text, "slot 3: iii", 11);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void test_errors_without_a_place_keep_the_class(void **state)
{
    (void)state;
    assert_int_equal(ds_fail(NULL, DS_DEVICE, "x"), DS_DEVICE);
    assert_int_equal(ds_hint(NULL, "x"), DS_INTERNAL);
    assert_string_equal(ds_class_name(DS_POLICY), "policy");
}

static void test_file_write_replaces_whole_or_not_at_all(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/file", folder);
    assert_int_equal(ds_file_write(path, (ds_view){(const uint8_t *)"one", 3}, 0600, &e), DS_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    DS_CLEANUP_FREE char *nowhere = ds_asprintf("%s/no/file", folder);
    assert_int_equal(ds_file_write(nowhere, (ds_view){(const uint8_t *)"two", 3}, 0600, &e), DS_STORE);
    DS_CLEANUP_BUF ds_buf back = {0};
    assert_int_equal(ds_file_read(path, 100, &back, &e), DS_OK);
    assert_int_equal(back.len, 3);
    assert_memory_equal(back.ptr, "one", 3);
}

static void test_file_read_refuses_what_is_too_large_or_no_file(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/file", folder);
    DS_CLEANUP_BUF ds_buf back = {0};
    assert_int_equal(ds_file_write(path, (ds_view){(const uint8_t *)"12345", 5}, 0600, &e), DS_OK);
    assert_int_equal(ds_file_read(path, 4, &back, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "larger than 4 bytes"));
    assert_int_equal(ds_file_read(folder, 4, &back, &e), DS_INPUT);
    assert_int_equal(back.len, 0);
}

static void test_secret_file_others_may_read_is_refused(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/file", folder);
    ds_secret s = {0};
    assert_int_equal(ds_file_write(path, (ds_view){(const uint8_t *)"123456\r\nrest", 12}, 0640, &e), DS_OK);
    assert_int_equal(ds_secret_read_file(path, 63, &s, &e), DS_POLICY);
    assert_non_null(strstr(e.hint, "chmod 600"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(ds_secret_read_file(path, 63, &s, &e), DS_OK);
    assert_int_equal(s.len, 6);
    assert_memory_equal(s.ptr, "123456", 6);
    ds_secret_free(&s);
    assert_int_equal(ds_secret_read_file(path, 5, &s, &e), DS_INPUT); // too long: never cut short silently
}

static void test_control_characters_reach_no_terminal(void **state)
{
    (void)state;
    char text[] = "a\x1b[2Jb\x7f\r\n\xc2\x9b"
                  "c \xc3\xa4";
    ds_log_clean(text);
    assert_string_equal(text, "a?[2Jb?????c \xc3\xa4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_control_characters_reach_no_terminal),
        cmocka_unit_test(test_wrap_reads_outside_in),
        cmocka_unit_test(test_wrap_long_text_keeps_the_outermost),
        cmocka_unit_test(test_errors_without_a_place_keep_the_class),
        cmocka_unit_test_setup_teardown(test_file_write_replaces_whole_or_not_at_all, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_file_read_refuses_what_is_too_large_or_no_file, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_secret_file_others_may_read_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
