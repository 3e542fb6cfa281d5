// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key blocks for the HMAC and the digital-signature peripheral, on chips that have both:
// docs/decisions/0004-key-protection.md. They are taken from BLOCK_KEY4 downwards to BLOCK_KEY2. A key is burned in
// three: its bits, which are read back; its purpose, which is locked with it; and the protections, from which on no
// software reads it. Between any two of these the power may go. Not by esp_efuse_write_key(), which burns all in one
// batch: a block that took its bits badly could then be told by nobody.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_ds.h"
#include "esp_efuse.h"
#include "esp_efuse_table.h"
#include "esp_ds/esp_rsa_sign_alt.h"
#include "esp_hmac.h"

#include <mbedtls/platform_util.h>

#include <stdlib.h>
#include <string.h>

enum { FIRST_KEY = 4, LAST_KEY = 2, KEY_LEN = 32, MODULUS_MAX = ESP_DS_SIGNATURE_MAX_BIT_LEN / 8 };

// A key block as software sees it.
typedef struct slot {
    int key;
    esp_efuse_block_t block;
    esp_efuse_purpose_t purpose;
    bool purpose_locked, read_protected, write_protected, blank;
    uint8_t bytes[KEY_LEN];
} slot;

static slot slot_of(int key)
{
    static const uint8_t zeros[KEY_LEN];
    slot s = {.key = key, .block = (esp_efuse_block_t)(EFUSE_BLK_KEY0 + key)};
    s.purpose = esp_efuse_get_key_purpose(s.block);
    s.purpose_locked = esp_efuse_get_keypurpose_dis_write(s.block);
    s.read_protected = esp_efuse_get_key_dis_read(s.block);
    s.write_protected = esp_efuse_get_key_dis_write(s.block);
    if (esp_efuse_read_block(s.block, s.bytes, 0, 8 * KEY_LEN) != ESP_OK)
        s.write_protected = true; // nothing to begin with
    s.blank = memcmp(s.bytes, zeros, sizeof zeros) == 0;
    return s;
}

static esp_efuse_purpose_t purpose_of(enum ds_key_use use)
{
    return use == DS_KEY_USE_NVS ? ESP_EFUSE_KEY_PURPOSE_HMAC_UP : ESP_EFUSE_KEY_PURPOSE_HMAC_DOWN_DIGITAL_SIGNATURE;
}

static bool is_whole(const slot *s, esp_efuse_purpose_t purpose)
{
    return s->purpose == purpose && s->purpose_locked && s->read_protected && s->write_protected;
}

// ---- burning

static bool commit(esp_err_t so_far)
{
    if (so_far == ESP_OK)
        return esp_efuse_batch_write_commit() == ESP_OK;
    esp_efuse_batch_write_cancel();
    return false;
}

static bool burn_purpose(const slot *s, esp_efuse_purpose_t purpose)
{
    esp_err_t e = esp_efuse_batch_write_begin();
    if (e != ESP_OK)
        return false;
    if (s->purpose != purpose)
        e = esp_efuse_set_key_purpose(s->block, purpose);
    if (e == ESP_OK && !s->purpose_locked)
        e = esp_efuse_set_keypurpose_dis_write(s->block);
    return commit(e);
}

static bool hide(const slot *s)
{
    esp_err_t e = esp_efuse_batch_write_begin();
    if (e != ESP_OK)
        return false;
    if (!s->read_protected)
        e = esp_efuse_set_key_dis_read(s->block);
    if (e == ESP_OK && !s->write_protected)
        e = esp_efuse_set_key_dis_write(s->block);
    return commit(e);
}

// What a block is to a key that is to be burned. SPOILED: some of the key's bits and no others, or all of them for good
// under another purpose; what else lies there is somebody's own.
enum fit { NO_FIT, FREE, SAME, SPOILED };

static enum fit fit_of(const slot *s, esp_efuse_purpose_t purpose, const uint8_t key[KEY_LEN])
{
    bool lost = s->purpose_locked && s->purpose != purpose;
    if (s->read_protected)
        return NO_FIT;
    // Ours, in whatever state power left it: completed where it can be, hidden where it cannot.
    if (memcmp(s->bytes, key, KEY_LEN) == 0)
        return !lost && ((unsigned)s->purpose & ~(unsigned)purpose) == 0 ? SAME : SPOILED;
    if (s->write_protected || lost)
        return NO_FIT;
    if (s->blank)
        return s->purpose == ESP_EFUSE_KEY_PURPOSE_USER && !s->purpose_locked ? FREE : NO_FIT;
    for (size_t i = 0; i < KEY_LEN; i++)
        if (s->bytes[i] & ~key[i])
            return NO_FIT;
    return SPOILED;
}

static bool find_fit(esp_efuse_purpose_t purpose, const uint8_t key[KEY_LEN], enum fit fit, slot *ret)
{
    for (int i = FIRST_KEY; i >= LAST_KEY; i--) {
        *ret = slot_of(i);
        if (fit_of(ret, purpose, key) == fit)
            return true;
    }
    return false;
}

static ds_status finish(const slot *s, esp_efuse_purpose_t purpose)
{
    if (!burn_purpose(s, purpose) || !hide(s))
        return DS_STATUS(PORT, FLASH);
    slot now = slot_of(s->key);
    bool ok = is_whole(&now, purpose) && now.blank;
    mbedtls_platform_zeroize(&now, sizeof now);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

static ds_status burn(esp_efuse_purpose_t purpose, const uint8_t key[KEY_LEN], slot *s)
{
    // A burn that went wrong shows most of a secret that is about to be burned elsewhere.
    while (find_fit(purpose, key, SPOILED, s))
        if (!hide(s))
            return DS_STATUS(PORT, FLASH);
    if (!find_fit(purpose, key, SAME, s)) {
        if (!find_fit(purpose, key, FREE, s))
            return DS_STATUS(PORT, NO_SPACE);
        if (esp_efuse_write_block(s->block, key, 0, 8 * KEY_LEN) != ESP_OK)
            return DS_STATUS(PORT, FLASH);
        *s = slot_of(s->key);
        if (fit_of(s, purpose, key) != SAME) {
            (void)hide(s);
            return DS_STATUS(PORT, FLASH);
        }
    }
    return finish(s, purpose);
}

static ds_status key_burn(void *ctx, enum ds_key_use use, const uint8_t key[32])
{
    (void)ctx;
    slot s;
    if (esp_efuse_read_field_bit(ESP_EFUSE_WR_DIS_RD_DIS))
        return DS_STATUS(PORT, NOT_ALLOWED);
    ds_status r = burn(purpose_of(use), key, &s);
    mbedtls_platform_zeroize(&s, sizeof s);
    return r;
}

// ---- using

// The last one burned is the lowest.
ds_status ds_esp_hmac(void *ctx, const void *message, size_t len, uint8_t ret[32])
{
    (void)ctx;
    for (int i = LAST_KEY; i <= FIRST_KEY; i++) {
        slot s = slot_of(i);
        if (is_whole(&s, ESP_EFUSE_KEY_PURPOSE_HMAC_UP))
            return esp_hmac_calculate((hmac_key_id_t)i, message, len, ret) == ESP_OK ? DS_STATUS_OK
                                                                                     : DS_STATUS(PORT, CRYPTO);
    }
    return DS_STATUS(PORT, NOT_FOUND);
}

static void reverse(const uint8_t *from, uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = from[len - 1 - i];
}

// The peripheral takes and gives words, little-endian.
typedef struct work {
    esp_ds_data_t data;
    uint32_t message[MODULUS_MAX / 4], signature[MODULUS_MAX / 4];
} work;

// The blocks are tried in turn: the peripheral tells which one opens the data.
static bool sign_by_any(work *w, int *ret_key)
{
    for (int i = LAST_KEY; i <= FIRST_KEY; i++) {
        slot s = slot_of(i);
        *ret_key = i;
        if (is_whole(&s, ESP_EFUSE_KEY_PURPOSE_HMAC_DOWN_DIGITAL_SIGNATURE) &&
            esp_ds_sign(w->message, &w->data, (hmac_key_id_t)i, w->signature) == ESP_OK)
            return true;
    }
    return false;
}

static ds_status prepare(const uint8_t *data, size_t data_len, work **ret)
{
    if (data_len != sizeof(esp_ds_data_t))
        return DS_STATUS(PORT, BAD_REQUEST);
    *ret = calloc(1, sizeof **ret);
    if (*ret == NULL)
        return DS_STATUS(PORT, NO_SPACE);
    memcpy(&(*ret)->data, data, sizeof(esp_ds_data_t));
    return DS_STATUS_OK;
}

static ds_status dsig(void *ctx, const uint8_t *data, size_t data_len, const uint8_t *in, uint8_t *ret, size_t len)
{
    (void)ctx;
    work *w = NULL;
    int key;
    if (len > MODULUS_MAX || len % 4 != 0)
        return DS_STATUS(PORT, BAD_REQUEST);
    ds_status s = prepare(data, data_len, &w);
    if (s != DS_STATUS_OK)
        return s;
    reverse(in, (uint8_t *)w->message, len);
    if (sign_by_any(w, &key))
        reverse((const uint8_t *)w->signature, ret, len);
    else
        s = DS_STATUS(PORT, NOT_FOUND);
    free(w);
    return s;
}

static bool find_key(work *w, int *ret_key)
{
    w->message[0] = 2; // any number below the modulus
    return sign_by_any(w, ret_key);
}

ds_status ds_esp_dsig_context(uint8_t *data, size_t data_len, void **ret)
{
    work *w = NULL;
    int key = 0;
    ds_status s = prepare(data, data_len, &w);
    if (s != DS_STATUS_OK)
        return s;
    esp_ds_data_ctx_t *c = malloc(sizeof *c);
    if (c == NULL)
        s = DS_STATUS(PORT, NO_SPACE);
    else if (!find_key(w, &key))
        s = DS_STATUS(PORT, NOT_FOUND);
    else
        *c = (esp_ds_data_ctx_t){.esp_ds_data = (esp_ds_data_t *)(void *)data,
                                 .efuse_key_id = (uint8_t)key,
                                 .rsa_length_bits = (uint16_t)(((unsigned)w->data.rsa_length + 1) * 32)};
    if (s == DS_STATUS_OK)
        *ret = c;
    else
        free(c);
    free(w);
    return s;
}

void ds_esp_keys_fill(ds_port *port)
{
    port->key_burn = key_burn;
    port->hmac = ds_esp_hmac;
    port->dsig_bits = ESP_DS_SIGNATURE_MAX_BIT_LEN;
    port->dsig = dsig;
}
