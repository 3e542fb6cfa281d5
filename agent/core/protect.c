// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key protection by the chip, as far as the stamp asks for it: the mfg firmware burns key blocks that software can
// never read, at FinishStamp, because the secure bootloader of the next boot burns that nothing can be read-protected
// any more (docs/decisions/0004-key-protection.md).
//
// Each secret is made here and kept in the plain stamp area, beside the private key that lies there for as long, so
// that a burn that was cut off is completed with the same bytes. Whether a block holds it is never asked of the eFuses,
// which do not show it, but proved by what the peripheral makes with it.
#include "agent/core/internal.h"

#include <mbedtls/md.h>

#include <string.h>

enum { SECRET = 32, BURNS = 2 }; // one block may take its bits badly

static const uint8_t probe[] = "devstamp key protection";

// The secret of that name, made where there is none.
static ds_status know_secret(ds_agent *a, const char *name, uint8_t ret[SECRET])
{
    size_t len = 0;
    ds_rng rng = {.a = a};
    ds_status s = a->port->value_get(a->port->ctx, DS_AREA_PLAIN, DS_AGENT_NAMESPACE, name, ret, SECRET, &len);
    if (s == DS_STATUS_OK && len != SECRET)
        return DS_STATUS(KEY, FLASH);
    if (!DS_STATUS_IS(s, NOT_FOUND))
        return s;
    if (ds_rng_draw(&rng, ret, SECRET) != 0)
        return DS_STATUS(KEY, RANDOM);
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, name, DS_VALUE_BLOB, ret, SECRET);
    return ds_store_put(a, DS_AREA_PLAIN, &v);
}

// Burn a key block; its failures are told apart from those of storage, as what to do about them is another thing.
static ds_status burn_block(ds_agent *a, enum ds_key_use use, const uint8_t secret[SECRET])
{
    ds_status s = a->port->key_burn(a->port->ctx, use, secret);
    if (DS_STATUS_IS(s, NO_SPACE))
        return DS_STATUS(KEY, NO_SPACE);
    return DS_STATUS_IS(s, NOT_ALLOWED) ? DS_STATUS(KEY, NOT_ALLOWED) : s;
}

// --- keys of encrypted NVS

// Does the HMAC peripheral make what the secret makes?
static ds_status nvs_proved(ds_agent *a, const uint8_t secret[SECRET], bool *ret)
{
    uint8_t chip[32], own[32];
    *ret = false;
    ds_status s = a->port->hmac(a->port->ctx, probe, sizeof probe, chip);
    if (s != DS_STATUS_OK)
        return DS_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
    if (mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret, SECRET, probe, sizeof probe, own) != 0)
        return DS_STATUS(KEY, CRYPTO);
    *ret = memcmp(chip, own, sizeof own) == 0;
    return DS_STATUS_OK;
}

ds_status ds_protect_nvs_proved(ds_agent *a, bool *ret)
{
    uint8_t secret[SECRET];
    size_t len = 0;
    *ret = false;
    if (a->port->hmac == NULL)
        return DS_STATUS_OK;
    ds_status s = a->port->value_get(a->port->ctx, DS_AREA_PLAIN, DS_AGENT_NAMESPACE, DS_VALUE_NVS_SECRET, secret,
                                     sizeof secret, &len);
    if (s == DS_STATUS_OK && len == sizeof secret)
        s = nvs_proved(a, secret, ret);
    mbedtls_platform_zeroize(secret, sizeof secret);
    return DS_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
}

bool ds_protect_nvs_by_hmac(ds_agent *a)
{
    uint8_t mac[32];
    return a->port->hmac != NULL && a->port->hmac(a->port->ctx, probe, sizeof probe, mac) == DS_STATUS_OK;
}

static ds_status burn_nvs(ds_agent *a, const uint8_t secret[SECRET])
{
    bool proved = false;
    ds_status s = nvs_proved(a, secret, &proved), burned = DS_STATUS(KEY, FLASH);
    for (int i = 0; s == DS_STATUS_OK && !proved && i < BURNS; i++) {
        burned = burn_block(a, DS_KEY_USE_NVS, secret);
        if (burned != DS_STATUS_OK && !DS_STATUS_IS(burned, FLASH))
            return burned;
        s = nvs_proved(a, secret, &proved);
    }
    if (s != DS_STATUS_OK || proved)
        return s;
    return burned != DS_STATUS_OK ? burned : DS_STATUS(KEY, MISMATCH);
}

static ds_status protect_nvs(ds_agent *a)
{
    if (a->port->hmac == NULL || a->port->key_burn == NULL)
        return DS_STATUS(KEY, UNSUPPORTED);
    uint8_t secret[SECRET];
    ds_status s = know_secret(a, DS_VALUE_NVS_SECRET, secret);
    if (s == DS_STATUS_OK)
        s = burn_nvs(a, secret);
    mbedtls_platform_zeroize(secret, sizeof secret);
    return s;
}

// --- the private key

static ds_status encrypt_key(ds_agent *a, const uint8_t secret[SECRET])
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    uint8_t *data = ds_agent_work(a) + DS_AGENT_KEY_MAX;
    size_t len = 0;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK)
        s = ds_dsig_encrypt(a, &rng, &pk, secret, data, &len);
    mbedtls_pk_free(&pk);
    if (s != DS_STATUS_OK)
        return s;
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_DSIG, DS_VALUE_BLOB, data, len);
    return ds_store_put(a, DS_AREA_PLAIN, &v);
}

static ds_status burn_dsig(ds_agent *a, const uint8_t secret[SECRET])
{
    ds_status s = ds_chain_fits_dsig(a);
    for (int i = 0; DS_STATUS_IS(s, MISMATCH) && i < BURNS; i++) {
        ds_status burned = burn_block(a, DS_KEY_USE_DSIG, secret);
        if (burned != DS_STATUS_OK && !DS_STATUS_IS(burned, FLASH))
            return burned;
        s = ds_chain_fits_dsig(a);
    }
    return s;
}

static ds_status protect_key(ds_agent *a)
{
    if (a->port->dsig == NULL || a->port->key_burn == NULL)
        return DS_STATUS(KEY, UNSUPPORTED);
    uint8_t secret[SECRET];
    bool encrypted = false;
    ds_status s = know_secret(a, DS_VALUE_DSIG_SECRET, secret);
    if (s == DS_STATUS_OK)
        s = ds_store_has(a, DS_VALUE_DSIG, &encrypted);
    if (s == DS_STATUS_OK && !encrypted)
        s = encrypt_key(a, secret);
    if (s == DS_STATUS_OK)
        s = burn_dsig(a, secret);
    mbedtls_platform_zeroize(secret, sizeof secret);
    return s;
}

ds_status ds_protect(ds_agent *a)
{
    bool nvs = false, key = false;
    ds_status s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_NVS_HMAC, &nvs);
    if (s == DS_STATUS_OK)
        s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_KEY_DS, &key);
    if (s == DS_STATUS_OK && key)
        s = protect_key(a);
    if (s == DS_STATUS_OK && nvs)
        s = protect_nvs(a);
    if (s == DS_STATUS_OK && (key || nvs))
        a->port->log(a->port->ctx, "agent: keys protected by the chip");
    return s;
}
