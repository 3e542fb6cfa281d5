// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's port to a chip with a ds_hal: what its parts share. ds_posix_init() gives the struct ds_port.
#ifndef DS_AGENT_POSIX_POSIX_H
#define DS_AGENT_POSIX_POSIX_H

#include "agent/app/owner.h"
#include "agent/port/posix/hal.h"
#include "agent/port/posix/nvs_flash.h"
#include "src/esp/otadata.h"

#define DS_POSIX_AREAS 2

// One partition of the hal's flash, never through flash encryption: NVS has its own.
typedef struct ds_posix_window {
    const ds_hal *hal;
    uint32_t offset;
} ds_posix_window;

typedef struct ds_posix {
    const ds_hal *hal;
    ds_port port;
    ds_owner *owner;                    // whose sessions end in time; may be NULL
    bool is_app;                        // of the running firmware
    ds_nvs_flash *area[DS_POSIX_AREAS]; // opened on first use
    ds_posix_window window[DS_POSIX_AREAS];
    bool app_version_known; // until the app's slot is written
    char app_version[33];
} ds_posix;

// hal stays the caller's and must outlive p.
void ds_posix_init(ds_posix *p, const ds_hal *hal);
void ds_posix_deinit(ds_posix *p);

// ---- inside the port ----
#define DS_POSIX_STATUS_IS(s, code) (DS_STATUS_CODE(s) == DEVSTAMP__STATUS_CODE__CODE_##code)

// Mount the area; for reading (make_keys false) NOT_FOUND where its keys were never made, so that it holds nothing.
ds_status ds_posix_area_open(ds_posix *p, enum ds_area area, bool make_keys, ds_nvs_flash **ret);
// Forget what is mounted; the next use reads flash again.
void ds_posix_area_close(ds_posix *p, enum ds_area area);
bool ds_posix_flash_encrypted(const ds_posix *p);

ds_status ds_posix_value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf,
                             size_t cap, size_t *ret_len);
ds_status ds_posix_value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                             enum ds_value_type type, const void *data, size_t len);
ds_status ds_posix_value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg);
ds_status ds_posix_values_clear(void *ctx, enum ds_area area,
                                bool (*keep)(void *arg, const char *name_space, const char *key), void *arg);
ds_status ds_posix_area_erase(void *ctx, enum ds_area area);
bool ds_posix_area_is_blank(void *ctx, enum ds_area area);
uint32_t ds_posix_area_free(void *ctx, enum ds_area area);

uint32_t ds_posix_image_capacity(void *ctx, enum ds_image_place place);
ds_status ds_posix_image_erase(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len);
ds_status ds_posix_image_write(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len);
ds_status ds_posix_image_read(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len);

// Read the image at offset of the flash; see ds_image_load().
enum ds_class ds_posix_image_load(ds_posix *p, uint32_t offset, uint32_t room, ds_buf *ret);

ds_status ds_posix_boot_select(void *ctx, const char *label);
// otadata, and the partition it lies in.
ds_status ds_posix_otadata(const ds_posix *p, const ds_part **ret_part, ds_otadata *ret);
// The app partition that boots next, NULL where there is none.
const ds_part *ds_posix_boot_part(const ds_posix *p);

void ds_posix_identity(void *ctx, ds_identity *ret);
void ds_posix_security(void *ctx, ds_security *ret);
uint32_t ds_posix_self_test(void *ctx);
ds_status ds_posix_download_close(void *ctx);
ds_status ds_posix_trial_end(void *ctx, bool good);
ds_status ds_posix_anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len);
ds_status ds_posix_anchor_set(void *ctx, const uint8_t digest[32]);
int ds_posix_random(void *ctx, unsigned char *buf, size_t len);

ds_status ds_posix_publish(void *ctx, const ds_publish *message);

// keys.c: key blocks and the peripherals that they feed
ds_status ds_posix_key_burn(void *ctx, enum ds_key_use use, const uint8_t key[32]);
ds_status ds_posix_hmac(void *ctx, const void *message, size_t len, uint8_t ret[32]);
ds_status ds_posix_dsig(void *ctx, const uint8_t *data, size_t data_len, const uint8_t *in, uint8_t *ret, size_t len);

#endif
