// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The RS(44,32) code of eFuse key blocks: GF(256) with polynomial 0x11D, generator with roots alpha^0..alpha^11.
#include "src/esp/efuse.h"

#include <string.h>

#define CHECK 12

static uint8_t gf_mul(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b; b >>= 1) {
        if (b & 1)
            product ^= a;
        a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1D : 0));
    }
    return product;
}

// g[0..11]: coefficients after the leading 1, highest first.
static void generator(uint8_t g[CHECK])
{
    memset(g, 0, CHECK);
    uint8_t root = 1;
    for (unsigned degree = 0; degree < CHECK; degree++) {
        // Times (x + root), from the lowest coefficient up.
        uint8_t above = 1;
        for (unsigned i = 0; i <= degree; i++) {
            uint8_t here = g[i];
            g[i] = (uint8_t)(here ^ gf_mul(above, root));
            above = here;
        }
        root = gf_mul(root, 2);
    }
}

void ds_efuse_rs_encode(const uint8_t data[32], uint8_t ret_check[12])
{
    uint8_t g[CHECK];
    generator(g);
    memset(ret_check, 0, CHECK);
    for (unsigned i = 0; i < 32; i++) {
        uint8_t factor = (uint8_t)(data[i] ^ ret_check[0]);
        for (unsigned k = 0; k + 1 < CHECK; k++)
            ret_check[k] = (uint8_t)(ret_check[k + 1] ^ gf_mul(factor, g[k]));
        ret_check[CHECK - 1] = gf_mul(factor, g[CHECK - 1]);
    }
}
