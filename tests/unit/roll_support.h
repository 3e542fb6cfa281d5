// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// For tests of rolls: a key, signed rolls, and files that are changed line by line.
#ifndef DS_TEST_ROLL_SUPPORT_H
#define DS_TEST_ROLL_SUPPORT_H

#include "ledger_support.h"
#include "src/base/file.h"
#include "src/ledger/roll.h"

typedef struct roll_key {
    EVP_PKEY *key;
    uint8_t id[1][32];
} roll_key;

static UNUSED roll_key roll_key_new(void)
{
    roll_key k = {.key = EVP_EC_gen("P-256")};
    key_digest(k.key, k.id[0]);
    return k;
}

// As the signer process does.
static UNUSED ds_statement_signature roll_sign(const roll_key *k, ds_view statement)
{
    ds_statement_signature s = {.signature_len = sizeof s.signature};
    ds_buf message = {0};
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(k->key, &der);
    memcpy(s.key, der, s.key_len = (size_t)len);
    OPENSSL_free(der);
    memcpy(s.key_id, k->id[0], 32);
    ds_statement_message(statement, &message);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key), 1);
    assert_int_equal(EVP_DigestSign(ctx, s.signature, &s.signature_len, message.ptr, message.len), 1);
    EVP_MD_CTX_free(ctx);
    ds_buf_free(&message);
    return s;
}

// Write what a spool has as a signed roll.
static UNUSED void roll_write(const roll_key *k, ds_roll_spool *s, ds_roll_head *head, const char *path, unsigned parts)
{
    ds_err e = DS_ERR_INIT;
    ds_buf text = {0};
    head->created_utc = head->created_utc ? head->created_utc : 1750000000;
    assert_int_equal(ds_roll_spool_rewind(s, &e), DS_OK);
    ds_roll_spool_measure(s, head);
    assert_int_equal(ds_roll_head_write(head, &text, &e), DS_OK);
    ds_statement_signature signature = roll_sign(k, ds_buf_view(&text));
    if (ds_roll_write_spool(s, head, &signature, path, parts, &e))
        fail_msg("%s", e.text);
    ds_buf_free(&text);
}

typedef struct fault_list {
    ds_roll_fault f[64];
    size_t count;
} fault_list;

static UNUSED void fault_add(void *arg, const ds_roll_fault *f)
{
    fault_list *l = arg;
    assert_true(l->count < 64);
    l->f[l->count++] = *f;
}

static UNUSED enum ds_class survey(const roll_key *k, const char *const *path, size_t count, fault_list *faults,
                                   ds_roll_files *ret, ds_err *e)
{
    const ds_roll_options o = {{(const uint8_t(*)[32])k->id, 1}, fault_add, faults};
    *faults = (fault_list){.count = 0};
    return ds_roll_survey(path, count, &o, ret, e);
}

// A file as lines; each is replaced, removed or doubled in place.
typedef struct text_lines {
    char **line;
    size_t count;
} text_lines;

static UNUSED text_lines lines_read(const char *path)
{
    ds_buf b = {0};
    ds_err e = DS_ERR_INIT;
    text_lines t = {0};
    assert_int_equal(ds_file_read(path, 64 << 20, &b, &e), DS_OK);
    t.line = ds_alloc((b.len + 2) * sizeof *t.line);
    for (size_t at = 0; at < b.len;) {
        const uint8_t *end = memchr(b.ptr + at, '\n', b.len - at);
        size_t n = end ? (size_t)(end - (b.ptr + at)) : b.len - at;
        t.line[t.count++] = ds_asprintf("%.*s", (int)n, (const char *)b.ptr + at);
        at += n + 1;
    }
    ds_buf_free(&b);
    return t;
}

static UNUSED void lines_write(const text_lines *t, const char *path)
{
    ds_buf b = {0};
    ds_err e = DS_ERR_INIT;
    for (size_t i = 0; i < t->count; i++) {
        ds_buf_add(&b, t->line[i], strlen(t->line[i]));
        ds_buf_add(&b, "\n", 1);
    }
    assert_int_equal(ds_file_write_unsynced(path, ds_buf_view(&b), 0644, &e), DS_OK);
    ds_buf_free(&b);
}

static UNUSED void lines_free(text_lines *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->line[i]);
    free(t->line);
}

static UNUSED void lines_remove(text_lines *t, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++)
        free(t->line[i]);
    memmove(t->line + at, t->line + at + n, (t->count - at - n) * sizeof *t->line);
    t->count -= n;
}

static UNUSED void lines_insert(text_lines *t, size_t at, const char *text)
{
    memmove(t->line + at + 1, t->line + at, (t->count - at) * sizeof *t->line);
    t->line[at] = ds_strdup(text);
    t->count++;
}

#endif
