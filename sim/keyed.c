// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Peripherals keyed by eFuses; see keyed.h.
#include "sim/keyed.h"

#include "src/base/secret.h"
#include "src/esp/dsig.h"

#include <openssl/hmac.h>

#include <string.h>

#define KEY0_BLOCK 4u

// The block's key, where its purpose is the one or the other.
static bool load_key(const ds_sim_chip *c, unsigned block, uint32_t purpose, uint32_t or_purpose, uint8_t ret[32])
{
    if (block < KEY0_BLOCK || block >= KEY0_BLOCK + DS_EFUSE_KEYS)
        return false;
    ds_efuse_words words;
    ds_efuse_key key;
    ds_sim_efuse_read_hw(c->efuse, &words);
    ds_efuse_key_get(c->chip, &words, block - KEY0_BLOCK, &key);
    bool fits = key.purpose == purpose || key.purpose == or_purpose;
    if (fits)
        memcpy(ret, key.bytes, sizeof key.bytes);
    ds_wipe(&key, sizeof key);
    ds_wipe(&words, sizeof words);
    return fits;
}

bool ds_sim_hmac(const ds_sim_chip *c, unsigned block, const void *message, size_t len, uint8_t ret[32])
{
    uint8_t key[32];
    bool ok = c->chip->has_hmac && load_key(c, block, DS_EFUSE_PURPOSE_HMAC_UP, DS_EFUSE_PURPOSE_HMAC_UP, key) &&
              HMAC(EVP_sha256(), key, sizeof key, message, len, ret, NULL) != NULL;
    ds_wipe(key, sizeof key);
    return ok;
}

bool ds_sim_dsig(const ds_sim_chip *c, unsigned block, ds_view data, const uint8_t *in, uint8_t *ret, size_t len)
{
    uint8_t key[32];
    bool ok = c->chip->dsig_bits &&
              load_key(c, block, DS_EFUSE_PURPOSE_HMAC_DOWN_DS, DS_EFUSE_PURPOSE_HMAC_DOWN_ALL, key) &&
              !ds_dsig_sign(c->chip->dsig_bits, data, key, in, ret, len, NULL);
    ds_wipe(key, sizeof key);
    return ok;
}
