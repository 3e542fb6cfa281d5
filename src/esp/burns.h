// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What is burned into a chip for ever on its way through the line: by the mfg firmware where keys go into the chip, by
// the first boot of a secure bootloader, by the app afterwards. Computed, so that people can be shown it before. It is
// of a chip whose key blocks are blank. Sources: ESP-IDF secure_boot_v2/secure_boot.c,
// flash_encryption/flash_encrypt.c, <chip>/secure_boot_secure_features.c, <chip>/flash_encryption_secure_features.c
// (v5.4); docs/decisions/0003, 0004.
#ifndef DS_ESP_BURNS_H
#define DS_ESP_BURNS_H

#include "src/base/err.h"
#include "src/esp/chip.h"

enum ds_burn_when {
    DS_BURN_STAMP,     // the mfg firmware, when the stamp is complete
    DS_BURN_FIRSTBOOT, // the secure bootloader
    DS_BURN_APP,       // the app, when it has moved the stamp
    DS_BURN_WHENS,
};
const char *ds_burn_when_name(enum ds_burn_when when); // "stamp", "first-boot", "app"

// One field and what it will hold. Bits that were burned before stay, whatever value says.
typedef struct ds_burn {
    enum ds_burn_when when;
    char field[36]; // as espefuse names it: "SECURE_BOOT_EN", "BLOCK_KEY0"
    // "0x1"; 64 hex digits: that block's bytes; "secret": made on the chip, and no software can read it afterwards;
    // "certificate": made of the digest of the device's certificate
    char value[65];
} ds_burn;

enum { DS_BURNS_MAX = 48 };
typedef struct ds_burns {
    ds_burn list[DS_BURNS_MAX];
    unsigned count;
} ds_burns;

typedef struct ds_burn_wish {
    const ds_chip *chip;
    const uint8_t (*digests)[32]; // of the keys that the secure bootloader is signed with
    unsigned digest_count;
    bool release;            // flash encryption in release mode, else development
    bool key_in_ds;          // the private key in the digital-signature peripheral
    bool nvs_by_hmac;        // keys of encrypted NVS by the HMAC peripheral
    bool close_download;     // the app closes download mode for good
    uint32_t secure_version; // of the app
} ds_burn_wish;

// None for a platform without a lock. DS_INPUT: the chip has no room for so many digests, or counts no secure version
// that high.
enum ds_class ds_burns_plan(const ds_burn_wish *w, ds_burns *ret, ds_err *e) DS_MUST;

// What a burn means, as people read it.
const char *ds_burn_words(const ds_burn *b);

#endif
