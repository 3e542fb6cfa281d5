// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The platform in memory; see fake_port.h.
#include "tests/unit/fake_port.h"

#include <mbedtls/aes.h>
#include <mbedtls/bignum.h>
#include <mbedtls/md.h>

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

// Does this call fail? *ret_effect tells whether it has its effect all the same.
static ds_status begin_call(fake_port *f, bool *ret_effect)
{
    f->calls++;
    *ret_effect = !f->dead;
    if (f->dead)
        return DS_STATUS(PORT, FLASH);
    if (f->calls != f->fail_call)
        return DS_STATUS_OK;
    *ret_effect = f->fail_after;
    return DS_STATUS(PORT, FLASH);
}

// One write point. True where the write takes effect; f->dead tells whether power is there afterwards.
static bool write_point(fake_port *f)
{
    if (f->dead)
        return false;
    if (++f->writes != f->power_write)
        return true;
    f->dead = true;
    return f->power_after;
}

static fake_value *find(fake_port *f, enum ds_area area, const char *name_space, const char *key)
{
    if (area == DS_AREA_ENCRYPTED && !f->security.flash_encryption)
        f->encrypted_opened_in_plain = true;
    for (int i = 0; i < FAKE_VALUES; i++) {
        fake_value *v = &f->areas[area].values[i];
        if (v->used && strcmp(v->name_space, name_space) == 0 && strcmp(v->key, key) == 0)
            return v;
    }
    return NULL;
}

const fake_value *fake_find(const fake_port *f, enum ds_area area, const char *name_space, const char *key)
{
    for (int i = 0; i < FAKE_VALUES; i++) {
        const fake_value *v = &f->areas[area].values[i];
        if (v->used && strcmp(v->name_space, name_space) == 0 && strcmp(v->key, key) == 0)
            return v;
    }
    return NULL;
}

static ds_status value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (s != DS_STATUS_OK)
        return s;
    const fake_value *v = find(f, area, name_space, key);
    if (v == NULL)
        return DS_STATUS(PORT, NOT_FOUND);
    *ret_len = v->len;
    if (v->len > cap)
        return DS_STATUS(PORT, NO_SPACE);
    if (v->len > 0)
        memcpy(buf, v->data, v->len);
    return DS_STATUS_OK;
}

static bool put(fake_port *f, enum ds_area area, const char *name_space, const char *key, enum ds_value_type type,
                const void *data, size_t len)
{
    fake_value *v = find(f, area, name_space, key);
    for (int i = 0; v == NULL && i < FAKE_VALUES; i++)
        if (!f->areas[area].values[i].used)
            v = &f->areas[area].values[i];
    if (v == NULL || len > FAKE_VALUE_MAX)
        return false;
    memset(v, 0, sizeof *v);
    v->used = true;
    v->type = type;
    v->len = len;
    strncpy(v->name_space, name_space, sizeof v->name_space - 1);
    strncpy(v->key, key, sizeof v->key - 1);
    if (len > 0)
        memcpy(v->data, data, len);
    f->areas[area].touched = true;
    if (area == DS_AREA_PLAIN && strcmp(key, "key") == 0)
        f->key_sets++;
    return true;
}

static ds_status value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (++f->sets == f->lose_set)
        return s;
    if (effect && write_point(f) && !put(f, area, name_space, key, type, data, len))
        return DS_STATUS(PORT, NO_SPACE);
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (!effect)
        return s;
    for (int i = 0; i < FAKE_VALUES; i++) {
        const fake_value *v = &f->areas[area].values[i];
        if (!v->used)
            continue;
        // A copy of its own, so that use after the callback is caught.
        uint8_t *data = malloc(v->len + 1);
        memcpy(data, v->data, v->len);
        ds_status one = fn(arg, v->name_space, v->key, v->type, data, v->len);
        free(data);
        if (one != DS_STATUS_OK)
            return one;
    }
    return s;
}

// Each value vanishes by itself, so that power can be lost between any two.
static ds_status area_erase(void *ctx, enum ds_area area)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    for (int i = 0; effect && i < FAKE_VALUES; i++)
        if (f->areas[area].values[i].used && write_point(f))
            memset(&f->areas[area].values[i], 0, sizeof f->areas[area].values[i]);
    if (effect && write_point(f))
        f->areas[area].touched = false;
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static bool area_is_blank(void *ctx, enum ds_area area)
{
    fake_port *f = ctx;
    bool effect;
    return begin_call(f, &effect) == DS_STATUS_OK && !f->areas[area].touched;
}

static uint32_t area_free(void *ctx, enum ds_area area)
{
    fake_port *f = ctx;
    uint32_t left = 0;
    for (int i = 0; i < FAKE_VALUES; i++)
        left += f->areas[area].values[i].used ? 0 : 100;
    return left;
}

static int random_bytes(void *ctx, unsigned char *buf, size_t len)
{
    fake_port *f = ctx;
    bool effect;
    if (begin_call(f, &effect) != DS_STATUS_OK)
        return -1;
    for (size_t i = 0; i < len; i++) {
        f->seed ^= f->seed << 13;
        f->seed ^= f->seed >> 7;
        f->seed ^= f->seed << 17;
        buf[i] = f->stuck_random ? 0x5A : (uint8_t)(f->seed >> 32);
    }
    return 0;
}

static uint32_t image_capacity(void *ctx, enum ds_image_place place)
{
    (void)ctx, (void)place;
    return FAKE_PLACE;
}

static bool bad_range(uint32_t offset, size_t len)
{
    return offset > FAKE_PLACE || len > FAKE_PLACE - offset;
}

static ds_status image_erase(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (bad_range(offset, len) || offset % 4096 != 0 || len % 4096 != 0)
        return DS_STATUS(PORT, BAD_REQUEST);
    if (effect && write_point(f))
        memset(f->places[place] + offset, 0xFF, len);
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status image_write(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (bad_range(offset, len) || offset % 32 != 0 || len % 32 != 0)
        return DS_STATUS(PORT, BAD_REQUEST);
    bool whole = effect && write_point(f);
    // A write that is cut off leaves its first half.
    for (size_t i = 0; effect && i < (whole ? len : len / 2); i++)
        f->places[place][offset + i] &= ((const uint8_t *)data)[i];
    if (f->spoil_write)
        f->places[place][offset] = 0;
    f->spoil_write = false;
    if (f->stuck_flash)
        f->places[place][offset] |= 1;
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status image_read(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (bad_range(offset, len))
        return DS_STATUS(PORT, BAD_REQUEST);
    memcpy(buf, f->places[place] + offset, len);
    return s;
}

static ds_status boot_select(void *ctx, const char *label)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (strcmp(label, "ota_0") != 0 && strcmp(label, "ota_1") != 0)
        return DS_STATUS(PORT, NOT_FOUND);
    if (effect && write_point(f))
        snprintf(f->boot, sizeof f->boot, "%s", label);
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static void identity(void *ctx, ds_identity *ret)
{
    *ret = ((fake_port *)ctx)->identity;
}

static void security(void *ctx, ds_security *ret)
{
    *ret = ((fake_port *)ctx)->security;
}

static uint32_t self_test(void *ctx)
{
    return ((fake_port *)ctx)->self_test;
}

static int console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    fake_port *f = ctx;
    (void)timeout_ms;
    size_t left = f->in_len - f->in_at;
    size_t n = left < cap ? left : cap;
    if (n > 0)
        memcpy(buf, f->in + f->in_at, n);
    f->in_at += n;
    if (n == 0 && f->idle_polls > 0 && --f->idle_polls == 0)
        return -1;
    return (int)n;
}

static void console_write(void *ctx, const uint8_t *buf, size_t len)
{
    fake_port *f = ctx;
    if (f->dead)
        return;
    if (len > sizeof f->out - f->out_len)
        abort(); // a test that overlooks output proves nothing
    memcpy(f->out + f->out_len, buf, len);
    f->out_len += len;
}

static void log_line(void *ctx, const char *line)
{
    fake_port *f = ctx;
    size_t len = strlen(f->log);
    if (f->dead || len + strlen(line) + 2 > sizeof f->log)
        return;
    snprintf(f->log + len, sizeof f->log - len, "%s\n", line);
    console_write(f, (const uint8_t *)line, strlen(line));
    console_write(f, (const uint8_t *)"\n", 1);
}

static void alive(void *ctx)
{
    ((fake_port *)ctx)->alives++;
}

static void key_delay(void *ctx, int key_type)
{
    (void)key_type;
    ((fake_port *)ctx)->key_delays++;
}

static void reboot(void *ctx)
{
    fake_port *f = ctx;
    if (!f->dead)
        f->reboots++;
}

static ds_status download_close(void *ctx)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (effect && write_point(f)) {
        f->security.download = DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED;
        f->closes++;
    }
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status trial_end(void *ctx, bool good)
{
    fake_port *f = ctx;
    if (good)
        f->trials_good++;
    else
        f->trials_bad++;
    return DS_STATUS_OK;
}

static ds_status anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (s != DS_STATUS_OK)
        return s;
    memcpy(ret, f->anchor, f->anchor_len);
    *ret_len = f->anchor_len;
    return DS_STATUS_OK;
}

static ds_status anchor_set(void *ctx, const uint8_t digest[32])
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (f->anchor_cap == 0)
        return DS_STATUS(PORT, NO_SPACE);
    if (f->anchor_len > 0 && memcmp(f->anchor, digest, f->anchor_len) != 0)
        return DS_STATUS(PORT, MISMATCH);
    if (effect && f->anchor_len == 0 && write_point(f)) {
        memcpy(f->anchor, digest, f->anchor_cap);
        f->anchor_len = f->anchor_cap;
        f->burns++;
    }
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static struct fake_block *free_block(fake_port *f, enum ds_key_use use, const uint8_t key[32])
{
    for (int i = 0; i < FAKE_BLOCKS; i++) {
        struct fake_block *b = &f->blocks[i];
        if (!b->burned || (!b->whole && !b->bad && b->use == use && memcmp(b->bytes, key, 32) == 0))
            return b;
    }
    return NULL;
}

// Two writes: the bits, and the protection.
static ds_status key_burn(void *ctx, enum ds_key_use use, const uint8_t key[32])
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    struct fake_block *b = free_block(f, use, key);
    if (f->read_protection_locked)
        return DS_STATUS(PORT, NOT_ALLOWED);
    if (b == NULL)
        return DS_STATUS(PORT, NO_SPACE);
    if (effect && !b->burned && write_point(f)) {
        *b = (struct fake_block){.burned = true, .bad = f->spoil_burns > 0, .use = use};
        memcpy(b->bytes, key, 32);
        b->bytes[0] ^= b->bad;
        f->key_burns++;
    }
    if (b->bad) {
        f->spoil_burns--;
        return DS_STATUS(PORT, FLASH);
    }
    if (effect && b->burned && write_point(f))
        b->whole = true;
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

static ds_status hmac(void *ctx, const void *message, size_t len, uint8_t ret[32])
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (s != DS_STATUS_OK)
        return s;
    for (int i = FAKE_BLOCKS; i-- > 0;)
        if (f->blocks[i].whole && f->blocks[i].use == DS_KEY_USE_NVS)
            return mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), f->blocks[i].bytes, 32, message, len,
                                   ret) == 0
                       ? DS_STATUS_OK
                       : DS_STATUS(PORT, CRYPTO);
    return DS_STATUS(PORT, NOT_FOUND);
}

bool fake_dsig_open(const uint8_t *data, size_t data_len, const uint8_t key[32], fake_dsig *ret)
{
    uint8_t ones[32], aes_key[32], iv[16], head[FAKE_DSIG_LEN], md[32];
    const size_t param = FAKE_DSIG_BITS / 8;
    if (data_len != FAKE_DSIG_LEN)
        return false;
    memset(ones, 0xFF, sizeof ones);
    memcpy(iv, data + 4, sizeof iv);
    mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), key, 32, ones, sizeof ones, aes_key);
    mbedtls_aes_context aes;
    mbedtls_aes_init(&aes);
    mbedtls_aes_setkey_dec(&aes, aes_key, 256);
    mbedtls_aes_crypt_cbc(&aes, MBEDTLS_AES_DECRYPT, sizeof ret->p, iv, data + 20, ret->p);
    mbedtls_aes_free(&aes);
    memcpy(head, ret->p, 3 * param);
    memcpy(head + 3 * param, ret->p + 3 * param + 32, 8);
    memcpy(head + 3 * param + 8, data + 4, 16);
    mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), head, 3 * param + 24, md);
    return memcmp(md, ret->p + 3 * param, 32) == 0 && memcmp(ret->p + 3 * param + 32 + 4, data, 4) == 0;
}

static ds_status dsig(void *ctx, const uint8_t *data, size_t data_len, const uint8_t *in, uint8_t *ret, size_t len)
{
    fake_port *f = ctx;
    bool effect;
    static fake_dsig open;
    ds_status s = begin_call(f, &effect);
    if (s != DS_STATUS_OK)
        return s;
    int i = 0;
    while (i < FAKE_BLOCKS && !(f->blocks[i].whole && f->blocks[i].use == DS_KEY_USE_DSIG &&
                                fake_dsig_open(data, data_len, f->blocks[i].bytes, &open)))
        i++;
    if (i == FAKE_BLOCKS)
        return DS_STATUS(PORT, NOT_FOUND);
    mbedtls_mpi x, y, m;
    mbedtls_mpi_init(&x);
    mbedtls_mpi_init(&y);
    mbedtls_mpi_init(&m);
    bool ok = mbedtls_mpi_read_binary(&x, in, len) == 0 &&
              mbedtls_mpi_read_binary_le(&y, open.p, FAKE_DSIG_BITS / 8) == 0 &&
              mbedtls_mpi_read_binary_le(&m, open.p + FAKE_DSIG_BITS / 8, FAKE_DSIG_BITS / 8) == 0 &&
              mbedtls_mpi_exp_mod(&x, &x, &y, &m, NULL) == 0 && mbedtls_mpi_write_binary(&x, ret, len) == 0;
    mbedtls_mpi_free(&m);
    mbedtls_mpi_free(&y);
    mbedtls_mpi_free(&x);
    memset(&open, 0, sizeof open);
    f->dsigs++;
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, CRYPTO);
}

static ds_status publish(void *ctx, const ds_publish *m)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    if (s != DS_STATUS_OK)
        return s;
    if (f->publish_failures > 0) {
        f->publish_failures--;
        return DS_STATUS(ENDPOINT, NETWORK);
    }
    const fake_value *k = fake_find(f, DS_AREA_ENCRYPTED, "stamp", m->key_in_dsig ? "dsig" : "key");
    const fake_value *c = fake_find(f, DS_AREA_ENCRYPTED, "stamp", "chain");
    if (k == NULL || c == NULL || k->len != m->key_len || c->len != m->chain_len ||
        memcmp(k->data, m->key, m->key_len) != 0 || memcmp(c->data, m->chain, m->chain_len) != 0)
        return DS_STATUS(ENDPOINT, CRYPTO);
    strncpy(f->endpoint, m->endpoint, sizeof f->endpoint - 1);
    strncpy(f->client_id, m->client_id, sizeof f->client_id - 1);
    strncpy(f->topic, m->topic, sizeof f->topic - 1);
    strncpy(f->payload, m->payload, sizeof f->payload - 1);
    f->publishes++;
    return DS_STATUS_OK;
}

// As area_erase: power can be lost between any two.
static ds_status values_clear(void *ctx, enum ds_area area,
                              bool (*keep)(void *arg, const char *name_space, const char *key), void *arg)
{
    fake_port *f = ctx;
    bool effect;
    ds_status s = begin_call(f, &effect);
    for (int i = 0; effect && i < FAKE_VALUES; i++) {
        fake_value *v = &f->areas[area].values[i];
        if (v->used && !keep(arg, v->name_space, v->key) && write_point(f))
            memset(v, 0, sizeof *v);
    }
    return f->dead ? DS_STATUS(PORT, FLASH) : s;
}

bool fake_contains(const void *hay, size_t hay_len, const void *needle, size_t len)
{
    return len > 0 && memmem(hay, hay_len, needle, len) != NULL;
}

bool fake_leaks(const fake_port *f, const void *secret, size_t len)
{
    uint8_t plain[FAKE_CONSOLE];
    size_t n = 0;
    for (size_t i = 0; i < f->out_len; i++) {
        uint8_t c = f->out[i];
        if (c == 0xDB && i + 1 < f->out_len)
            c = f->out[++i] == 0xDC ? 0xC0 : 0xDB;
        plain[n++] = c;
    }
    return fake_contains(plain, n, secret, len) || fake_contains(f->out, f->out_len, secret, len) ||
           fake_contains(f->log, strlen(f->log), secret, len);
}

void fake_power_on(fake_port *f, int role)
{
    f->dead = false;
    f->fail_call = f->power_write = 0;
    f->in_len = f->in_at = 0;
    memset(f->frame, 0xA5, sizeof f->frame);
    memset(f->scratch, 0xA5, sizeof f->scratch);
    ds_agent_init(&f->agent, &f->port, role, f->frame, f->scratch);
}

void fake_init(fake_port *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    f->seed = seed * 0x9E3779B97F4A7C15u + 1;
    f->anchor_cap = sizeof f->anchor;
    f->port = (ds_port){
        .ctx = f,
        .value_get = value_get,
        .value_set = value_set,
        .value_each = value_each,
        .area_erase = area_erase,
        .area_is_blank = area_is_blank,
        .area_free = area_free,
        .random = random_bytes,
        .image_capacity = image_capacity,
        .image_erase = image_erase,
        .image_write = image_write,
        .image_read = image_read,
        .boot_select = boot_select,
        .identity = identity,
        .security = security,
        .self_test = self_test,
        .console_read = console_read,
        .console_write = console_write,
        .log = log_line,
        .alive = alive,
        .key_delay = key_delay,
        .reboot = reboot,
        .download_close = download_close,
        .trial_end = trial_end,
        .anchor_get = anchor_get,
        .anchor_set = anchor_set,
        .publish = publish,
        .values_clear = values_clear,
        .key_burn = key_burn,
        .hmac = hmac,
        .dsig_bits = FAKE_DSIG_BITS,
        .dsig = dsig,
    };
    f->identity =
        (ds_identity){.chip_id = 5, .chip_revision = 3, .mac = {0x60, 0x55, 0xF9, 1, 2, 3}, .flash_size = 4u << 20};
    snprintf(f->identity.project, sizeof f->identity.project, "%s", "devstamp-mfg");
    snprintf(f->identity.version, sizeof f->identity.version, "%s", "1.2.0");
    snprintf(f->identity.app_version, sizeof f->identity.app_version, "%s", "2.0.1");
    snprintf(f->identity.boot_partition, sizeof f->identity.boot_partition, "%s", "ota_1");
    snprintf(f->boot, sizeof f->boot, "%s", "ota_1");
    memset(f->places, 0xFF, sizeof f->places);
    fake_power_on(f, DS_AGENT_MFG);
}
