// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Randomness: the emulated machine has no source of its own. What is drawn here comes from the host's generator through
// a virtio entropy device (virtio 1.2, sections 4.2 and 5.4), one request in flight. Good for tests; a real board has
// its own source or is no place for keys.
#include "agent/port/virt/board.h"

#include <mbedtls/platform_util.h>

#include <string.h>

enum {
    SLOTS = 8,
    SLOT_SIZE = 0x1000,
    MAGIC = 0x74726976,
    ENTROPY_DEVICE = 4,
    QUEUE = 2, // descriptors; a power of two
    CHUNK = 64,
    TIMEOUT_MS = 1000,
};
enum {
    R_MAGIC = 0x000,
    R_VERSION = 0x004,
    R_DEVICE = 0x008,
    R_DRIVER_FEATURES = 0x020,
    R_DRIVER_FEATURES_SEL = 0x024,
    R_QUEUE_SEL = 0x030,
    R_QUEUE_NUM = 0x038,
    R_QUEUE_READY = 0x044,
    R_NOTIFY = 0x050,
    R_STATUS = 0x070,
    R_DESCRIPTORS = 0x080,
    R_AVAILABLE = 0x090,
    R_USED = 0x0A0,
};
enum { S_ACKNOWLEDGE = 1, S_DRIVER = 2, S_DRIVER_OK = 4, S_FEATURES_OK = 8 };
enum { F_DEVICE_WRITES = 2, F_VERSION_1_HIGH = 1 }; // descriptor flag; feature bit 32

typedef struct descriptor {
    uint64_t address;
    uint32_t len;
    uint16_t flags, next;
} descriptor;

static struct {
    _Alignas(16) descriptor descriptors[QUEUE];
    _Alignas(4) struct {
        uint16_t flags, index, ring[QUEUE], event;
    } available;
    _Alignas(4) volatile struct {
        uint16_t flags, index;
        struct {
            uint32_t id, len;
        } ring[QUEUE];
        uint16_t event;
    } used;
    uint8_t bytes[CHUNK];
} queue;

static uintptr_t device; // 0: none

static void fence(void)
{
    __asm__ volatile("fence" : : : "memory");
}

static uintptr_t find_device(void)
{
    for (uintptr_t at = BOARD_VIRTIO; at < BOARD_VIRTIO + SLOTS * SLOT_SIZE; at += SLOT_SIZE)
        if (board_read32(at + R_MAGIC) == MAGIC && board_read32(at + R_VERSION) == 2 &&
            board_read32(at + R_DEVICE) == ENTROPY_DEVICE)
            return at;
    return 0;
}

static void set_address(uint32_t reg, const volatile void *p)
{
    board_write32(device + reg, (uint32_t)(uintptr_t)p);
    board_write32(device + reg + 4, 0);
}

bool rng_init(void)
{
    device = find_device();
    if (device == 0)
        return false;
    board_write32(device + R_STATUS, 0);
    board_write32(device + R_STATUS, S_ACKNOWLEDGE | S_DRIVER);
    board_write32(device + R_DRIVER_FEATURES_SEL, 1);
    board_write32(device + R_DRIVER_FEATURES, F_VERSION_1_HIGH);
    board_write32(device + R_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
    bool agreed = (board_read32(device + R_STATUS) & S_FEATURES_OK) != 0;
    memset(&queue, 0, sizeof queue);
    board_write32(device + R_QUEUE_SEL, 0);
    board_write32(device + R_QUEUE_NUM, QUEUE);
    set_address(R_DESCRIPTORS, queue.descriptors);
    set_address(R_AVAILABLE, &queue.available);
    set_address(R_USED, &queue.used);
    board_write32(device + R_QUEUE_READY, 1);
    board_write32(device + R_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
    if (!agreed)
        device = 0;
    return agreed;
}

// At most CHUNK bytes to queue.bytes; their number, 0 where none came in time.
static size_t draw(size_t want)
{
    uint16_t before = queue.used.index;
    queue.descriptors[0] = (descriptor){(uintptr_t)queue.bytes, (uint32_t)want, F_DEVICE_WRITES, 0};
    queue.available.ring[queue.available.index % QUEUE] = 0;
    fence();
    queue.available.index++;
    fence();
    board_write32(device + R_NOTIFY, 0);
    uint64_t until = board_ticks() + (uint64_t)TIMEOUT_MS * BOARD_TICKS_PER_MS;
    while (queue.used.index == before)
        if (board_ticks() > until) {
            device = 0; // the request is still out: what it writes later must not be taken for fresh
            return 0;
        }
    fence();
    size_t len = queue.used.ring[before % QUEUE].len;
    return len < want ? len : want;
}

bool rng_read(uint8_t *ret, size_t len)
{
    while (len > 0 && device != 0) {
        size_t n = draw(len < CHUNK ? len : CHUNK);
        memcpy(ret, queue.bytes, n);
        mbedtls_platform_zeroize(queue.bytes, sizeof queue.bytes);
        ret += n;
        len -= n;
    }
    return len == 0;
}
