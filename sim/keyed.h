// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The HMAC and the digital-signature peripheral of a virtual chip. Both take their key from a key block as the hardware
// sees it and look at its purpose; what they computed is all that software gets. Sources: the chips' technical
// reference manuals, chapters HMAC Accelerator and Digital Signature; ESP-IDF esp_hmac.h, esp_ds.h (v5.4).
#ifndef DS_SIM_KEYED_H
#define DS_SIM_KEYED_H

#include "sim/chip.h"
#include "src/base/buf.h"

// HMAC-SHA256 for software ("upstream"). False where the chip has no such peripheral, the block is no key block, or its
// purpose is not HMAC_UP.
bool ds_sim_hmac(const ds_sim_chip *c, unsigned block, const void *message, size_t len, uint8_t ret[32]);

// A signature by the key in data, which only this block opens; see src/esp/dsig.h. False where the purpose is neither
// HMAC_DOWN_DIGITAL_SIGNATURE nor HMAC_DOWN_ALL, or the data's padding or digest is wrong.
bool ds_sim_dsig(const ds_sim_chip *c, unsigned block, ds_view data, const uint8_t *in, uint8_t *ret, size_t len);

#endif
