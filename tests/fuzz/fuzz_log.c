// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log as a failing disk or an intruder leaves it. The first byte decides whether the hashes are made to
// fit (without that, nothing gets past the first entry). What is accepted must be the same when it is opened again,
// every entry readable, and the log must take another.
#include "src/signer/log.h"

#include "src/base/log.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { HEADER = 80, HEAD = 136, HASH = 32 };
static char path[64];

static void remove_file(void)
{
    (void)unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    ds_log_set_level(DS_LOG_ERROR);
    snprintf(path, sizeof path, "%s/ds-fuzz-log.%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid());
    return atexit(remove_file);
}

static void digest(const uint8_t *p, size_t len, uint8_t ret[HASH])
{
    if (EVP_Digest(p, len, ret, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

// The header's hash, and each record's as far as their lengths make sense.
static void fit_hashes(uint8_t *p, size_t size)
{
    if (size < HEADER)
        return;
    digest(p, 48, p + 48);
    ds_hasher *h = ds_hasher_new();
    for (size_t at = HEADER; size - at >= HEAD;) {
        size_t len = ds_le32(p + at + 4);
        if (len > DS_LOG_CERT_MAX || size - at < HEAD + len + HASH)
            break;
        ds_merkle_leaf(h, (ds_view){p + at, HEAD + len}, p + at + HEAD + len);
        at += HEAD + len + HASH;
    }
    ds_hasher_free(h);
}

static void write_file(const uint8_t *p, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, p, size) != (ssize_t)size || close(fd) != 0)
        abort();
}

// Open it; how many entries, -1 where it is refused.
static int64_t entries(const uint8_t ca[32], uint8_t root[HASH], bool append)
{
    ds_log_file *l = NULL;
    ds_err e = DS_ERR_INIT;
    if (ds_log_open(path, ca, &l, &e))
        return -1;
    int64_t count = (int64_t)ds_log_entries(l);
    memcpy(root, ds_log_root(l), HASH);
    static const uint8_t cert[] = {0x30, 2, 5, 0};
    uint8_t serial[16], key[32];
    memset(serial, 0xA5, sizeof serial);
    memset(key, 0xA5, sizeof key);
    const ds_log_entry *found = ds_log_by_serial(l, serial);
    DS_CLEANUP_BUF ds_buf der = {0};
    if (found && ds_log_read(l, found, &der, &e))
        __builtin_trap();
    if (append && !found && !ds_log_by_key(l, key) &&
        (ds_log_append(l, &(ds_log_certificate){serial, key, "", {cert, sizeof cert}}, &e) ||
         (int64_t)ds_log_entries(l) != count + 1))
        __builtin_trap();
    ds_log_close(l);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    DS_CLEANUP_FREE uint8_t *copy = ds_alloc(size);
    size_t len = size - 1;
    uint8_t ca[32] = {0}, first[HASH], again[HASH];
    memcpy(copy, data + 1, len);
    if (data[0] & 1)
        fit_hashes(copy, len);
    if (len >= HEADER)
        memcpy(ca, copy + 8, sizeof ca);
    write_file(copy, len);
    int64_t count = entries(ca, first, false);
    if (count < 0)
        return 0;
    if (entries(ca, again, true) != count || memcmp(first, again, HASH) != 0 || entries(ca, again, false) < count)
        __builtin_trap();
    return 0;
}
