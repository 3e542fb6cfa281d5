// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Heads of issuance logs; see log_head.h.
#include "src/signer/log_head.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/keytype.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD_MAX = 4096, KEY_MAX = 1024, SIGNATURE_MAX = 512 };
static const char title[] = "devstamp issuance log head 1\n";

static void add_text(ds_buf *b, const char *text)
{
    ds_buf_add(b, text, strlen(text));
}

static void add_line(ds_buf *b, const char *name, const char *value)
{
    DS_CLEANUP_FREE char *line = ds_asprintf("%s %s\n", name, value);
    add_text(b, line);
}

static void add_base64(ds_buf *b, const char *name, const uint8_t *bytes, size_t len)
{
    DS_CLEANUP_FREE char *text = ds_alloc(4 * ((len + 2) / 3) + 1);
    (void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
    add_line(b, name, text);
}

static enum ds_class sign(const ds_log_key *key, ds_buf *text, ds_err *e)
{
    uint8_t *spki = NULL, signature[SIGNATURE_MAX];
    size_t len = sizeof signature;
    int spki_len = i2d_PUBKEY(key->public_key, &spki);
    if (spki_len > 0)
        add_base64(text, "key", spki, (size_t)spki_len);
    OPENSSL_free(spki);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool made = spki_len > 0 && ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->private_key) == 1 &&
                EVP_DigestSign(ctx, signature, &len, text->ptr, text->len) == 1;
    bool good = made && EVP_MD_CTX_reset(ctx) == 1 &&
                EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->public_key) == 1 &&
                EVP_DigestVerify(ctx, signature, len, text->ptr, text->len) == 1;
    EVP_MD_CTX_free(ctx);
    if (!good)
        return ds_ossl_fail(e, DS_TOKEN, "sign the issuance log's head with the log key");
    add_base64(text, "signature", signature, len);
    return DS_OK;
}

enum ds_class ds_log_head_text(const ds_log_head *h, const ds_log_key *key, ds_buf *ret, ds_err *e)
{
    char hex[65], number[24], now[21];
    add_text(ret, title);
    ds_hex(h->ca, 32, hex);
    add_line(ret, "ca", hex);
    snprintf(number, sizeof number, "%" PRIu64, h->size);
    add_line(ret, "size", number);
    ds_hex(h->root, 32, hex);
    add_line(ret, "root", hex);
    ds_utc_format(ds_utc_now(), now);
    add_line(ret, "time", now);
    return key ? sign(key, ret, e) : DS_OK;
}

// The value of the next line, which must be of that name; copied to ret. The cursor moves behind the line.
static bool take_line(const char **p, const char *end, const char *name, char *ret, size_t cap)
{
    size_t len = strlen(name);
    const char *feed = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;
    if (!feed || (size_t)(feed - *p) <= len || memcmp(*p, name, len) != 0 || (*p)[len] != ' ')
        return false;
    const char *value = *p + len + 1;
    size_t value_len = (size_t)(feed - value);
    if (value_len == 0 || value_len >= cap || memchr(value, '\0', value_len))
        return false;
    memcpy(ret, value, value_len);
    ret[value_len] = '\0';
    *p = feed + 1;
    return true;
}

static bool read_size(const char *text, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9';
}

// One value, one spelling: bits behind the last byte must be zero.
static int read_base64(const char *text, uint8_t *ret, size_t cap)
{
    char again[4 * (KEY_MAX + 2) / 3 + 4];
    size_t len = strlen(text);
    if (len == 0 || len % 4 || len / 4 * 3 > cap || len >= sizeof again)
        return -1;
    int n = EVP_DecodeBlock(ret, (const unsigned char *)text, (int)len);
    for (size_t i = len; i > 0 && n > 0 && text[i - 1] == '='; i--)
        n--;
    if (n <= 0)
        return -1;
    (void)EVP_EncodeBlock((unsigned char *)again, ret, n);
    return strcmp(again, text) == 0 ? n : -1;
}

static bool verify(const char *key_text, ds_view lines, ds_log_head *h)
{
    uint8_t key[KEY_MAX], signature[SIGNATURE_MAX + 3];
    int key_len = read_base64(key_text, key, sizeof key), len = read_base64(h->signature, signature, sizeof signature);
    if (key_len <= 0 || len <= 0)
        return false;
    const unsigned char *p = key;
    EVP_PKEY *public_key = d2i_PUBKEY(NULL, &p, key_len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = public_key && ctx && p == key + key_len &&
                EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, public_key) == 1 &&
                EVP_DigestVerify(ctx, signature, (size_t)len, lines.ptr, lines.len) == 1 &&
                ds_public_key_digest(public_key, h->key_digest, NULL) == DS_OK;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(public_key);
    ERR_clear_error();
    return good;
}

enum ds_class ds_log_head_parse(ds_view text, ds_log_head *ret, ds_err *e)
{
    const char *begin = (const char *)text.ptr, *p = begin, *end = begin + text.len;
    char ca[65], size[24], root[65], key[4 * KEY_MAX / 3];
    ds_log_head h = {0};
    if (text.len < sizeof title - 1 || memcmp(p, title, sizeof title - 1) != 0)
        return ds_fail(e, DS_INPUT, "not a head of an issuance log");
    p += sizeof title - 1;
    bool good = take_line(&p, end, "ca", ca, sizeof ca) && ds_unhex(ca, h.ca, 32) &&
                take_line(&p, end, "size", size, sizeof size) && read_size(size, &h.size) &&
                take_line(&p, end, "root", root, sizeof root) && ds_unhex(root, h.root, 32) &&
                take_line(&p, end, "time", h.time, sizeof h.time);
    if (good && p < end) {
        good = take_line(&p, end, "key", key, sizeof key);
        ds_view lines = {text.ptr, (size_t)(p - begin)};
        good = good && take_line(&p, end, "signature", h.signature, sizeof h.signature) && p == end;
        if (good && !verify(key, lines, &h))
            return ds_hint((ds_fail(e, DS_INPUT, "its signature does not fit"), e),
                           "the head was changed: take one from a copy");
        h.is_signed = good;
    }
    if (!good)
        return ds_fail(e, DS_INPUT, "it is not whole");
    *ret = h;
    return DS_OK;
}

enum ds_class ds_log_head_read(const char *path, ds_log_head *ret, bool *ret_found, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    *ret_found = access(path, F_OK) == 0 || errno != ENOENT;
    if (!*ret_found)
        return DS_OK;
    enum ds_class rc = ds_file_read(path, HEAD_MAX, &text, e);
    if (!rc)
        rc = ds_log_head_parse(ds_buf_view(&text), ret, e);
    return rc ? ds_wrap(e, "head %s", path) : DS_OK;
}
