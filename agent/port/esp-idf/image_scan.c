// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading an image through; see image_scan.h.
#include "agent/port/esp-idf/image_scan.h"

#include "esp_app_desc.h"
#include "esp_app_format.h"

#include <mbedtls/sha256.h>

#include <stdlib.h>
#include <string.h>

enum { PIECE = 1024, HASH = 32, CHECKSUM_ALIGN = 16, PIECES_PER_ALIVE = 64 };

ds_esp_source ds_esp_source_of(ds_esp *p, const esp_partition_t *part)
{
    return (ds_esp_source){p, part, part != NULL ? part->size : ds_esp_bootloader_capacity()};
}

static ds_status read_at(const ds_esp_source *from, uint32_t at, void *buf, size_t len)
{
    if (at > from->size || len > from->size - at)
        return DS_STATUS(IMAGE, BAD_IMAGE);
    if (from->part == NULL)
        return ds_esp_bootloader_read(at, buf, len);
    return esp_partition_read(from->part, at, buf, len) == ESP_OK ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

// Text of a fixed field; control bytes never reach a console.
static void take_text(char to[33], const char from[32])
{
    size_t i = 0;
    for (; i < 32 && from[i] != 0; i++)
        to[i] = (char)(from[i] < ' ' || from[i] == 0x7F ? '?' : from[i]);
    to[i] = 0;
}

static ds_status read_description(const ds_esp_source *from, uint32_t at, uint32_t len, ds_esp_image *ret)
{
    esp_app_desc_t d;
    if (len < sizeof d)
        return DS_STATUS_OK;
    ds_status s = read_at(from, at, &d, sizeof d);
    if (s != DS_STATUS_OK || d.magic_word != ESP_APP_DESC_MAGIC_WORD)
        return s;
    ret->is_app = true;
    ret->secure_version = d.secure_version;
    take_text(ret->version, d.version);
    return DS_STATUS_OK;
}

static ds_status walk_segments(const ds_esp_source *from, unsigned count, ds_esp_image *ret)
{
    uint32_t at = sizeof(esp_image_header_t);
    for (unsigned i = 0; i < count; i++) {
        esp_image_segment_header_t segment;
        ds_status s = read_at(from, at, &segment, sizeof segment);
        if (s != DS_STATUS_OK)
            return s;
        at += sizeof segment;
        if (segment.data_len > from->size - at)
            return DS_STATUS(IMAGE, BAD_IMAGE);
        if (i == 0)
            s = read_description(from, at, segment.data_len, ret);
        if (s != DS_STATUS_OK)
            return s;
        at += segment.data_len;
    }
    ret->len = at / CHECKSUM_ALIGN * CHECKSUM_ALIGN + CHECKSUM_ALIGN; // the checksum is the last byte of a row
    return DS_STATUS_OK;
}

static ds_status read_header(const ds_esp_source *from, ds_esp_image *ret)
{
    esp_image_header_t h;
    ds_status s = read_at(from, 0, &h, sizeof h);
    if (s != DS_STATUS_OK)
        return s;
    if (h.magic != ESP_IMAGE_HEADER_MAGIC || h.segment_count == 0 || h.segment_count > ESP_IMAGE_MAX_SEGMENTS ||
        h.hash_appended != 1)
        return DS_STATUS(IMAGE, BAD_IMAGE);
    ret->chip_id = (uint16_t)h.chip_id;
    ret->min_rev = h.min_chip_rev_full;
    ret->max_rev = h.max_chip_rev_full;
    s = walk_segments(from, h.segment_count, ret);
    if (s == DS_STATUS_OK && (ret->len > from->size || HASH > from->size - ret->len))
        s = DS_STATUS(IMAGE, BAD_IMAGE);
    ret->len += HASH;
    return s;
}

// Add [at, end) of the source.
static ds_status sum(const ds_esp_source *from, mbedtls_sha256_context *sha, uint8_t *piece, uint32_t at, uint32_t end)
{
    for (unsigned pieces = 1; at < end; pieces++) {
        uint32_t len = end - at < PIECE ? end - at : PIECE;
        ds_status s = read_at(from, at, piece, len);
        if (s != DS_STATUS_OK)
            return s;
        if (mbedtls_sha256_update(sha, piece, len) != 0)
            return DS_STATUS(IMAGE, CRYPTO);
        if (pieces % PIECES_PER_ALIVE == 0)
            from->p->port.alive(from->p);
        at += len;
    }
    return DS_STATUS_OK;
}

// One pass gives both digests: the appended one is over what precedes it, the signed one over all of the content.
static ds_status check_digest(const ds_esp_source *from, mbedtls_sha256_context *sha, uint8_t *piece, ds_esp_image *ret)
{
    uint8_t plain[HASH], appended[HASH];
    uint32_t summed = ret->len - HASH, padded = (ret->len + DS_ESP_SECTOR - 1) / DS_ESP_SECTOR * DS_ESP_SECTOR;
    mbedtls_sha256_context so_far;
    mbedtls_sha256_init(&so_far);
    ds_status s = sum(from, sha, piece, 0, summed);
    if (s == DS_STATUS_OK) {
        mbedtls_sha256_clone(&so_far, sha);
        s = mbedtls_sha256_finish(&so_far, plain) == 0 ? DS_STATUS_OK : DS_STATUS(IMAGE, CRYPTO);
    }
    mbedtls_sha256_free(&so_far);
    if (s == DS_STATUS_OK)
        s = read_at(from, summed, appended, sizeof appended);
    if (s == DS_STATUS_OK && memcmp(plain, appended, sizeof plain) != 0)
        s = DS_STATUS(IMAGE, BAD_IMAGE);
    if (s == DS_STATUS_OK)
        s = sum(from, sha, piece, summed, padded < from->size ? padded : from->size);
    if (s == DS_STATUS_OK && mbedtls_sha256_finish(sha, ret->content_digest) != 0)
        s = DS_STATUS(IMAGE, CRYPTO);
    return s;
}

ds_status ds_esp_image_scan(const ds_esp_source *from, ds_esp_image *ret)
{
    memset(ret, 0, sizeof *ret);
    ds_status s = read_header(from, ret);
    if (s != DS_STATUS_OK)
        return s;
    uint8_t *piece = malloc(PIECE);
    if (piece == NULL)
        return DS_STATUS(IMAGE, NO_SPACE);
    mbedtls_sha256_context sha;
    mbedtls_sha256_init(&sha);
    s = mbedtls_sha256_starts(&sha, 0) == 0 ? DS_STATUS_OK : DS_STATUS(IMAGE, CRYPTO);
    if (s == DS_STATUS_OK)
        s = check_digest(from, &sha, piece, ret);
    mbedtls_sha256_free(&sha);
    free(piece);
    return s;
}

static bool trusts(const uint8_t key[32], const uint8_t (*keys)[32], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(key, keys[i], 32) == 0)
            return true;
    return count == 0;
}

static enum ds_esp_signature check_blocks(const ds_esp_source *from, const ds_esp_image *image,
                                          const uint8_t (*keys)[32], unsigned count, uint8_t *block, uint8_t key[32])
{
    uint32_t at = (image->len + DS_ESP_SECTOR - 1) / DS_ESP_SECTOR * DS_ESP_SECTOR;
    enum ds_esp_signature verdict = DS_ESP_UNSIGNED;
    for (unsigned i = 0; i < DS_ESP_KEY_DIGESTS; i++, at += DS_ESP_SBV2_BLOCK) {
        if (read_at(from, at, block, DS_ESP_SBV2_BLOCK) != DS_STATUS_OK || !ds_esp_sbv2_read(block, key))
            return verdict;
        if (trusts(key, keys, count) && ds_esp_sbv2_verify(block, image->content_digest))
            return DS_ESP_SIGNED;
        verdict = DS_ESP_BADLY_SIGNED;
    }
    return verdict;
}

enum ds_esp_signature ds_esp_image_signature(const ds_esp_source *from, const ds_esp_image *image,
                                             const uint8_t (*keys)[32], unsigned count, uint8_t ret_key[32])
{
    uint8_t key[32];
    uint8_t *block = malloc(DS_ESP_SBV2_BLOCK);
    if (block == NULL)
        return DS_ESP_BADLY_SIGNED;
    enum ds_esp_signature verdict = check_blocks(from, image, keys, count, block, key);
    free(block);
    if (verdict == DS_ESP_SIGNED && ret_key != NULL)
        memcpy(ret_key, key, sizeof key);
    return verdict;
}
