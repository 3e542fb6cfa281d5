// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signed lists as a failing disk or somebody on their way leaves them. The first byte decides: any bytes as a file; any
// bytes behind a head that holds; a good list with parts of it changed, removed or doubled; any lines as the entries of
// a batch whose signature holds. Whatever is done, an entry that is given out is the one that was signed for its place,
// what is missing is counted, and a batch that is refused changes nothing.
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/cloud/manifest.h"
#include "src/ledger/batch.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { COUNT = 300, EDIT = 6 };
static char folder[64], path[96], ledger_path[96];
static EVP_PKEY *key;
static uint8_t key_id[1][32];
static ds_buf header, body; // of a good list
static char entries[COUNT][32];
static ds_ledger *ledger;

static void clean_up(void)
{
    static const char *const tails[] = {"", "-wal", "-shm", ".lock"};
    ds_ledger_close(ledger);
    for (size_t i = 0; i < 4; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", ledger_path, tails[i]);
        (void)unlink(name);
    }
    (void)unlink(path);
    (void)rmdir(folder);
}

static ds_statement_signature sign(ds_view statement)
{
    ds_statement_signature s = {.signature_len = sizeof s.signature};
    DS_CLEANUP_BUF ds_buf message = {0};
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0 || (size_t)len > sizeof s.key)
        abort();
    memcpy(s.key, der, s.key_len = (size_t)len);
    OPENSSL_free(der);
    if (EVP_Digest(s.key, s.key_len, s.key_id, NULL, EVP_sha256(), NULL) != 1)
        abort();
    ds_statement_message(statement, &message);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, s.signature, &s.signature_len, message.ptr, message.len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    return s;
}

static void write_spool(ds_roll_spool *s, ds_roll_head *head)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_err e = DS_ERR_INIT;
    head->created_utc = 1750000000;
    if (ds_roll_spool_rewind(s, &e))
        abort();
    ds_roll_spool_measure(s, head);
    if (ds_roll_head_write(head, &text, &e))
        abort();
    ds_statement_signature signature = sign(ds_buf_view(&text));
    if (ds_roll_write_spool(s, head, &signature, path, 1, &e))
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    ds_err e = DS_ERR_INIT;
    ds_roll_spool *s = NULL;
    ds_roll_head head = {.kind = DS_STATEMENT_DEVICES, .about = "{}"};
    DS_CLEANUP_BUF ds_buf all = {0};
    (void)argc, (void)argv;
    ds_log_set_level(DS_LOG_ERROR);
    snprintf(folder, sizeof folder, "%s/ds-fuzz-roll-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/list", folder);
    snprintf(ledger_path, sizeof ledger_path, "%s/ledger.db", folder);
    key = EVP_EC_gen("P-256");
    if (!key || ds_public_key_digest(key, key_id[0], &e) || ds_ledger_open(ledger_path, false, &ledger, &e) ||
        ds_roll_spool_new(path, &s, &e))
        abort();
    for (int i = 0; i < COUNT; i++) {
        int n = snprintf(entries[i], sizeof entries[i], "{\"serial\":\"SN%d\"}", i);
        if (ds_roll_spool_add(s, (ds_view){(uint8_t *)entries[i], (size_t)n}, &e))
            abort();
    }
    write_spool(s, &head);
    ds_roll_spool_free(s);
    if (ds_file_read(path, 1 << 20, &all, &e))
        abort();
    size_t at = 0;
    for (int lines = 0; lines < 3; at++)
        lines += all.ptr[at] == '\n';
    ds_buf_add(&header, all.ptr, at);
    ds_buf_add(&body, all.ptr + at, all.len - at);
    return atexit(clean_up);
}

static void read_back(const ds_roll_files *f, uint8_t *good)
{
    ds_roll_block *b = ds_alloc(sizeof *b);
    ds_roll_files files = *f;
    ds_err e = DS_ERR_INIT;
    for (uint64_t i = 0; i < f->blocks; i++) {
        if (!f->copy[i].found)
            continue;
        if (ds_roll_load(&files, i, b, &e))
            __builtin_trap();
        for (unsigned k = 0; k < b->count; k++) {
            const char *want = entries[i * DS_ROLL_BLOCK + k];
            if (!b->entry[k].len)
                continue;
            if (b->entry[k].len != strlen(want) || memcmp(b->entry[k].ptr, want, b->entry[k].len) != 0)
                __builtin_trap();
            good[i * DS_ROLL_BLOCK + k] = 1;
        }
    }
    ds_roll_close(files.reader);
    free(b);
}

static void look(const ds_buf *file, bool ours)
{
    static const char *const paths[] = {path};
    const ds_roll_options o = {{(const uint8_t(*)[32])key_id, 1}, NULL, NULL};
    ds_roll_files f;
    ds_err e = DS_ERR_INIT;
    uint8_t good[COUNT] = {0};
    uint64_t missing = COUNT;
    if (ds_file_write_unsynced(path, ds_buf_view(file), 0600, &e))
        abort();
    if (ds_roll_survey(paths, 1, &o, &f, &e)) {
        if (ours)
            __builtin_trap();
        return;
    }
    read_back(&f, good);
    for (int i = 0; i < COUNT; i++)
        missing -= good[i];
    if (missing != f.missing || (missing && !f.faults))
        __builtin_trap();
    ds_roll_files_free(&f);
}

// Edits of a good list: what, where (2), how much, with what (2).
static void edit(ds_buf *b, const uint8_t *data, size_t size)
{
    for (; size >= EDIT && b->len; data += EDIT, size -= EDIT) {
        size_t at = ds_le16(data + 1) % b->len, n = data[3] * 16u, to = ds_le16(data + 4) % b->len;
        DS_CLEANUP_BUF ds_buf copy = {0};
        if (n > b->len - at)
            n = b->len - at;
        if (data[0] % 3 == 0) {
            b->ptr[at] ^= data[4];
            continue;
        }
        ds_buf_add(&copy, b->ptr, b->len);
        if (data[0] % 3 == 1) { // remove
            b->len = at;
            ds_buf_add(b, copy.ptr + at + n, copy.len - at - n);
        } else { // double elsewhere
            b->len = to;
            ds_buf_add(b, copy.ptr + at, n);
            ds_buf_add(b, copy.ptr + to, copy.len - to);
        }
    }
}

static void pull(const uint8_t *data, size_t size)
{
    ds_roll_head head = {.kind = DS_STATEMENT_BATCH};
    ds_roll_spool *s = NULL;
    ds_err e = DS_ERR_INIT;
    int64_t before = 0, after = 0;
    uint8_t hash[32];
    if (ds_roll_spool_new(path, &s, &e))
        abort();
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end ? (size_t)(end - (data + at)) : size - at;
        (void)!ds_roll_spool_add(s, (ds_view){data + at, n}, &e);
        at += n + 1;
    }
    snprintf(head.about, sizeof head.about, "{\"from\":0,\"from_hash\":\"%064d\",\"to\":1,\"to_hash\":\"%064d\"}", 0,
             0);
    if (!ds_roll_spool_count(s)) {
        ds_roll_spool_free(s);
        return;
    }
    write_spool(s, &head);
    ds_roll_spool_free(s);
    static const char *const paths[] = {path};
    const ds_roll_options o = {{(const uint8_t(*)[32])key_id, 1}, NULL, NULL};
    ds_roll_files f;
    ds_ledger_pulled done;
    if (ds_roll_survey(paths, 1, &o, &f, &e) || f.missing || f.faults)
        __builtin_trap();
    if (ds_ledger_head(ledger, &before, hash, &e) || !ds_ledger_pull(ledger, &f, &done, &e) || // nobody knows that hash
        ds_ledger_head(ledger, &after, hash, &e) || before != after)
        __builtin_trap();
    ds_roll_files_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    DS_CLEANUP_BUF ds_buf file = {0}, changed = {0};
    if (size == 0)
        return 0;
    ds_listed d;
    if (!ds_listed_parse((ds_view){data + 1, size - 1}, &d, NULL))
        ds_listed_free(&d);
    switch (data[0] % 4) {
    case 0:
        ds_buf_add(&file, data + 1, size - 1);
        look(&file, false);
        break;
    case 1:
        ds_buf_add(&file, header.ptr, header.len);
        ds_buf_add(&file, data + 1, size - 1);
        look(&file, true);
        break;
    case 2:
        ds_buf_add(&changed, body.ptr, body.len);
        edit(&changed, data + 1, size - 1);
        ds_buf_add(&file, header.ptr, header.len);
        ds_buf_add(&file, changed.ptr, changed.len);
        look(&file, true);
        break;
    default:
        pull(data + 1, size - 1);
    }
    return 0;
}
