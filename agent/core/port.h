// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the agent needs of the platform below: a struct of functions. ESP-IDF, the virtual device and tests each have
// one. C99, no operating-system types. Every function returns a status word unless said; none may block for more than
// 100 ms except where said.
#ifndef DS_AGENT_PORT_H
#define DS_AGENT_PORT_H

#include "agent/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ds_area {
    DS_AREA_PLAIN,     // plain NVS partition that the station's stamp goes to
    DS_AREA_ENCRYPTED, // encrypted NVS partition, its keys made on the device at first use
};

enum ds_value_type {
    DS_VALUE_STRING, // data without NUL
    DS_VALUE_BLOB,
    DS_VALUE_U8,
    DS_VALUE_U16,
    DS_VALUE_U32,
    DS_VALUE_I32,
    DS_VALUE_U64, // numbers: data is little-endian of the type's size
};

enum ds_image_place { DS_PLACE_BOOTLOADER, DS_PLACE_UPDATE_SLOT };

#define DS_CHIP_ID_GENERIC 0xFFFFu // chip_id of a platform that is not an ESP chip

typedef struct ds_identity {
    uint16_t chip_id, chip_revision;
    uint8_t mac[6]; // no other device of the same chip_id has it
    uint32_t flash_size;
    char project[33], version[33]; // of the running image
    char app_version[33];          // of the image in the app slot (ota_0) where that is whole, else ""
    char boot_partition[17];       // label otadata selects
} ds_identity;

typedef struct ds_security {
    bool secure_boot, flash_encryption, release_mode, jtag_disabled;
    uint8_t download; // Devstamp__DownloadMode
    uint8_t digest_count;
    uint8_t digests[3][32];
    uint32_t secure_version;
} ds_security;

// What a key block of the chip is for.
enum ds_key_use {
    DS_KEY_USE_NVS,  // the HMAC peripheral, for software ("upstream"): makes the keys of the encrypted area
    DS_KEY_USE_DSIG, // the digital-signature peripheral
};

// A message to the endpoint.
typedef struct ds_publish {
    const char *endpoint; // "mqtts://host:port"
    const char *client_id, *topic, *payload;
    const uint8_t *chain; // concatenated DER certificates, own first
    size_t chain_len;
    const uint8_t *key; // PKCS#8, SEC1 or PKCS#1 DER; or, where key_in_dsig, the data that dsig() takes
    size_t key_len;
    bool key_in_dsig;
} ds_publish;

// Called for each value of an area in turn; data is valid during the call. A non-zero result stops and is returned.
typedef ds_status (*ds_value_fn)(void *arg, const char *name_space, const char *key, enum ds_value_type type,
                                 const uint8_t *data, size_t len);

typedef struct ds_port {
    void *ctx;

    // Values. set is atomic under power loss and durable on return: afterwards either the old or the new value is
    // there. get: NOT_FOUND where absent; *ret_len is the value's length even where cap was too small (then NO_SPACE).
    ds_status (*value_get)(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len);
    ds_status (*value_set)(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len);
    ds_status (*value_each)(void *ctx, enum ds_area area, ds_value_fn fn, void *arg);
    // Erase every sector of the area, so that nothing of it can be read from flash; may take a second. Idempotent.
    ds_status (*area_erase)(void *ctx, enum ds_area area);
    // Is every byte of the area's flash erased?
    bool (*area_is_blank)(void *ctx, enum ds_area area);
    uint32_t (*area_free)(void *ctx, enum ds_area area); // bytes left, estimated

    // True randomness; 0 or a negative mbedTLS error. mbedTLS's f_rng shape.
    int (*random)(void *ctx, unsigned char *buf, size_t len);

    // Images. offset and len: multiples of 4096 for erase (up to 64 KiB at once, which may block for longer than 100
    // ms); for write, offset a multiple of 4096 and len of 32 (at most 4096; the end of the image is padded with FF);
    // write only onto erased flash. Encrypts where the chip must.
    uint32_t (*image_capacity)(void *ctx, enum ds_image_place place);
    ds_status (*image_erase)(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len);
    ds_status (*image_write)(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len);
    ds_status (*image_read)(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len);
    // Select the app partition of that label for the next boot, after verifying the image there as the bootloader will:
    // BAD_IMAGE, or BAD_SIGNATURE where secure boot is on (or the image must be signed to boot there). The signature is
    // judged before any version. BAD_IMAGE also where the image's secure version is lower than the chip's, and, in the
    // app, where its version is lower than the running one's: the console must not take a device back to old faults.
    ds_status (*boot_select)(void *ctx, const char *label);

    void (*identity)(void *ctx, ds_identity *ret);
    void (*security)(void *ctx, ds_security *ret);
    uint32_t (*self_test)(void *ctx); // bits as in HelloReply

    // Console. read waits at most timeout_ms; returns the count, 0 on timeout, negative when the console is gone.
    int (*console_read)(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms);
    void (*console_write)(void *ctx, const uint8_t *buf, size_t len);
    // A line of log text on the console.
    void (*log)(void *ctx, const char *line);
    void (*alive)(void *ctx);                   // feed the watchdog; called often during long work
    void (*key_delay)(void *ctx, int key_type); // a timing model's cost of making such a key; may do nothing
    void (*reboot)(void *ctx);                  // does not return

    // App side only; may be NULL in mfg firmware.
    // Close ROM download mode for good.
    ds_status (*download_close)(void *ctx);
    // The running image was judged by its own self-check. It may be on trial, the first boot after an update: good
    // keeps it for good, bad goes back to the image before it and restarts (does not return); NOT_FOUND where there is
    // none to go back to. Where it is not on trial bad changes nothing. good also raises the chip's secure version to
    // the running image's, where secure boot is on. Idempotent. NULL where the platform takes no updates.
    ds_status (*trial_end)(void *ctx, bool good);
    // The anchor: the digest of the device's certificate, burned into the chip once and for good, where whoever writes
    // to flash cannot reach it. get: the first bytes of the digest, as many as the chip could hold (at least 7), to
    // ret; *ret_len 0 where none is burned; MISMATCH where what is burned was tampered with. set: burns it,
    // write-protected where the chip can; idempotent, completes what a power loss cut off; MISMATCH where another one
    // is burned, NO_SPACE or UNSUPPORTED where the chip cannot hold one.
    ds_status (*anchor_get)(void *ctx, uint8_t ret[32], size_t *ret_len);
    ds_status (*anchor_set)(void *ctx, const uint8_t digest[32]);
    // Connect by mutual TLS with this key and chain, publish payload to topic with QoS 1, wait for the acknowledgement.
    // May block for 10 s.
    ds_status (*publish)(void *ctx, const ds_publish *message);
    // Erase every value of the area that keep does not claim, of whatever type, also of types that value_each does not
    // know. Each is gone for good by itself: a power loss leaves some erased and others not. Idempotent; may take a
    // second.
    ds_status (*values_clear)(void *ctx, enum ds_area area,
                              bool (*keep)(void *arg, const char *name_space, const char *key), void *arg);

    // Key protection, both firmwares: docs/decisions/0004-key-protection.md. NULL and 0 where the chip has no such
    // peripheral.
    // Burn a key to a free key block for that use, read back before it and its purpose are protected and it can be read
    // no more. Completes a burn that was cut off of the same key; else another block is taken each time. What took the
    // bits badly is hidden and left behind (FLASH; call again). NO_SPACE without a free block, NOT_ALLOWED where read
    // protection can be burned no more.
    ds_status (*key_burn)(void *ctx, enum ds_key_use use, const uint8_t key[32]);
    // HMAC-SHA256 with the protected key that was burned last for DS_KEY_USE_NVS; NOT_FOUND where there is none. Where
    // there is one, the keys of DS_AREA_ENCRYPTED are made by it (HMACs of ESP-IDF's nvs_sec_provider), else they are
    // random and kept in flash.
    ds_status (*hmac)(void *ctx, const void *message, size_t len, uint8_t ret[32]);
    // The longest RSA key of the digital-signature peripheral; it fixes the layout of the data.
    uint16_t dsig_bits;
    // ret = in^d mod n with the key in data (ESP-IDF's esp_ds_data_t, of any alignment), by a protected key block for
    // DS_KEY_USE_DSIG that opens it; in and ret are big-endian and len bytes, as long as n. NOT_FOUND where no block
    // does.
    ds_status (*dsig)(void *ctx, const uint8_t *data, size_t data_len, const uint8_t *in, uint8_t *ret, size_t len);
} ds_port;

#endif
