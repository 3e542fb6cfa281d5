// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Bytes: a borrowed view (ds_view), a growing owned buffer (ds_buf), and little-endian access through a bounds-checked
// cursor (ds_reader). Ownership is visible in the type.
#ifndef DS_BASE_BUF_H
#define DS_BASE_BUF_H

#include "src/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Borrowed bytes; never freed through this.
typedef struct ds_view {
    const uint8_t *ptr;
    size_t len;
} ds_view;

// Owned, growing bytes. Zero-initialise; ds_buf_free() when done (NULL-safe, any state).
typedef struct ds_buf {
    uint8_t *ptr;
    size_t len, cap;
} ds_buf;

void ds_buf_free(ds_buf *b);

// Keep the memory, forget the bytes.
void ds_buf_clear(ds_buf *b);

// Append. Memory that cannot be had ends the process (there is no useful way on at these sizes).
void ds_buf_add(ds_buf *b, const void *src, size_t len);
void ds_buf_add_u8(ds_buf *b, uint8_t v);
void ds_buf_add_fill(ds_buf *b, uint8_t v, size_t len);

// Make the length len; new bytes are fill.
void ds_buf_resize(ds_buf *b, size_t len, uint8_t fill);

static inline ds_view ds_buf_view(const ds_buf *b)
{
    return (ds_view){b->ptr, b->len};
}

// The part [off, off+len) of v; false, and an empty view, where it does not lie inside.
bool ds_view_slice(ds_view v, size_t off, size_t len, ds_view *ret);

static inline uint16_t ds_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)p[1] << 8);
}
static inline uint32_t ds_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void ds_put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void ds_put_le32(uint8_t *p, uint32_t v)
{
    ds_put_le16(p, (uint16_t)v);
    ds_put_le16(p + 2, (uint16_t)(v >> 16));
}

void ds_buf_add_le16(ds_buf *b, uint16_t v);
void ds_buf_add_le32(ds_buf *b, uint32_t v);

// Allocate len zero bytes / copy a string, or end the process.
void *ds_alloc(size_t len);
char *ds_strdup(const char *s);
char *ds_asprintf(const char *fmt, ...) DS_PRINTF(1, 2);

// Release on leaving scope: DS_CLEANUP_BUF ds_buf b = {0}; DS_CLEANUP_FREE char *s = NULL;
void ds_cleanup_free(void *pp);
#define DS_CLEANUP_BUF __attribute__((cleanup(ds_buf_free)))
#define DS_CLEANUP_FREE __attribute__((cleanup(ds_cleanup_free)))

// Hex, lower case. ret must hold 2*len+1.
void ds_hex(const uint8_t *src, size_t len, char *ret);
// Parse exactly len bytes from 2*len hex digits followed by the end of the string.
bool ds_unhex(const char *src, uint8_t *ret, size_t len);

#endif
