// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// otadata: which app boots. Source: ESP-IDF bootloader_common_loader.c, bootloader_utility.c, esp_ota_ops.c (v5.4).
#ifndef DS_ESP_OTADATA_H
#define DS_ESP_OTADATA_H

#include "src/base/buf.h"

#define DS_OTADATA_SIZE 0x2000u
#define DS_OTADATA_SECTOR 0x1000u
#define DS_OTADATA_ENTRY 32u
#define DS_OTADATA_STATE 24u // of an entry: enum ds_ota_state; not covered by its CRC

enum ds_ota_state {
    DS_OTA_NEW = 0,
    DS_OTA_PENDING_VERIFY = 1,
    DS_OTA_VALID = 2,
    DS_OTA_INVALID = 3,
    DS_OTA_ABORTED = 4,
    DS_OTA_UNDEFINED = -1,
};

typedef struct ds_otadata {
    struct {
        uint32_t seq;
        uint32_t state;
        bool valid;
    } entry[2];
    int active; // 0, 1, or -1: none
} ds_otadata;

void ds_otadata_parse(const uint8_t data[DS_OTADATA_SIZE], ds_otadata *ret);
// Slot (ota_N) that is active among n_slots, or -1.
int ds_otadata_slot(const ds_otadata *o, unsigned n_slots);
// An entry of this sequence number and state.
void ds_otadata_entry(uint32_t seq, uint32_t state, uint8_t ret[DS_OTADATA_ENTRY]);
// The entry that switches to slot, its state undefined (no trial),, and the sector (0 or 1) it must be written to
// (erase, then write).
void ds_otadata_select(const ds_otadata *o, unsigned slot, unsigned n_slots, uint8_t ret_entry[DS_OTADATA_ENTRY],
                       unsigned *ret_sector);

#endif
