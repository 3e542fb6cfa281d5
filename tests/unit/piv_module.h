// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A PKCS#11 module over the virtual YubiKey's card, in one process and without any reader: what ykcs11 2.2 does with
// the PIN, as docs/tokens.md and the card's own APDUs show it, and no more of it than a signer needs. Thousands of
// rounds run through it where a real reader would take a day. The test that includes this is the hand: it puts cards
// in, pulls them out, and lets the process die, at any APDU.
#ifndef PIV_MODULE_H
#define PIV_MODULE_H

#include "sim/piv/card.h"

#include <p11-kit/pkcs11.h>

// What happens to the card, at the APDU of that number (from 1) after piv_module_plug.
enum piv_module_fate {
    PIV_MODULE_FINE,
    PIV_MODULE_GONE_BEFORE, // pulled out: the card never sees that APDU
    PIV_MODULE_GONE_AFTER,  // pulled out: the card has done it, and nobody learns its answer
    PIV_MODULE_BACK,        // pulled out, and in again before anybody looks
    PIV_MODULE_RESET,       // by another program, before it
    PIV_MODULE_DIES_BEFORE, // the process ends
    PIV_MODULE_DIES_AFTER,
    PIV_MODULE_FATES
};

// Shared between processes: what was asked of the card.
typedef struct piv_module_counts {
    uint64_t apdus, verifies, wrong, signatures;
} piv_module_counts;

// The card that is in the reader from now on; NULL: none. counts gets what is asked of it.
void piv_module_plug(ds_piv_card *card, piv_module_counts *counts, enum piv_module_fate fate, unsigned at);

CK_RV piv_module_functions(CK_FUNCTION_LIST **ret);

#endif
