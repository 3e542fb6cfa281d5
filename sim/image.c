// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Making firmware images for virtual devices; see image.h. Layout and addresses are those of a real build: description
// at the start of the first segment, code in IRAM, and flash-mapped segments whose place in the file equals their load
// address modulo the 64 KiB page of the MMU. The code is filler: half of it drawn from few words, so that it compresses
// about as well as firmware does.
#include "sim/image.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define HEADER 24u
#define SEGMENT_HEADER 8u
#define SIGNATURE_SECTOR 0x1000u
#define SECTOR 0x1000u
#define IRAM_APP 0x1000u // bytes of an app's code that run from RAM
#define DRAM_BOOT 0x400u // bytes of a bootloader's data
#define BODY_MAX 0xF00000u
#define IDF "v5.4-sim"
#define PARTS 3

// Where the parts of an image are loaded to, by chip.
typedef struct {
    uint16_t chip_id, min_rev, max_rev;
    uint8_t freq_code;
    uint32_t drom, irom, iram; // apps; drom and irom are page starts
    uint32_t boot_dram, boot_iram;
} layout;

static const layout layouts[] = {
    {DS_CHIP_ESP32, 0, 399, 0, 0x3F400000, 0x400D0000, 0x40080000, 0x3FFF0030, 0x40078000},
    {DS_CHIP_ESP32C3, 3, 199, 15, 0x3C100000, 0x42000000, 0x40380000, 0x3FCD5820, 0x403CC710},
};

static const layout *layout_of(const ds_chip *chip)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i].chip_id == chip->id)
            return &layouts[i];
    return NULL;
}

static uint64_t seed_of(const ds_sim_image_spec *s)
{
    char text[160];
    int n = snprintf(text, sizeof text, "%s %d %s %s", s->chip->name, (int)s->kind, s->project ? s->project : "",
                     s->version ? s->version : "");
    uint8_t sha[32];
    SHA256((const uint8_t *)text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, sha);
    return (uint64_t)ds_le32(sha) << 32 | ds_le32(sha + 4);
}

static uint32_t next(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u; // splitmix64
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(z ^ z >> 31);
}

static void add_filler(ds_buf *b, uint32_t len, uint64_t *state)
{
    uint32_t common[64];
    for (unsigned i = 0; i < 64; i++)
        common[i] = next(state);
    for (uint32_t i = 0; i < len; i += 4) {
        uint32_t r = next(state);
        ds_buf_add_le32(b, r & 0x80000000u ? common[r & 63] : r);
    }
}

static void put_text(char *dst, size_t cap, const char *text)
{
    snprintf(dst, cap, "%s", text ? text : "");
}

static void add_app_desc(const ds_sim_image_spec *s, uint64_t seed, ds_buf *ret)
{
    ds_app_desc d = {
        .secure_version = s->secure_version, .time = "12:00:00", .date = "Jan  1 2026", .idf_version = IDF};
    put_text(d.version, sizeof d.version, s->version);
    put_text(d.project, sizeof d.project, s->kind == DS_SIM_IMAGE_MFG ? "devstamp-mfg" : s->project);
    SHA256((const uint8_t *)&seed, sizeof seed, d.elf_sha256);
    uint8_t raw[256];
    ds_app_desc_write(&d, raw);
    ds_buf_add(ret, raw, sizeof raw);
}

// Segments of an app: DROM with the description, IRAM, IROM. Bytes go to parts[], which the segments point into.
static unsigned app_segments(const ds_sim_image_spec *s, const layout *l, ds_buf parts[PARTS],
                             ds_image_segment segments[PARTS])
{
    uint64_t seed = seed_of(s), state = seed;
    uint32_t body = s->body & ~3u, iram = body / 2 < IRAM_APP ? body / 2 & ~3u : IRAM_APP;
    uint32_t rodata = (body - iram) / 4 & ~3u;
    add_app_desc(s, seed, &parts[0]);
    add_filler(&parts[0], rodata, &state);
    add_filler(&parts[1], iram, &state);
    size_t at = HEADER + 3 * SEGMENT_HEADER + parts[0].len + parts[1].len; // of the third segment's data
    add_filler(&parts[2], body - iram - rodata, &state);
    segments[0] = (ds_image_segment){l->drom + HEADER + SEGMENT_HEADER, ds_buf_view(&parts[0])};
    segments[1] = (ds_image_segment){l->iram, ds_buf_view(&parts[1])};
    segments[2] = (ds_image_segment){l->irom + (uint32_t)(at % DS_IMAGE_PAGE), ds_buf_view(&parts[2])};
    return 3;
}

static unsigned boot_segments(const ds_sim_image_spec *s, const layout *l, ds_buf parts[PARTS],
                              ds_image_segment segments[PARTS])
{
    uint64_t state = seed_of(s);
    bool secure = s->kind == DS_SIM_IMAGE_SECURE_BOOTLOADER;
    ds_boot_desc d = {.version = 1, .date_time = "Jan  1 2026 12:00:00"};
    snprintf(d.idf_version, sizeof d.idf_version, IDF " %s 0x%x",
             !secure      ? "plain"
             : s->release ? "secure-release"
                          : "secure-dev",
             s->table_offset);
    uint8_t raw[80];
    ds_boot_desc_write(&d, raw);
    ds_buf_add(&parts[0], raw, sizeof raw);
    uint32_t body = s->body & ~3u, data = body / 4 < DRAM_BOOT ? body / 4 & ~3u : DRAM_BOOT;
    add_filler(&parts[0], data, &state);
    add_filler(&parts[1], body - data, &state);
    segments[0] = (ds_image_segment){l->boot_dram, ds_buf_view(&parts[0])};
    segments[1] = (ds_image_segment){l->boot_iram, ds_buf_view(&parts[1])};
    return 2;
}

// The signature sector of a secure bootloader must fit before the partition table too.
static enum ds_class check_boot_size(const ds_sim_image_spec *s, size_t len, ds_err *e)
{
    size_t room = s->table_offset > s->chip->bootloader_offset ? s->table_offset - s->chip->bootloader_offset : 0;
    size_t need = (len + SECTOR - 1) / SECTOR * SECTOR;
    if (s->kind == DS_SIM_IMAGE_SECURE_BOOTLOADER)
        need += SIGNATURE_SECTOR;
    if (need <= room)
        return DS_OK;
    ds_fail(e, DS_INPUT, "bootloader needs 0x%zx bytes, 0x%zx lie before the partition table at 0x%x", need, room,
            s->table_offset);
    return ds_hint(e, "make it smaller or move the partition table up");
}

static bool is_boot(const ds_sim_image_spec *s)
{
    return s->kind == DS_SIM_IMAGE_BOOTLOADER || s->kind == DS_SIM_IMAGE_SECURE_BOOTLOADER;
}

static enum ds_class build(const ds_sim_image_spec *s, const layout *l, ds_buf parts[PARTS], ds_buf *ret, ds_err *e)
{
    ds_image_segment segments[PARTS];
    unsigned count = is_boot(s) ? boot_segments(s, l, parts, segments) : app_segments(s, l, parts, segments);
    ds_image_spec image = {
        .chip_id = s->chip->id,
        .entry = (is_boot(s) ? l->boot_iram : l->iram) + 0x10,
        .spi_mode = 2,
        .flash_size_code = 2,
        .flash_freq_code = l->freq_code,
        .min_rev_full = l->min_rev,
        .max_rev_full = l->max_rev,
        .segments = segments,
        .segment_count = count,
        .secure_pad_v2 = s->secure_pad && !is_boot(s),
    };
    enum ds_class cls = ds_image_build(&image, ret, e);
    return cls || !is_boot(s) ? cls : check_boot_size(s, ret->len, e);
}

enum ds_class ds_sim_image_make(const ds_sim_image_spec *spec, ds_buf *ret, ds_err *e)
{
    const layout *l = layout_of(spec->chip);
    if (!l)
        return ds_fail(e, DS_INPUT, "no image layout is known for %s", spec->chip->title);
    if (spec->body > BODY_MAX)
        return ds_fail(e, DS_INPUT, "an image body of %u bytes is too large, %u are possible", spec->body, BODY_MAX);
    ds_buf parts[PARTS] = {{0}};
    enum ds_class cls = build(spec, l, parts, ret, e);
    for (unsigned i = 0; i < PARTS; i++)
        ds_buf_free(&parts[i]);
    return cls;
}

bool ds_sim_image_boot_kind(const ds_image_info *info, ds_sim_boot_kind *ret)
{
    char word[16];
    unsigned table;
    if (!info->has_boot_desc || sscanf(info->boot.idf_version, IDF " %15s 0x%8x", word, &table) != 2)
        return false;
    bool release = !strcmp(word, "secure-release"), development = !strcmp(word, "secure-dev");
    if (!release && !development && strcmp(word, "plain") != 0)
        return false;
    *ret = (ds_sim_boot_kind){.secure = release || development, .release = release, .table_offset = table};
    return true;
}
