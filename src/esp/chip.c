// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chips of the family; see chip.h.
#include "src/esp/chip.h"

#include <stddef.h>
#include <string.h>

static const ds_chip chips[] = {
    {
        .name = "esp32",
        .title = "ESP32",
        .id = DS_CHIP_ESP32,
        .magic = {0x00F01D83},
        .bootloader_offset = 0x1000,
        .efuse_base = 0x3FF5A000,
        .efuse_window = 0x120,
        .spi_base = 0x3FF42000,
        .has_security_info = false,
        .has_secure_download = false,
        .digests = 1,
        .cipher = DS_FLASH_CIPHER_ESP32,
        .encrypt_align = 32,
    },
    {
        .name = "esp32c3",
        .title = "ESP32-C3",
        .id = DS_CHIP_ESP32C3,
        .magic = {0x6921506F, 0x1B31506F, 0x4881606F, 0x4361606F},
        .bootloader_offset = 0,
        .efuse_base = 0x60008800,
        .efuse_window = 0x200,
        .spi_base = 0x60002000,
        .has_security_info = true,
        .has_secure_download = true,
        .digests = 3,
        .cipher = DS_FLASH_CIPHER_XTS128,
        .encrypt_align = 16,
        .has_hmac = true,
        .dsig_bits = 3072,
    },
};

const ds_chip *ds_chip_at(unsigned index)
{
    return index < sizeof chips / sizeof *chips ? &chips[index] : NULL;
}

const ds_chip *ds_chip_by_name(const char *name)
{
    for (unsigned i = 0; ds_chip_at(i); i++)
        if (!strcmp(chips[i].name, name))
            return &chips[i];
    return NULL;
}

const ds_chip *ds_chip_by_id(uint16_t id)
{
    for (unsigned i = 0; ds_chip_at(i); i++)
        if (chips[i].id == id)
            return &chips[i];
    return NULL;
}

const ds_chip *ds_chip_by_magic(uint32_t magic)
{
    if (!magic)
        return NULL; // the filler of the table's short lists
    for (unsigned i = 0; ds_chip_at(i); i++)
        for (size_t k = 0; k < sizeof chips[i].magic / sizeof *chips[i].magic; k++)
            if (chips[i].magic[k] == magic)
                return &chips[i];
    return NULL;
}

static const ds_chip generic = {.name = "generic", .title = "generic", .id = DS_CHIP_GENERIC};

const ds_chip *ds_platform_by_name(const char *name)
{
    return strcmp(name, generic.name) == 0 ? &generic : ds_chip_by_name(name);
}

const ds_chip *ds_platform_by_id(uint16_t id)
{
    return id == generic.id ? &generic : ds_chip_by_id(id);
}

bool ds_chip_can_lock(const ds_chip *chip)
{
    return chip != &generic;
}
