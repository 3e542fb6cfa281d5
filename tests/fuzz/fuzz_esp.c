// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Chip formats from hostile bytes; the first byte chooses the parser. What parses must also build again.
#include "src/esp/dsig.h"
#include "src/esp/image.h"
#include "src/esp/nvs.h"
#include "src/esp/otadata.h"
#include "src/esp/ptable.h"
#include "src/esp/sbv2.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void image(ds_view in)
{
    ds_image_info info;
    if (ds_image_parse(in, &info, NULL) == DS_OK && info.len > in.len)
        abort();
}

static void table(ds_view in)
{
    ds_ptable t, again;
    uint8_t out[DS_PTABLE_SIZE];
    if (ds_ptable_parse(in, &t, NULL) || ds_ptable_build(&t, out, NULL))
        return;
    if (ds_ptable_parse((ds_view){out, sizeof out}, &again, NULL) || again.count != t.count)
        abort();
}

static void csv(ds_view in)
{
    char *text = malloc(in.len + 1);
    if (!text)
        return;
    memcpy(text, in.ptr, in.len);
    text[in.len] = '\0';
    ds_ptable t;
    if (ds_ptable_from_csv(text, 0x8000, &t, NULL) == DS_OK && t.count > DS_PTABLE_MAX)
        abort();
    free(text);
}

static void nvs(ds_view in, const ds_nvs_keys *keys)
{
    ds_nvs_items items = {0};
    if (ds_nvs_parse(in, keys, &items, NULL) == DS_OK)
        ds_nvs_items_free(&items);
}

static void otadata(ds_view in)
{
    uint8_t sectors[DS_OTADATA_SIZE];
    memset(sectors, 0xFF, sizeof sectors);
    memcpy(sectors, in.ptr, in.len < 64 ? in.len : 64);
    if (in.len > 64)
        memcpy(sectors + DS_OTADATA_SECTOR, in.ptr + 64, in.len - 64 < 64 ? in.len - 64 : 64);
    ds_otadata o;
    ds_otadata_parse(sectors, &o);
    uint8_t entry[DS_OTADATA_ENTRY];
    unsigned sector;
    ds_otadata_select(&o, 1, 2, entry, &sector);
    if (sector > 1 || ds_otadata_slot(&o, 2) > 1)
        abort();
}

static void signature(ds_view in)
{
    uint8_t digest[32];
    for (size_t at = 0; at <= in.len && at <= 8192; at += 4096)
        (void)ds_sbv2_verify(in, at, NULL, 0, digest);
}

// Data that flash gave: under any key it is refused, or it signs.
static void dsig(ds_view in)
{
    static const uint8_t key[32], message[512];
    uint8_t signature[512];
    for (unsigned chip = 3072; chip <= 4096; chip += 1024) {
        unsigned bits = ds_dsig_bits(chip, in);
        (void)!ds_dsig_sign(chip, in, key, message, signature, bits / 8, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ds_nvs_keys keys = {{1, 2, 3}};
    if (size < 1)
        return 0;
    ds_view in = {data + 1, size - 1};
    switch (data[0] % 8) {
    case 0:
        image(in);
        break;
    case 1:
        table(in);
        break;
    case 2:
        csv(in);
        break;
    case 3:
        nvs(in, NULL);
        break;
    case 4:
        nvs(in, &keys);
        break;
    case 5:
        otadata(in);
        break;
    case 6:
        dsig(in);
        break;
    default:
        signature(in);
    }
    return 0;
}
