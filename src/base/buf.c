// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Bytes; see buf.h.
#include "src/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
    if (!p) {
        fputs("devstamp: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *ds_alloc(size_t len)
{
    return must(calloc(1, len ? len : 1));
}

char *ds_strdup(const char *s)
{
    return must(strdup(s));
}

char *ds_asprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return must(n < 0 ? NULL : s);
}

void ds_cleanup_free(void *pp)
{
    free(*(void **)pp);
}

void ds_buf_free(ds_buf *b)
{
    if (!b)
        return;
    free(b->ptr);
    *b = (ds_buf){0};
}

void ds_buf_clear(ds_buf *b)
{
    b->len = 0;
}

static void reserve(ds_buf *b, size_t more)
{
    if (more <= b->cap - b->len)
        return;
    if (more > SIZE_MAX / 2 - b->len)
        must(NULL);
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->len + more)
        cap *= 2;
    b->ptr = must(realloc(b->ptr, cap));
    b->cap = cap;
}

void ds_buf_add(ds_buf *b, const void *src, size_t len)
{
    if (!len)
        return;
    reserve(b, len);
    memcpy(b->ptr + b->len, src, len);
    b->len += len;
}

void ds_buf_add_u8(ds_buf *b, uint8_t v)
{
    ds_buf_add(b, &v, 1);
}

void ds_buf_add_fill(ds_buf *b, uint8_t v, size_t len)
{
    if (!len)
        return;
    reserve(b, len);
    memset(b->ptr + b->len, v, len);
    b->len += len;
}

void ds_buf_resize(ds_buf *b, size_t len, uint8_t fill)
{
    if (len > b->len)
        ds_buf_add_fill(b, fill, len - b->len);
    b->len = len;
}

void ds_buf_add_le16(ds_buf *b, uint16_t v)
{
    uint8_t p[2];
    ds_put_le16(p, v);
    ds_buf_add(b, p, sizeof p);
}

void ds_buf_add_le32(ds_buf *b, uint32_t v)
{
    uint8_t p[4];
    ds_put_le32(p, v);
    ds_buf_add(b, p, sizeof p);
}

bool ds_view_slice(ds_view v, size_t off, size_t len, ds_view *ret)
{
    if (off > v.len || len > v.len - off) {
        *ret = (ds_view){0};
        return false;
    }
    *ret = (ds_view){v.ptr ? v.ptr + off : NULL, len};
    return true;
}

void ds_hex(const uint8_t *src, size_t len, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[src[i] >> 4];
        ret[2 * i + 1] = digits[src[i] & 15];
    }
    ret[2 * len] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool ds_unhex(const char *src, uint8_t *ret, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int hi = nibble(src[2 * i]);
        int lo = hi < 0 ? -1 : nibble(src[2 * i + 1]);
        if (lo < 0)
            return false;
        ret[i] = (uint8_t)(hi << 4 | lo);
    }
    return src[2 * len] == '\0';
}
