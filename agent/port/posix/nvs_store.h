// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the live NVS partition: its pages on flash, one flash operation at a time in the order that power loss allows.
#ifndef DS_AGENT_POSIX_NVS_STORE_H
#define DS_AGENT_POSIX_NVS_STORE_H

#include "agent/port/posix/nvs_flash.h"
#include "src/esp/nvs_page.h"

struct ds_nvs_flash {
    ds_nvs_flash_ops ops;
    uint32_t pages;
    bool encrypted;
    bool broken; // a flash operation failed: image and flash may differ until it is opened again
    ds_nvs_keys keys;
    uint8_t *image; // the partition, written entries decrypted
};

static inline uint8_t *ds_nvs_store_page(const ds_nvs_flash *n, uint32_t page)
{
    return n->image + (size_t)page * DS_NVS_PAGE;
}

// First entry after which all are empty.
unsigned ds_nvs_store_next_free(const ds_nvs_flash *n, uint32_t page);
unsigned ds_nvs_store_written(const ds_nvs_flash *n, uint32_t page); // entries in use
bool ds_nvs_store_is_free(const ds_nvs_flash *n, uint32_t page);
uint32_t ds_nvs_store_free_pages(const ds_nvs_flash *n);
// Page of the highest sequence number; false where there is none.
bool ds_nvs_store_newest(const ds_nvs_flash *n, uint32_t *ret);

enum ds_class ds_nvs_store_set_page_word(ds_nvs_flash *n, uint32_t page, uint32_t word, ds_err *e) DS_MUST;
enum ds_class ds_nvs_store_set_states(ds_nvs_flash *n, uint32_t page, unsigned first, unsigned count,
                                      enum ds_nvs_entry_state state, ds_err *e) DS_MUST;
enum ds_class ds_nvs_store_erase_page(ds_nvs_flash *n, uint32_t page, ds_err *e) DS_MUST;
// Start a free page as the newest one. The caller has made sure that another free one stays, or will come.
enum ds_class ds_nvs_store_activate(ds_nvs_flash *n, uint32_t *ret, ds_err *e) DS_MUST;
// Append an item to a page that has the room.
enum ds_class ds_nvs_store_append(ds_nvs_flash *n, uint32_t page, const uint8_t entry[32], ds_view payload,
                                  ds_err *e) DS_MUST;
// Erase the item whose header is at index (or the single entry, where that is no header).
enum ds_class ds_nvs_store_erase_item(ds_nvs_flash *n, uint32_t page, unsigned index, ds_err *e) DS_MUST;

// Move what a page that is being freed still holds to a newer page, and erase it. Takes up an earlier try.
enum ds_class ds_nvs_store_finish_freeing(ds_nvs_flash *n, uint32_t page, ds_err *e) DS_MUST;
// The active page with at least this many free entries; fills, starts and compacts pages. DS_STORE and ENOSPC when
// full.
enum ds_class ds_nvs_store_room(ds_nvs_flash *n, unsigned entries, uint32_t *ret, ds_err *e) DS_MUST;
// Erase every item that a newer one replaced, and every chunk that no blob refers to.
enum ds_class ds_nvs_store_drop_dead(ds_nvs_flash *n, ds_err *e) DS_MUST;
// Read the partition and repair what a power loss left.
enum ds_class ds_nvs_store_mount(ds_nvs_flash *n, ds_err *e) DS_MUST;

#endif
