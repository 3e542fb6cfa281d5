// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's port to ESP-IDF (5.1 to 5.5): what its parts share. ds_esp_init() gives the struct ds_port, and
// ds_esp_mfg_run() is the whole of a manufacturing firmware. See docs/firmware.md.
#ifndef DS_AGENT_ESP_IDF_ESP_PORT_H
#define DS_AGENT_ESP_IDF_ESP_PORT_H

#include "agent/core/agent.h"

#include "esp_err.h"
#include "esp_partition.h"

#define DS_ESP_AREAS 2
#define DS_ESP_SECTOR 4096u
#define DS_ESP_FRAME_LEN (DS_AGENT_FRAME_MAX + 16u) // of each of the agent's two buffers

typedef struct ds_esp {
    ds_port port;
    bool is_app;                // of the running firmware
    bool mounted[DS_ESP_AREAS]; // by us or by the app
    bool app_version_known;     // until the app's slot is written
    char app_version[33];
    bool tested;
    uint32_t test_failures; // bits as in HelloReply
    uint32_t yielded;       // tick of the last time other tasks were let run
} ds_esp;

// Open the console and fill in the port of that role (DS_AGENT_MFG, DS_AGENT_APP); publish and trial_end stay NULL, see
// mqtt.c and trial.c. p must outlive every use of p->port. Call once.
esp_err_t ds_esp_init(ds_esp *p, int role);

// The manufacturing firmware: turns the entropy source on, puts the calling task under the task watchdog and answers
// the station. Does not return. Needs CONFIG_DEVSTAMP_AGENT_STACK bytes of stack.
void ds_esp_mfg_run(void);

// Put the calling task under the task watchdog where there is one; ds_port.alive feeds it.
void ds_esp_watch_task(void);

// ---- inside the port ----
#define DS_ESP_STATUS_IS(s, code) (DS_STATUS_CODE(s) == (uint32_t)DEVSTAMP__STATUS_CODE__CODE_##code)

// The area's NVS partition, NULL where the table has none.
const esp_partition_t *ds_esp_area_part(enum ds_area area);
// Mount the area. The encrypted one: NOT_ALLOWED before flash encryption is on, UNSUPPORTED where this firmware was
// built without NVS encryption; for reading (make_keys false) NOT_FOUND where its keys were never made, so that it
// holds nothing.
ds_status ds_esp_area_open(ds_esp *p, enum ds_area area, bool make_keys);
ds_status ds_esp_area_mount_encrypted(const esp_partition_t *part, bool make_keys);
bool ds_esp_part_is_blank(const esp_partition_t *part);

ds_status ds_esp_value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len);
ds_status ds_esp_value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len);
ds_status ds_esp_value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg);
ds_status ds_esp_values_clear(void *ctx, enum ds_area area,
                              bool (*keep)(void *arg, const char *name_space, const char *key), void *arg);
ds_status ds_esp_area_erase(void *ctx, enum ds_area area);
bool ds_esp_area_is_blank(void *ctx, enum ds_area area);
uint32_t ds_esp_area_free(void *ctx, enum ds_area area);

// Randomness. While the entropy source is held (ds_esp_entropy_begin) every draw waits for what it adds; see random.c.
void ds_esp_entropy_begin(void);
void ds_esp_entropy_end(void);
int ds_esp_random(void *ctx, unsigned char *buf, size_t len);

uint32_t ds_esp_image_capacity(void *ctx, enum ds_image_place place);
ds_status ds_esp_image_erase(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len);
ds_status ds_esp_image_write(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len);
ds_status ds_esp_image_read(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len);
// The bootloader's place, through flash encryption where that is on. offset from its start.
ds_status ds_esp_bootloader_read(uint32_t offset, void *buf, size_t len);
uint32_t ds_esp_bootloader_capacity(void);

ds_status ds_esp_boot_select(void *ctx, const char *label);

// The end of an update's trial, trial.c: ds_port.trial_end of the app side. _veto: the same, but that a good word
// leaves an update on trial, for the app to judge; bad, or the first image, which has none before it, are final.
bool ds_esp_on_trial(void);
ds_status ds_esp_trial_end(void *ctx, bool good);
ds_status ds_esp_trial_veto(void *ctx, bool good);

void ds_esp_identity(void *ctx, ds_identity *ret);
uint32_t ds_esp_self_test(void *ctx);

// By chip: keys_hw.c where it has HMAC and digital-signature peripherals, keys_none.c. Their part of the port; its
// ds_port.hmac (NOT_FOUND where no key block is for it); and what esp-tls takes for a key in the latter: an
// esp_ds_data_ctx_t over data, which must be aligned for words and stay; free() it. NOT_FOUND where no block opens it.
void ds_esp_keys_fill(ds_port *port);
ds_status ds_esp_hmac(void *ctx, const void *message, size_t len, uint8_t ret[32]);
ds_status ds_esp_dsig_context(uint8_t *data, size_t data_len, void **ret);

// By chip: security_esp32.c, anchor_esp32.c; security_keys.c, anchor_keys.c for those with key blocks.
void ds_esp_security(void *ctx, ds_security *ret);
ds_status ds_esp_download_close(void *ctx);
ds_status ds_esp_anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len);
ds_status ds_esp_anchor_set(void *ctx, const uint8_t digest[32]);

#endif
