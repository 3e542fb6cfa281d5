// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys behind URIs, against SoftHSM2 in a token directory of the test's own. The tests that need a token are skipped
// where SoftHSM2 is not installed.
#include "src/base/file.h"
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/key.h"
#include "src/pki/token.h"

#include <fcntl.h>
#include <ftw.h>
#include <openssl/x509v3.h>
#include <p11-kit/pkcs11.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static const char *module;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    static const char *const modules[] = {"/usr/lib/softhsm/libsofthsm2.so",
                                          "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                                          "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"};
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ds-token.XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof modules / sizeof *modules && !module; i++)
        if (access(modules[i], R_OK) == 0)
            module = modules[i];
    if (!module)
        return 0;
    DS_CLEANUP_FREE char *conf = ds_asprintf("%s/softhsm2.conf", folder);
    DS_CLEANUP_FREE char *text = ds_asprintf("directories.tokendir = %s/tokens\nobjectstore.backend = file\n", folder);
    DS_CLEANUP_FREE char *tokens = ds_asprintf("%s/tokens", folder);
    assert_int_equal(mkdir(tokens, 0700), 0);
    assert_int_equal(ds_file_write(conf, (ds_view){(uint8_t *)text, strlen(text)}, 0600, NULL), DS_OK);
    setenv("SOFTHSM2_CONF", conf, 1);
    assert_int_equal(
        system("softhsm2-util --init-token --free --label line --so-pin 87654321 --pin 123456 >/dev/null 2>&1"), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_pin(ds_secret *pin, const char *text)
{
    assert_int_equal(ds_secret_new(pin, strlen(text), NULL), DS_OK);
    memcpy(pin->ptr, text, strlen(text));
}

static void sign_and_check(ds_key *key)
{
    X509_NAME *name = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_dn_parse("CN=Test", &name, &e), DS_OK);
    const uint8_t serial[16] = {1, 2, 3};
    ds_cert_spec spec = {DS_CERT_ROOT, name, ds_key_public(key), serial, 0, DS_NO_EXPIRY, NULL, 0, NULL, 0};
    for (int i = 0; i < 2; i++) { // the second use of a key is where tokens that ask again differ
        X509 *cert = NULL;
        if (ds_cert_make(&spec, NULL, ds_key_private(key), ds_key_public(key), &cert, &e))
            fail_msg("%s", e.text);
        X509_free(cert);
    }
    X509_NAME_free(name);
}

static void test_token_every_key_type_is_made_used_and_found_again(void **state)
{
    (void)state;
    if (!module)
        skip();
    static const enum ds_key_type types[] = {DS_KEY_ECDSA_P256, DS_KEY_ECDSA_P384, DS_KEY_RSA_2048};
    DS_CLEANUP_SECRET ds_secret pin = {0};
    make_pin(&pin, "123456");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        DS_CLEANUP_FREE char *uri = ds_asprintf("pkcs11:token=line;object=%s", ds_key_kind_of(types[i])->name);
        ds_key_source src = {.uri = uri, .module = module, .pin = &pin};
        ds_key *key = NULL;
        ds_err e = DS_ERR_INIT;
        if (ds_key_create(&src, types[i], &key, &e))
            fail_msg("%s", e.text);
        assert_int_equal(ds_key_type_of(ds_key_public(key)), types[i]);
        uint8_t made[32], found[32];
        assert_int_equal(ds_public_key_digest(ds_key_public(key), made, &e), DS_OK);
        sign_and_check(key);
        ds_key_free(key);
        assert_int_equal(ds_key_open(&src, &key, &e), DS_OK);
        assert_int_equal(ds_public_key_digest(ds_key_public(key), found, &e), DS_OK);
        assert_memory_equal(made, found, 32);
        sign_and_check(key);
        ds_key_free(key);
        key = NULL;
        assert_int_equal(ds_key_create(&src, types[i], &key, &e), DS_POLICY);
        assert_non_null(strstr(e.text, "exists already"));
        assert_null(key);
    }
}

static void test_token_key_that_asks_at_every_use_signs_twice(void **state)
{
    (void)state;
    if (!module || system("command -v pkcs11-tool >/dev/null 2>&1") != 0)
        skip();
    DS_CLEANUP_FREE char *command =
        ds_asprintf("pkcs11-tool --module %s --token-label line --login --pin 123456 --keypairgen --key-type "
                    "EC:prime256v1 --id 09 --label strict --always-auth >/dev/null 2>&1",
                    module);
    assert_int_equal(system(command), 0);
    DS_CLEANUP_SECRET ds_secret pin = {0};
    make_pin(&pin, "123456");
    ds_key_source src = {.uri = "pkcs11:token=line;id=%09", .module = module, .pin = &pin};
    ds_key *key = NULL;
    ds_err e = DS_ERR_INIT;
    if (ds_key_open(&src, &key, &e))
        fail_msg("%s", e.text);
    sign_and_check(key);
    ds_key_free(key);
}

static void test_token_destroyed_key_leaves_nothing(void **state)
{
    (void)state;
    if (!module)
        skip();
    DS_CLEANUP_SECRET ds_secret pin = {0};
    make_pin(&pin, "123456");
    ds_key_source src = {.uri = "pkcs11:token=line;object=brief", .module = module, .pin = &pin};
    ds_key *key = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_key_create(&src, DS_KEY_ECDSA_P256, &key, &e), DS_OK);
    ds_key_destroy(key);
    ds_key_free(key);
    assert_int_equal(ds_key_open(&src, &key, &e), DS_TOKEN);
    assert_non_null(strstr(e.text, "no private key of that name"));
}

static void test_token_wrong_pin_is_refused_and_said(void **state)
{
    (void)state;
    if (!module)
        skip();
    DS_CLEANUP_SECRET ds_secret pin = {0};
    make_pin(&pin, "000000");
    ds_token *t = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(
        ds_token_open(&(ds_token_access){.uri = "pkcs11:token=line;object=x", .module = module, .pin = &pin}, &t, &e),
        DS_TOKEN);
    assert_int_equal(e.code, CKR_PIN_INCORRECT);
    assert_string_equal(e.text, "token \"line\": log in: the PIN is wrong (0xa0)");
    assert_non_null(strstr(e.hint, "tried once"));
}

static enum ds_class open_without_pin(const char *uri, const char *path, ds_err *e)
{
    ds_token *t = NULL;
    enum ds_class rc = ds_token_open(&(ds_token_access){.uri = uri, .module = path}, &t, e);
    ds_token_close(t);
    return rc;
}

static void test_token_unknown_and_misnamed_are_refused(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_token *t = NULL;
    static const struct {
        const char *uri;
        enum ds_class cls;
    } bad[] = {
        {"pkcs11:token=line;object=k?pin-value=1234", DS_POLICY},
        {"pkcs11:token=line;object=k?pin-source=/x", DS_POLICY},
        {"pkcs11:token=line", DS_USAGE},
        {"pkcs11:tok%2", DS_USAGE},
        {"pkcs11:token=line;object=k;nonsense=1", DS_USAGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ds_token_uri_check(bad[i].uri, &e), bad[i].cls);
    assert_int_equal(ds_token_uri_check("pkcs11:token=line;object=k", &e), DS_OK);
    assert_int_equal(ds_token_open(&(ds_token_access){.uri = "pkcs11:token=line;object=k"}, &t, &e), DS_USAGE);
    assert_int_equal(open_without_pin("pkcs11:token=line;object=k", "/nowhere/module.so", &e), DS_TOKEN);
    assert_non_null(strstr(e.hint, "install the token's PKCS#11 library, or correct its path"));
    if (module) {
        assert_int_equal(open_without_pin("pkcs11:token=other;object=k", module, &e), DS_TOKEN);
        assert_string_equal(e.text, "no token matches the key URI; there is \"line\"");
        assert_int_equal(open_without_pin("pkcs11:token=line;object=k", module, &e), DS_TOKEN);
        assert_string_equal(e.text, "token \"line\" needs a PIN");
    }
    assert_true(ds_token_same("pkcs11:token=a;object=1", "pkcs11:token=a;object=2"));
    assert_false(ds_token_same("pkcs11:token=a;object=1", "pkcs11:token=b;object=1"));
}

static void test_file_key_is_made_once_and_kept_private(void **state)
{
    (void)state;
    DS_CLEANUP_FREE char *uri = ds_asprintf("file:%s/root.key", folder);
    ds_key_source src = {.uri = uri};
    ds_key *key = NULL;
    ds_err e = DS_ERR_INIT;
    struct stat st;
    assert_int_equal(ds_key_open(&src, &key, &e), DS_INPUT);
    assert_int_equal(ds_key_create(&src, DS_KEY_ECDSA_P384, &key, &e), DS_OK);
    sign_and_check(key);
    ds_key_free(key);
    assert_int_equal(stat(uri + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ds_key_create(&src, DS_KEY_ECDSA_P384, &key, &e), DS_POLICY);
    assert_int_equal(ds_key_open(&src, &key, &e), DS_OK);
    assert_int_equal(ds_key_type_of(ds_key_public(key)), DS_KEY_ECDSA_P384);
    ds_key_free(key);
    assert_int_equal(chmod(uri + 5, 0640), 0);
    assert_int_equal(ds_key_open(&src, &key, &e), DS_POLICY);
    assert_int_equal(ds_key_open(&(ds_key_source){.uri = "root.key"}, &key, &e), DS_USAGE);
}

static void test_file_key_passphrase_and_rubbish_are_refused(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_key *key = NULL;
    DS_CLEANUP_FREE char *uri = ds_asprintf("file:%s/bad.key", folder);
    DS_CLEANUP_FREE char *command = ds_asprintf(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:secret -out %s/bad.key "
        "2>/dev/null && chmod 600 %s/bad.key",
        folder, folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(ds_key_open(&(ds_key_source){.uri = uri}, &key, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "not an unencrypted private key"));
    assert_int_equal(ds_file_write(uri + 5, (ds_view){(const uint8_t *)"rubbish", 7}, 0600, &e), DS_OK);
    assert_int_equal(ds_key_open(&(ds_key_source){.uri = uri}, &key, &e), DS_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_every_key_type_is_made_used_and_found_again),
        cmocka_unit_test(test_token_key_that_asks_at_every_use_signs_twice),
        cmocka_unit_test(test_token_destroyed_key_leaves_nothing),
        cmocka_unit_test(test_token_wrong_pin_is_refused_and_said),
        cmocka_unit_test(test_token_unknown_and_misnamed_are_refused),
        cmocka_unit_test(test_file_key_is_made_once_and_kept_private),
        cmocka_unit_test(test_file_key_passphrase_and_rubbish_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
