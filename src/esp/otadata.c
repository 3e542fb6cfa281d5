// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// otadata; see otadata.h. An entry's CRC covers its sequence number alone, as bootloader_common_ota_select_crc() has
// it.
#include "src/esp/otadata.h"

#include "src/base/crc.h"

#include <string.h>

#define EMPTY 0xFFFFFFFFu
#define SEQ_LEN 4
#define CRC_OFF 28

static bool entry_valid(const uint8_t *entry, uint32_t seq, uint32_t state)
{
    return seq != EMPTY && state != DS_OTA_INVALID && state != DS_OTA_ABORTED &&
           ds_le32(entry + CRC_OFF) == ds_crc32_esp(0xFFFFFFFF, entry, SEQ_LEN);
}

void ds_otadata_parse(const uint8_t data[DS_OTADATA_SIZE], ds_otadata *ret)
{
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *entry = data + i * DS_OTADATA_SECTOR;
        ret->entry[i].seq = ds_le32(entry);
        ret->entry[i].state = ds_le32(entry + DS_OTADATA_STATE);
        ret->entry[i].valid = entry_valid(entry, ret->entry[i].seq, ret->entry[i].state);
    }
    ret->active = -1;
    if (ret->entry[0].valid)
        ret->active = 0;
    if (ret->entry[1].valid && (!ret->entry[0].valid || ret->entry[1].seq > ret->entry[0].seq))
        ret->active = 1;
}

int ds_otadata_slot(const ds_otadata *o, unsigned n_slots)
{
    if (o->active < 0 || !n_slots)
        return -1;
    return (int)((o->entry[o->active].seq - 1) % n_slots);
}

void ds_otadata_entry(uint32_t seq, uint32_t state, uint8_t ret[DS_OTADATA_ENTRY])
{
    memset(ret, 0xFF, DS_OTADATA_ENTRY);
    ds_put_le32(ret, seq);
    ds_put_le32(ret + DS_OTADATA_STATE, state);
    ds_put_le32(ret + CRC_OFF, ds_crc32_esp(0xFFFFFFFF, ret, SEQ_LEN));
}

void ds_otadata_select(const ds_otadata *o, unsigned slot, unsigned n_slots, uint8_t ret_entry[DS_OTADATA_ENTRY],
                       unsigned *ret_sector)
{
    uint32_t seq = slot + 1;
    unsigned sector = 0;
    if (o->active >= 0 && n_slots) {
        // The smallest sequence number that is not less than the current one and means this slot.
        uint32_t now = o->entry[o->active].seq;
        uint32_t at = (now - 1) % n_slots;
        seq = now + (slot + n_slots - at) % n_slots;
        sector = o->active ? 0 : 1;
    }
    ds_otadata_entry(seq, (uint32_t)DS_OTA_UNDEFINED, ret_entry);
    *ret_sector = sector;
}
