// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A firmware without CONFIG_NVS_ENCRYPTION, as the plain manufacturing one: it cannot open the encrypted area.
#include "agent/port/esp-idf/esp_port.h"

ds_status ds_esp_area_mount_encrypted(const esp_partition_t *part, bool make_keys)
{
    (void)part, (void)make_keys;
    return DS_STATUS(PORT, UNSUPPORTED);
}
