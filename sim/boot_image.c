// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Images as the boot chain reads them, through the cache, and their signatures as these chips verify them: RSA-3072
// alone, and on the ESP32 the first block alone (ESP-IDF secure-boot-v2.rst).
#include "sim/boot.h"

#include <string.h>

static bool read_cache(void *ctx, uint32_t addr, void *buf, uint32_t len)
{
    return ds_sim_cache_read(ctx, addr, buf, len);
}

enum ds_class ds_sim_boot_load(ds_sim_stage *b, uint32_t addr, uint32_t room, ds_sim_loaded *ret, ds_err *e)
{
    *ret = (ds_sim_loaded){.addr = addr};
    uint32_t size = ds_sim_flash_size(b->c->flash);
    if (addr >= size)
        return ds_fail(e, DS_DEVICE, "image at 0x%x lies outside the flash", addr);
    if (room > size - addr)
        room = size - addr;
    const ds_image_source flash = {read_cache, b->c};
    enum ds_class cls = ds_image_load(&flash, addr, room, &ret->bytes, e);
    if (!cls)
        cls = ds_image_parse(ds_buf_view(&ret->bytes), &ret->info, e);
    if (!cls)
        ret->content_len = ds_sbv2_content_len(ret->info.len);
    if (cls)
        ds_sim_loaded_free(ret);
    return cls;
}

void ds_sim_loaded_free(ds_sim_loaded *l)
{
    ds_buf_free(&l->bytes);
}

// Blocks this chip looks at: none behind the first that it cannot use.
static unsigned usable_blocks(const ds_sim_stage *b, const ds_sim_loaded *l, ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS])
{
    if (ds_sbv2_read(ds_buf_view(&l->bytes), l->content_len, blocks, NULL))
        return 0;
    unsigned n = 0;
    while (n < b->c->chip->digests && blocks[n].valid && blocks[n].scheme == DS_SBV2_RSA3072)
        n++;
    return n;
}

static bool trusts(const ds_sim_digests *trusted, const uint8_t digest[32])
{
    for (unsigned i = 0; i < trusted->count; i++)
        if (!memcmp(trusted->digest[i], digest, 32))
            return true;
    return trusted->count == 0;
}

enum ds_sbv2_verdict ds_sim_boot_verify(const ds_sim_stage *b, const ds_sim_loaded *l, const ds_sim_digests *trusted,
                                        ds_sim_digests *ret_keys)
{
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    unsigned n = usable_blocks(b, l, blocks);
    ds_sim_digests good = {0};
    enum ds_sbv2_verdict verdict = DS_SBV2_UNSIGNED;
    for (unsigned i = 0; i < n; i++) {
        uint8_t key[1][32];
        memcpy(key[0], blocks[i].key_digest, 32);
        enum ds_sbv2_verdict v = DS_SBV2_UNTRUSTED_KEY;
        if (trusts(trusted, key[0]))
            v = ds_sbv2_verify(ds_buf_view(&l->bytes), l->content_len, (const uint8_t(*)[32])key, 1, NULL);
        if (v == DS_SBV2_OK)
            memcpy(good.digest[good.count++], key[0], 32);
        if (verdict != DS_SBV2_OK)
            verdict = v;
    }
    if (ret_keys)
        *ret_keys = good;
    return good.count ? DS_SBV2_OK : verdict;
}
