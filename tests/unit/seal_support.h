// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A seal in a folder, and a configuration it is tied to: what the tests of the seal share.
#ifndef SEAL_SUPPORT_H
#define SEAL_SUPPORT_H

#include "src/base/file.h"
#include "src/pki/keytype.h"
#include "src/signer/seal.h"

#include <ftw.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define PIN "271828"
#define PASSPHRASE "correct horse battery"
#define OTHER "staple staple staple"

static char folder[64], key_path[96], other_key_path[96], words_path[96];

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void put_file(const char *path, const void *data, size_t len, mode_t mode)
{
    assert_int_equal(ds_file_write(path, (ds_view){data, len}, mode, NULL), DS_OK);
}

static inline void put_words(const char *words)
{
    put_file(words_path, words, strlen(words), 0600);
}

static inline int setup(void **state)
{
    (void)state;
    uint8_t key[40];
    snprintf(folder, sizeof folder, "/tmp/ds-seal.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    snprintf(other_key_path, sizeof other_key_path, "%s/other", folder);
    snprintf(words_path, sizeof words_path, "%s/words", folder);
    memset(key, 0x11, sizeof key);
    put_file(key_path, key, sizeof key, 0600);
    memset(key, 0x22, sizeof key);
    put_file(other_key_path, key, sizeof key, 0600);
    return sodium_init() < 0;
}

static inline int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// A configuration; tests change one thing of it.
typedef struct setting {
    ds_signer_profile profiles[2];
    uint8_t digests[2][32], ca[32], quota[32], machine[32];
    ds_signer_config cfg;
    ds_seal_station station;
} setting;

static inline void init_setting(setting *s)
{
    *s = (setting){.cfg = {.key = "pkcs11:token=line;object=subca",
                           .module = "/usr/lib/m.so",
                           .token_serial = "0123456789abcdef",
                           .station = "line-1"}};
    memset(s->digests[0], 0xA0, 32);
    memset(s->digests[1], 0xA1, 32);
    memset(s->ca, 0xCA, 32);
    memset(s->quota, 0x90, 32);
    memset(s->machine, 0x3C, 32);
    s->profiles[0] =
        (ds_signer_profile){"lamp", "CN={serial}", "SN{counter:4}", DS_KEY_ECDSA_P256, 1, "", s->digests[0], 0};
    s->profiles[1] = (ds_signer_profile){"plug", "CN={mac}", "{mac}", DS_KEY_RSA_2048, 0, "urn:x", s->digests[1], 0};
    s->cfg.profiles = s->profiles;
    s->cfg.profile_count = 2;
    s->station = (ds_seal_station){&s->cfg, "CN=Sub CA", s->ca, s->quota, s->machine, "line-pc"};
}

static inline size_t describe(const setting *s, ds_seal_part *ret)
{
    size_t count = 0;
    assert_int_equal(ds_seal_describe(&s->station, ret, &count, NULL), DS_OK);
    return count;
}

static inline void make_secret(ds_secret *s, const void *data, size_t len)
{
    assert_int_equal(ds_secret_new(s, len, NULL), DS_OK);
    memcpy(s->ptr, data, len);
}

// A seal by passphrase ("p"), other passphrase ("o"), key file ("k"), credential ("c").
static inline enum ds_class make_seal(const char *by, bool all, ds_buf *ret, ds_err *e)
{
    setting s;
    ds_seal_part parts[DS_SEAL_PARTS];
    ds_secret pin = {0}, secrets[DS_SEAL_UNLOCKERS] = {0};
    ds_seal_new unlockers[DS_SEAL_UNLOCKERS];
    init_setting(&s);
    ds_seal_plan plan = {.created_utc = 1800000000,
                         .parts = parts,
                         .part_count = describe(&s, parts),
                         .unlockers = unlockers,
                         .unlocker_count = strlen(by),
                         .all = all,
                         .pin = &pin};
    make_secret(&pin, PIN, strlen(PIN));
    for (size_t i = 0; by[i]; i++) {
        const char *words = by[i] == 'p' ? PASSPHRASE : OTHER;
        unlockers[i] = (ds_seal_new){.by = by[i] == 'k'   ? DS_SEAL_KEY_FILE
                                           : by[i] == 'c' ? DS_SEAL_CREDENTIAL
                                                          : DS_SEAL_PASSPHRASE,
                                     .label = by[i] == 'c'   ? "pin.key"
                                              : by[i] == 'o' ? "second shift"
                                                             : "",
                                     .secret = &secrets[i],
                                     .passes = 1,
                                     .memory_kib = DS_SEAL_MEMORY_MIN};
        if (by[i] == 'k' || by[i] == 'c')
            assert_int_equal(ds_seal_read_key(key_path, &secrets[i], NULL), DS_OK);
        else
            make_secret(&secrets[i], words, strlen(words));
    }
    enum ds_class rc = ds_seal_make(&plan, ret, e);
    for (size_t i = 0; i < DS_SEAL_UNLOCKERS; i++)
        ds_secret_free(&secrets[i]);
    ds_secret_free(&pin);
    return rc;
}

// Open bytes; DS_OK only with the right PIN in it.
static inline enum ds_class open_bytes(ds_view bytes, const ds_seal_access *a, ds_err *e)
{
    ds_seal s = {.all = false};
    DS_CLEANUP_SECRET ds_secret pin = {0};
    enum ds_class rc = ds_seal_parse(bytes, &s, e);
    if (!rc)
        rc = ds_seal_open(&s, a, &pin, e);
    if (!rc) {
        assert_int_equal(pin.len, strlen(PIN));
        assert_memory_equal(pin.ptr, PIN, pin.len);
    } else {
        assert_null(pin.ptr);
    }
    ds_seal_free(&s);
    return rc;
}

// As an intruder would: the checksum fits again.
static inline void fit_checksum(uint8_t *bytes, size_t len)
{
    (void)crypto_hash_sha256(bytes + len - 32, bytes, len - 32);
}

#endif
