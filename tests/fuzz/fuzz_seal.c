// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A seal as somebody else made it. The first byte decides whether length and checksum are made to fit (without that,
// nothing gets past them). What is accepted must be printable, within bounds, and encode to the same bytes again; it
// does not open by a key that nobody sealed with.
#include "src/signer/seal_int.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t max)
{
    if (strlen(text) > max)
        abort();
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            abort();
}

static void check(const ds_seal *s)
{
    DS_CLEANUP_BUF ds_buf head = {0};
    for (size_t i = 0; i < s->part_count; i++)
        check_text(s->parts[i].text, DS_SEAL_TEXT);
    for (size_t i = 0; i < s->unlocker_count; i++) {
        check_text(s->unlockers[i].label, DS_SEAL_LABEL);
        if (s->unlockers[i].by == DS_SEAL_PASSPHRASE && s->unlockers[i].memory_kib > DS_SEAL_MEMORY_MAX)
            abort();
    }
    ds_seal_put_head(s, &head);
    ds_seal_put_length(&head, s->bytes.len);
    if (head.len > s->bytes.len || memcmp(head.ptr, s->bytes.ptr, head.len) != 0 ||
        head.ptr + head.len + s->wraps.len + SEAL_NONCE + 4 != head.ptr + s->head.len)
        abort();
}

static void open_in_vain(const ds_seal *s)
{
    static const uint8_t zeros[SEAL_KEY];
    ds_secret share = {0}, key = {0}, pin = {0};
    if (ds_secret_new(&share, SEAL_KEY, NULL) || ds_seal_unwrap(&share, 1, s->all, s->wraps.ptr, &key))
        abort();
    memcpy(share.ptr, zeros, SEAL_KEY);
    if (ds_seal_take_secrets(s, &share, &pin, NULL) == DS_OK)
        abort();
    ds_secret_free(&share);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    DS_CLEANUP_FREE uint8_t *copy = ds_alloc(size);
    size_t len = size - 1;
    ds_seal s;
    ds_err e = DS_ERR_INIT;
    memcpy(copy, data + 1, len);
    if (data[0] & 1 && len >= SEAL_FIXED + SEAL_DIGEST) {
        ds_put_le32(copy + SEAL_LENGTH_AT, (uint32_t)len);
        (void)crypto_hash_sha256(copy + len - SEAL_DIGEST, copy, len - SEAL_DIGEST);
    }
    if (ds_seal_parse((ds_view){copy, len}, &s, &e))
        return 0;
    check(&s);
    (void)ds_seal_token(&s);
    open_in_vain(&s);
    ds_seal_free(&s);
    return 0;
}
