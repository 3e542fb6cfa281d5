// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Choosing what boots: the image is verified as the bootloader will verify it, then ESP-IDF verifies it once more and
// names its slot in otadata.
#include "agent/port/esp-idf/image_scan.h"
#include "src/esp/image.h"

#include "esp_app_desc.h"
#include "esp_chip_info.h"
#include "esp_ota_ops.h"
#include "sdkconfig.h"

#include <string.h>

// The signing keys an app must have one of.
typedef struct trust {
    bool required;
    unsigned count;
    uint8_t digests[DS_ESP_KEY_DIGESTS][32];
} trust;

// Before secure boot is on, a signed bootloader in place says that it will be: it burns its own key's digest, and then
// the app must be signed with that key.
static ds_status trust_of_bootloader(ds_esp *p, trust *ret)
{
    ds_esp_source from = ds_esp_source_of(p, NULL);
    ds_esp_image image;
    ds_status s = ds_esp_image_scan(&from, &image);
    if (s != DS_STATUS_OK)
        return s;
    enum ds_esp_signature v = ds_esp_image_signature(&from, &image, NULL, 0, ret->digests[0]);
    ret->required = v == DS_ESP_SIGNED;
    ret->count = ret->required;
    return v == DS_ESP_BADLY_SIGNED ? DS_STATUS(IMAGE, BAD_SIGNATURE) : DS_STATUS_OK;
}

static ds_status find_trust(ds_esp *p, const ds_security *security, trust *ret)
{
    memset(ret, 0, sizeof *ret);
    if (!security->secure_boot)
        return trust_of_bootloader(p, ret);
    ret->required = true;
    ret->count = security->digest_count < DS_ESP_KEY_DIGESTS ? security->digest_count : DS_ESP_KEY_DIGESTS;
    memcpy(ret->digests, security->digests, sizeof ret->digests);
    return ret->count > 0 ? DS_STATUS_OK : DS_STATUS(IMAGE, BAD_SIGNATURE);
}

static bool fits_chip(const ds_esp_image *image)
{
    esp_chip_info_t chip;
    esp_chip_info(&chip);
    if (image->chip_id != CONFIG_IDF_FIRMWARE_CHIP_ID || chip.revision < image->min_rev)
        return false;
    return image->max_rev == 0 || chip.revision <= image->max_rev;
}

// Versions are judged only of what is signed where it must be: a wrongly signed image is refused for that.
static bool too_old(const ds_esp *p, const ds_esp_image *image, const ds_security *security)
{
    if (!image->is_app)
        return p->is_app;
    if (p->is_app && ds_version_compare(image->version, esp_app_get_description()->version) < 0)
        return true;
    return image->secure_version < security->secure_version;
}

static ds_status verify(ds_esp *p, const esp_partition_t *part)
{
    ds_security security = {0};
    trust keys;
    ds_esp_image image;
    ds_esp_source from = ds_esp_source_of(p, part);
    ds_esp_security(p, &security);
    ds_status s = find_trust(p, &security, &keys);
    if (s == DS_STATUS_OK)
        s = ds_esp_image_scan(&from, &image);
    if (s != DS_STATUS_OK)
        return s;
    if (!fits_chip(&image))
        return DS_STATUS(IMAGE, BAD_IMAGE);
    if (keys.required &&
        ds_esp_image_signature(&from, &image, (const uint8_t(*)[32])keys.digests, keys.count, NULL) != DS_ESP_SIGNED)
        return DS_STATUS(IMAGE, BAD_SIGNATURE);
    return too_old(p, &image, &security) ? DS_STATUS(IMAGE, BAD_IMAGE) : DS_STATUS_OK;
}

ds_status ds_esp_boot_select(void *ctx, const char *label)
{
    const esp_partition_t *part = esp_partition_find_first(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_ANY, label);
    if (part == NULL)
        return DS_STATUS(IMAGE, NOT_FOUND);
    ds_status s = verify(ctx, part);
    if (s != DS_STATUS_OK || esp_ota_get_boot_partition() == part)
        return s;
    switch (esp_ota_set_boot_partition(part)) {
    case ESP_OK:
        return esp_ota_get_boot_partition() == part ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
    case ESP_ERR_OTA_VALIDATE_FAILED:
    case ESP_ERR_OTA_SMALL_SEC_VER:
        return DS_STATUS(IMAGE, BAD_IMAGE);
    case ESP_ERR_NOT_FOUND: // no otadata
    case ESP_ERR_INVALID_ARG:
        return DS_STATUS(IMAGE, UNSUPPORTED);
    default:
        return DS_STATUS(PORT, FLASH);
    }
}
