// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading and building images; see image.h. Layout: esptool firmware-image-format.rst; ESP-IDF esp_app_format.h.
#include "src/esp/image.h"

#include "src/base/crc.h"

#include <openssl/sha.h>
#include <string.h>

#define MAGIC 0xE9
#define HEADER 24u
#define SEGMENT_HEADER 8u
#define HASH 32u
#define SEGMENT_MAX 0x1000000u // what the bootloader takes at most
#define WP_PIN_DISABLED 0xEE
#define REV_UNSET 65535u

static enum ds_class cut_off(ds_view data, size_t need, ds_err *e)
{
    ds_fail(e, DS_INPUT, "image is cut off: %zu bytes missing of at least %zu", need - data.len, need);
    return ds_hint(e, "build or download the image again");
}

// Images from before the full revision fields carry one byte: the major revision on ESP32, the minor one elsewhere.
static void parse_revisions(const uint8_t *h, ds_image_info *ret)
{
    uint16_t legacy = (uint16_t)(ret->chip_id == DS_CHIP_ESP32 ? h[14] * 100 : h[14]);
    ret->min_rev_full = ds_le16(h + 15);
    ret->max_rev_full = ds_le16(h + 17);
    if (ret->max_rev_full == 0) {
        ret->min_rev_full = legacy;
        ret->max_rev_full = REV_UNSET;
    } else if (ret->max_rev_full == REV_UNSET && ret->min_rev_full == 0) {
        ret->min_rev_full = legacy;
    }
}

static enum ds_class parse_header(ds_view data, ds_image_info *ret, ds_err *e)
{
    if (data.len < HEADER)
        return cut_off(data, HEADER, e);
    const uint8_t *h = data.ptr;
    if (h[0] != MAGIC)
        return ds_fail(e, DS_INPUT, "not an image: it begins with 0x%02x, not 0xe9", h[0]);
    if (h[1] == 0 || h[1] > DS_IMAGE_MAX_SEGMENTS)
        return ds_fail(e, DS_INPUT, "image claims %u segments, 1 to %u are possible", h[1], DS_IMAGE_MAX_SEGMENTS);
    if (h[23] > 1)
        return ds_fail(e, DS_INPUT, "image header has 0x%02x where 0 or 1 tells of an appended digest", h[23]);
    ret->segment_count = h[1];
    ret->spi_mode = h[2];
    ret->flash_size_code = h[3] >> 4;
    ret->flash_freq_code = h[3] & 15;
    ret->entry = ds_le32(h + 4);
    ret->chip_id = ds_le16(h + 12);
    ret->has_hash = h[23] == 1;
    parse_revisions(h, ret);
    return DS_OK;
}

// Walks the segments; *ret_end is where the last one's data ends, *ret_sum the XOR of all data.
static enum ds_class parse_segments(ds_view data, ds_image_info *ret, size_t *ret_end, uint8_t *ret_sum, ds_err *e)
{
    size_t at = HEADER;
    uint8_t sum = DS_XOR8_SEED;
    for (unsigned i = 0; i < ret->segment_count; i++) {
        ds_view head, body;
        if (!ds_view_slice(data, at, SEGMENT_HEADER, &head))
            return cut_off(data, at + SEGMENT_HEADER, e);
        uint32_t len = ds_le32(head.ptr + 4);
        if (len % 4 || len >= SEGMENT_MAX)
            return ds_fail(e, DS_INPUT, "image segment %u has a length of 0x%x", i, len);
        if (!ds_view_slice(data, at + SEGMENT_HEADER, len, &body))
            return cut_off(data, at + SEGMENT_HEADER + len, e);
        ret->segments[i] = (ds_image_segment){ds_le32(head.ptr), body};
        sum = ds_xor8(sum, body.ptr, len);
        at += SEGMENT_HEADER + len;
    }
    *ret_end = at;
    *ret_sum = sum;
    return DS_OK;
}

static enum ds_class parse_footer(ds_view data, size_t end, uint8_t sum, ds_image_info *ret, ds_err *e)
{
    size_t summed = end - end % 16 + 16; // the checksum is the last byte of its 16-byte block
    ret->len = summed + (ret->has_hash ? HASH : 0);
    if (data.len < ret->len)
        return cut_off(data, ret->len, e);
    if (data.ptr[summed - 1] != sum)
        return ds_fail(e, DS_INPUT, "image checksum is 0x%02x, its content says 0x%02x", data.ptr[summed - 1], sum);
    if (!ret->has_hash)
        return DS_OK;
    SHA256(data.ptr, summed, ret->sha256);
    if (memcmp(ret->sha256, data.ptr + summed, HASH) != 0)
        return ds_fail(e, DS_INPUT, "image digest differs from its content");
    return DS_OK;
}

// Text of a fixed field; control bytes never reach a terminal.
static void take_text(char *dst, const uint8_t *src, size_t len)
{
    size_t i = 0;
    for (; i < len && src[i]; i++)
        dst[i] = (char)(src[i] < 0x20 || src[i] == 0x7F ? '?' : src[i]);
    dst[i] = '\0';
}

static void put_text(uint8_t *dst, const char *src, size_t len)
{
    memcpy(dst, src, strnlen(src, len));
}

static const uint8_t app_magic[4] = {0x32, 0x54, 0xCD, 0xAB};
#define BOOT_MAGIC 0x50

static void parse_descriptors(ds_image_info *ret)
{
    ds_view first = ret->segments[0].data;
    const uint8_t *d = first.ptr;
    if (first.len >= 256 && !memcmp(d, app_magic, sizeof app_magic)) {
        ret->has_app_desc = true;
        ret->app.secure_version = ds_le32(d + 0x04);
        take_text(ret->app.version, d + 0x10, 32);
        take_text(ret->app.project, d + 0x30, 32);
        take_text(ret->app.time, d + 0x50, 16);
        take_text(ret->app.date, d + 0x60, 16);
        take_text(ret->app.idf_version, d + 0x70, 32);
        memcpy(ret->app.elf_sha256, d + 0x90, 32);
    } else if (first.len >= 80 && d[0] == BOOT_MAGIC && d[1] == 0 && d[2] == 0) {
        ret->has_boot_desc = true;
        ret->boot.version = ds_le32(d + 4);
        take_text(ret->boot.idf_version, d + 8, 32);
        take_text(ret->boot.date_time, d + 40, 24);
    }
}

enum ds_class ds_image_parse(ds_view data, ds_image_info *ret, ds_err *e)
{
    *ret = (ds_image_info){0};
    size_t end = 0;
    uint8_t sum = 0;
    if (parse_header(data, ret, e) || parse_segments(data, ret, &end, &sum, e) || parse_footer(data, end, sum, ret, e))
        return DS_INPUT;
    parse_descriptors(ret);
    return DS_OK;
}

static void build_header(const ds_image_spec *s, unsigned segments, ds_buf *ret)
{
    uint8_t h[HEADER] = {MAGIC, (uint8_t)segments, s->spi_mode};
    h[3] = (uint8_t)(s->flash_size_code << 4 | (s->flash_freq_code & 15));
    ds_put_le32(h + 4, s->entry);
    h[8] = WP_PIN_DISABLED;
    ds_put_le16(h + 12, s->chip_id);
    h[14] = (uint8_t)(s->chip_id == DS_CHIP_ESP32 ? s->min_rev_full / 100 : s->min_rev_full % 100);
    ds_put_le16(h + 15, s->min_rev_full);
    ds_put_le16(h + 17, s->max_rev_full);
    h[23] = 1;
    ds_buf_add(ret, h, sizeof h);
}

static void build_segment(ds_buf *ret, uint32_t load_addr, ds_view data)
{
    ds_buf_add_le32(ret, load_addr);
    ds_buf_add_le32(ret, (uint32_t)data.len);
    ds_buf_add(ret, data.ptr, data.len);
}

// A segment of zeros, loaded nowhere, sized so that the checksum's 16 bytes and the digest end on a page.
static void build_secure_pad(ds_buf *ret)
{
    size_t after = ret->len + SEGMENT_HEADER + 16 + HASH;
    size_t pad = (DS_IMAGE_PAGE - after % DS_IMAGE_PAGE) % DS_IMAGE_PAGE;
    ds_buf_add_le32(ret, 0);
    ds_buf_add_le32(ret, (uint32_t)pad);
    ds_buf_add_fill(ret, 0, pad);
}

static enum ds_class check_spec(const ds_image_spec *s, const ds_buf *ret, ds_err *e)
{
    unsigned count = s->segment_count + (s->secure_pad_v2 ? 1 : 0);
    if (ret->len)
        return ds_fail(e, DS_INTERNAL, "image: the output buffer holds something already");
    if (!s->segment_count || count > DS_IMAGE_MAX_SEGMENTS)
        return ds_fail(e, DS_INPUT, "image: %u segments, 1 to %u are possible", count, DS_IMAGE_MAX_SEGMENTS);
    for (unsigned i = 0; i < s->segment_count; i++)
        if (s->segments[i].data.len % 4 || s->segments[i].data.len >= SEGMENT_MAX)
            return ds_fail(e, DS_INPUT, "image: segment %u has a length of 0x%zx", i, s->segments[i].data.len);
    return DS_OK;
}

enum ds_class ds_image_build(const ds_image_spec *spec, ds_buf *ret, ds_err *e)
{
    enum ds_class cls = check_spec(spec, ret, e);
    if (cls)
        return cls;
    build_header(spec, spec->segment_count + (spec->secure_pad_v2 ? 1 : 0), ret);
    uint8_t sum = DS_XOR8_SEED;
    for (unsigned i = 0; i < spec->segment_count; i++) {
        build_segment(ret, spec->segments[i].load_addr, spec->segments[i].data);
        sum = ds_xor8(sum, spec->segments[i].data.ptr, spec->segments[i].data.len);
    }
    if (spec->secure_pad_v2)
        build_secure_pad(ret);
    ds_buf_add_fill(ret, 0, 15 - ret->len % 16);
    ds_buf_add_u8(ret, sum);
    uint8_t hash[HASH];
    SHA256(ret->ptr, ret->len, hash);
    ds_buf_add(ret, hash, sizeof hash);
    return DS_OK;
}

void ds_app_desc_write(const ds_app_desc *d, uint8_t ret[256])
{
    memset(ret, 0, 256);
    memcpy(ret, app_magic, sizeof app_magic);
    ds_put_le32(ret + 0x04, d->secure_version);
    put_text(ret + 0x10, d->version, 32);
    put_text(ret + 0x30, d->project, 32);
    put_text(ret + 0x50, d->time, 16);
    put_text(ret + 0x60, d->date, 16);
    put_text(ret + 0x70, d->idf_version, 32);
    memcpy(ret + 0x90, d->elf_sha256, 32);
    ds_put_le16(ret + 0xB2, REV_UNSET); // no upper limit of the eFuse block revision
}

void ds_boot_desc_write(const ds_boot_desc *d, uint8_t ret[80])
{
    memset(ret, 0, 80);
    ret[0] = BOOT_MAGIC;
    ds_put_le32(ret + 4, d->version);
    put_text(ret + 8, d->idf_version, 32);
    put_text(ret + 40, d->date_time, 24);
}
