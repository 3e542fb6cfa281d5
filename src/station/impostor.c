// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// An image that is right in everything but its key: what a locked device must refuse. One throw-away key serves a whole
// run; its private half never leaves this file.
#include "src/station/job.h"

#include "src/base/clock.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// One image a chip; kept until the process ends.
static struct {
    const ds_chip *chip;
    ds_buf image;
} made[8];

// RSA-3072. Three primes make a public key like any other, and are found in a third of the time that two take.
static EVP_PKEY *throw_away_key(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (ctx && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 3072) == 1 &&
        EVP_PKEY_CTX_set_rsa_keygen_primes(ctx, 3) == 1)
        (void)EVP_PKEY_generate(ctx, &key);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static enum ds_class build(const ds_chip *chip, ds_buf *ret, ds_err *e)
{
    uint8_t body[512] = {0};
    // A version that no device is beyond, so that it is refused for its signature alone.
    ds_app_desc desc = {.version = "4294967295.0.0-impostor", .project = "impostor"};
    ds_app_desc_write(&desc, body);
    const ds_image_segment segment = {.load_addr = 0x3FFB0000, .data = {body, sizeof body}};
    const ds_image_spec spec = {.chip_id = chip->id,
                                .entry = 0x3FFB0100,
                                .spi_mode = 2,
                                .flash_size_code = 2,
                                .max_rev_full = 0xFFFF,
                                .segments = &segment,
                                .segment_count = 1};
    if (ds_image_build(&spec, ret, e))
        return e->cls;
    EVP_PKEY *key = throw_away_key();
    if (!key)
        return ds_fail(e, DS_INTERNAL, "cannot make a throw-away key");
    enum ds_class rc = ds_sbv2_sign(ret, key, e);
    EVP_PKEY_free(key);
    return rc;
}

enum ds_class ds_proof_impostor(const ds_recipe *r, ds_view *ret, ds_err *e)
{
    pthread_mutex_lock(&lock);
    enum ds_class rc = DS_INTERNAL;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        if (made[i].chip && made[i].chip != r->chip)
            continue;
        rc = made[i].chip ? DS_OK : build(r->chip, &made[i].image, e);
        if (!rc) {
            made[i].chip = r->chip;
            *ret = ds_buf_view(&made[i].image);
        }
        break;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
