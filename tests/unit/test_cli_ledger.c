// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ledger: what it prints, what it keeps to itself, and its exit codes.
#include "ledger_support.h"

#include "src/cli/cli.h"

#include <fcntl.h>
#include <jansson.h>
#include <openssl/pem.h>

// Run "devstamp ledger ARGS" with the ledger closed, as another process would; output of both streams into out.
static int run(world *w, char *out, size_t cap, const char *const *args)
{
    char verb[] = "ledger", capture[128], *argv[16] = {verb};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = ds_strdup(args[argc - 1]);
    snprintf(capture, sizeof capture, "%s/out", w->folder);
    ds_ledger_close(w->l);
    w->l = NULL;
    fflush(stdout), fflush(stderr);
    int fd = open(capture, O_RDWR | O_CREAT | O_TRUNC, 0600), saved[2] = {dup(1), dup(2)};
    assert_true(fd >= 0);
    dup2(fd, 1), dup2(fd, 2);
    int code = ds_cmd_ledger(argc, argv);
    fflush(stdout), fflush(stderr);
    dup2(saved[0], 1), dup2(saved[1], 2);
    close(saved[0]), close(saved[1]);
    ssize_t n = pread(fd, out, cap - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    close(fd);
    unlink(capture);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    return code;
}

static char out[65536];
#define RUN(...) run(w, out, sizeof out, (const char *const[]){__VA_ARGS__, NULL})

static void test_list_shows_every_device(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    device_n(w->l, 0xABCDEF);
    assert_int_equal(RUN("list", "--ledger", w->path), DS_EXIT_OK);
    assert_has(out, "SERIAL");
    assert_has(
        out, "L-0001                   02:00:00:00:00:01 ESP32-C3  -            registered  2025-06-15T15:06:40Z yes");
    assert_has(out,
               "-                        02:00:00:ab:cd:ef ESP32-C3  -            none        -                    no");
    assert_int_equal(RUN("list", "--json", "--ledger", w->path), DS_EXIT_OK);
    json_t *rows = json_loads(out, 0, NULL);
    assert_int_equal(json_array_size(rows), 2);
    json_t *first = json_array_get(rows, 0);
    assert_string_equal(json_string_value(json_object_get(first, "serial")), "L-0001");
    assert_string_equal(json_string_value(json_object_get(json_object_get(first, "certificate"), "state")),
                        "registered");
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "certificate")));
    json_decref(rows);
}

static void test_show_tells_everything_but_secrets(void **state)
{
    world *w = *state;
    ds_ledger_device d = whole_device(w->l, 1);
    char pop[64];
    ds_ledger_cert c = {0};
    assert_int_equal(ds_ledger_device_pop(w->l, d.id, "abcd-efgh-2345", pop, &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(w->l, d.id, "step", "connect \x1b[2J evil \xff", &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_OK);
    assert_int_equal(RUN("show", "--ledger", w->path, "L-0001"), DS_EXIT_OK);
    assert_has(out, "connect ?[2J evil ?"); // a device's words do not reach the terminal's control
    assert_null(strstr(out, pop));
    assert_null(strstr(out, "BEGIN"));
    assert_has(out, "{\"flash\":\"refused\"}");
    assert_int_equal(RUN("show", "--ledger", w->path, "--json", "02:00:00:00:00:01"), DS_EXIT_OK);
    assert_null(strstr(out, pop));
    assert_int_equal(RUN("show", "--ledger", w->path, "--secrets", "L-0001"), DS_EXIT_OK);
    assert_has(out, pop);
    assert_int_equal(RUN("show", "--ledger", w->path, "--secrets", "--json", "--pem", "L-0001"), DS_EXIT_OK);
    json_t *o = json_loads(out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "pop")), pop);
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "proof"), "flash")), "refused");
    const char *pem = json_string_value(json_object_get(o, "certificate_pem"));
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    assert_int_equal(len, c.certificate.len);
    assert_memory_equal(der, c.certificate.ptr, c.certificate.len);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(bio);
    json_decref(o);
    ds_ledger_cert_free(&c);
}

static void test_check_exit_code_says_whole_or_not(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    assert_int_equal(RUN("check", "--ledger", w->path), DS_EXIT_OK);
    assert_has(out, "1 device, 0 problems, 0 waiting");
    char head[65];
    memcpy(head, strstr(out, "head ") + 5, 64);
    head[64] = '\0';
    device_n(w->l, 2);
    assert_int_equal(RUN("check", "--ledger", w->path, "--head", head), DS_EXIT_STORE);
    assert_has(out, "device 020000000002: has no certificate");
    assert_null(strstr(out, "noted hash"));
    head[0] = head[0] == '0' ? '1' : '0';
    assert_int_equal(RUN("check", "--ledger", w->path, "--json", "--head", head), DS_EXIT_STORE);
    json_t *o = json_loads(out, 0, NULL);
    assert_true(json_is_false(json_object_get(o, "whole")));
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 4);
    json_decref(o);
    assert_int_equal(RUN("check", "--ledger", w->path, "--head", "12"), DS_EXIT_USAGE);
}

static void test_check_registered_counts_who_waits(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    char serial[64];
    uint8_t digest[32];
    assert_int_equal(ds_ledger_device_serial(w->l, d.id, "W{counter}", serial, &w->e), DS_OK);
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, true, "{}", &w->e), DS_OK);
    assert_int_equal(RUN("check", "--ledger", w->path), DS_EXIT_OK);
    assert_has(out, "1 waiting for their first connect");
    assert_int_equal(RUN("check", "--registered", "--ledger", w->path), DS_EXIT_STORE);
    assert_has(out, "device W1 (02:00:00:00:00:01): its certificate is installed and not registered");
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_revoke_needs_a_reason_and_shows(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    assert_int_equal(RUN("revoke", "--ledger", w->path, "L-0001"), DS_EXIT_USAGE);
    assert_int_equal(RUN("revoke", "--ledger", w->path, "--reason", "sent back", "L-0001"), DS_EXIT_OK);
    assert_has(out, "devstamp registry sync --registry FILE --ledger ");
    assert_has(out, "devstamp registry set --registry FILE --device ");
    assert_int_equal(RUN("revoke", "--ledger", w->path, "--reason", "again", "L-0001"), DS_EXIT_INPUT);
    assert_int_equal(RUN("show", "--ledger", w->path, "L-0001"), DS_EXIT_OK);
    assert_has(out, "certificate          revoked");
    assert_has(out, "sent back");
    assert_int_equal(RUN("list", "--ledger", w->path), DS_EXIT_OK);
    assert_has(out, "revoked");
}

static void test_bad_use_is_told(void **state)
{
    world *w = *state;
    assert_int_equal(RUN("--help"), DS_EXIT_OK);
    assert_int_equal(RUN("list", "--help"), DS_EXIT_OK);
    assert_int_equal(RUN("list"), DS_EXIT_USAGE);
    assert_int_equal(RUN("list", "--ledger", w->path, "surplus"), DS_EXIT_USAGE);
    assert_int_equal(RUN("show", "--ledger", w->path), DS_EXIT_USAGE);
    assert_int_equal(RUN("lose", "--ledger", w->path), DS_EXIT_USAGE);
    assert_int_equal(RUN("list", "--ledger", w->path, "--frob"), DS_EXIT_USAGE);
    assert_int_equal(RUN("show", "--ledger", w->path, "nobody"), DS_EXIT_INPUT);
    assert_has(out, "knows no device 'nobody'");
    assert_int_equal(RUN("list", "--ledger", "/nonexistent/ledger.db"), DS_EXIT_STORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_list_shows_every_device),           TEST(test_show_tells_everything_but_secrets),
        TEST(test_check_exit_code_says_whole_or_not), TEST(test_check_registered_counts_who_waits),
        TEST(test_revoke_needs_a_reason_and_shows),   TEST(test_bad_use_is_told),
    };
    return cmocka_run_group_tests_name("cli: ledger", tests, NULL, NULL);
}
