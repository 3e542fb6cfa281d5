// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Randomness for mbedTLS, watched as it is used: a stuck source must not become a key. mbedTLS draws once for every
// prime candidate, which makes this the place to show life during the seconds an RSA key takes.
#include "agent/core/internal.h"

#include <mbedtls/entropy.h>
#include <mbedtls/md.h>

enum {
    // Six equal bytes in a row: 2^-40 from a good source. An RSA-3072 key draws some 2^18 bytes.
    REPETITION_CUTOFF = 6,
    CALLS_PER_PROGRESS = 32,
};

static bool repetition_ok(ds_rng *rng, const unsigned char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        rng->run = rng->run > 0 && buf[i] == rng->last ? (uint8_t)(rng->run + 1) : 1;
        rng->last = buf[i];
        if (rng->run >= REPETITION_CUTOFF)
            return false;
    }
    return true;
}

int ds_rng_draw(void *ctx, unsigned char *buf, size_t len)
{
    ds_rng *rng = ctx;
    const ds_port *port = rng->a->port;
    port->alive(port->ctx);
    if (++rng->calls % CALLS_PER_PROGRESS == 0)
        ds_agent_progress(rng->a);
    int r = rng->failed ? MBEDTLS_ERR_ENTROPY_SOURCE_FAILED : port->random(port->ctx, buf, len);
    if (r == 0 && !repetition_ok(rng, buf, len))
        r = MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
    if (r != 0)
        rng->failed = true;
    return r;
}

bool ds_sha256(const uint8_t *data, size_t len, uint8_t ret[32])
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    return md != NULL && mbedtls_md(md, data, len, ret) == 0;
}
