// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Flash through the ROM loader: write (plain and deflated), erase, MD5, slow read. Data goes in chunks with a BEGIN of
// their own: a lost reply leaves open whether the loader took the block, and as blocks carry no address, only a new
// BEGIN puts both sides in step again. Timeouts as esptool v5.2 has them.
#include "src/link/rom.h"

#include "src/base/crc.h"
#include "src/link/rom_wire.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

// One erase block: little is lost when one must be begun again.
#define CHUNK 0x10000u
#define READ_STEP 64u

enum { ERASE_MS_PER_MB = 30000, WRITE_MS_PER_MB = 40000, MD5_MS_PER_MB = 8000 };

static int scaled_timeout(int ms_per_mb, uint32_t len)
{
    uint64_t ms = (uint64_t)ms_per_mb * len / 1000000;
    if (ms < DS_ROM_TIMEOUT_MS)
        return DS_ROM_TIMEOUT_MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static uint32_t blocks_of(size_t len)
{
    return (uint32_t)((len + DS_ROM_PACKET - 1) / DS_ROM_PACKET);
}

static enum ds_class check_range(const ds_rom *r, uint32_t addr, size_t len, bool sectors, ds_err *e)
{
    if (addr % DS_ROM_SECTOR || (sectors && len % DS_ROM_SECTOR))
        return ds_fail(e, DS_INPUT, "the place in flash is not a multiple of 4096");
    if (!r->info.flash_size) {
        ds_fail(e, DS_INPUT, "the flash size is unknown, and secure download mode cannot ask for it");
        return ds_hint(e, "name the flash size in the recipe");
    }
    if (addr > r->info.flash_size || len > r->info.flash_size - addr) {
        ds_fail(e, DS_INPUT, "0x%zx bytes at 0x%x do not fit into 0x%x bytes of flash", len, addr, r->info.flash_size);
        return ds_hint(e, "check the partition table against the flash size of the device");
    }
    return DS_OK;
}

// FLASH_BEGIN or FLASH_DEFL_BEGIN: erases erase_len bytes.
static enum ds_class begin(ds_rom *r, enum ds_rom_op op, uint32_t addr, uint32_t erase_len, uint32_t blocks, ds_err *e)
{
    uint8_t data[20] = {0};
    ds_put_le32(data, erase_len);
    ds_put_le32(data + 4, blocks);
    ds_put_le32(data + 8, DS_ROM_PACKET);
    ds_put_le32(data + 12, addr);
    // the fifth word, "encrypt", came after the ESP32
    size_t len = r->info.chip->id == DS_CHIP_ESP32 ? 16 : 20;
    const ds_rom_command c = {
        .op = op,
        .what = "erase",
        .head = {data, len},
        .timeout_ms = scaled_timeout(ERASE_MS_PER_MB, erase_len),
    };
    return ds_rom_run(r, &c, NULL, e);
}

// Can the whole chunk succeed when it is begun again? Not where the loader finds our parameters wrong.
static bool worth_beginning_again(uint32_t code)
{
    if (code == ETIMEDOUT)
        return true; // nobody knows whether the block was taken
    if ((code & ~0xFFu) != DS_ROM_STATUS || ds_rom_not_taken(code))
        return false;
    return code != (DS_ROM_STATUS | 0x01) && code != (DS_ROM_STATUS | 0x64);
}

static enum ds_class send_block(ds_rom *r, enum ds_rom_op op, uint32_t seq, ds_view block, int timeout_ms, ds_err *e)
{
    uint8_t head[16] = {0};
    ds_put_le32(head, (uint32_t)block.len);
    ds_put_le32(head + 4, seq);
    const ds_rom_command c = {
        .op = op,
        .what = "write a block",
        .head = {head, sizeof head},
        .payload = block,
        .checksum = ds_xor8(DS_XOR8_SEED, block.ptr, block.len),
        .timeout_ms = timeout_ms,
        .no_resend = true,
    };
    return ds_rom_run(r, &c, NULL, e);
}

typedef struct job {
    void (*progress)(void *arg, size_t done, size_t total);
    void *arg;
    size_t total;
} job;

typedef struct chunk {
    uint32_t addr;
    size_t done_before; // bytes of the job in front of it
    ds_view data;       // plain, a multiple of 4
    ds_view packed;     // one zlib stream, or empty
} chunk;

static enum ds_class write_chunk_once(ds_rom *r, const chunk *c, const job *j, ds_err *e)
{
    bool deflated = c->packed.len > 0;
    ds_view wire = deflated ? c->packed : c->data;
    uint32_t blocks = blocks_of(wire.len);
    uint32_t erase_len = (uint32_t)c->data.len;
    if (deflated) // the ROM wants whole blocks here
        erase_len = blocks_of(c->data.len) * DS_ROM_PACKET;
    enum ds_rom_op begin_op = deflated ? DS_ROM_FLASH_DEFL_BEGIN : DS_ROM_FLASH_BEGIN;
    enum ds_rom_op data_op = deflated ? DS_ROM_FLASH_DEFL_DATA : DS_ROM_FLASH_DATA;
    int timeout_ms = scaled_timeout(WRITE_MS_PER_MB, deflated ? erase_len : DS_ROM_PACKET);
    enum ds_class cls = begin(r, begin_op, c->addr, erase_len, blocks, e);
    for (uint32_t seq = 0; seq < blocks && !cls; seq++) {
        size_t off = (size_t)seq * DS_ROM_PACKET;
        size_t len = wire.len - off < DS_ROM_PACKET ? wire.len - off : DS_ROM_PACKET;
        uint8_t padded[DS_ROM_PACKET];
        ds_view block = {wire.ptr + off, len};
        if (!deflated && len < DS_ROM_PACKET) {
            memset(padded, 0xFF, sizeof padded);
            memcpy(padded, block.ptr, len);
            block = (ds_view){padded, sizeof padded};
        }
        cls = send_block(r, data_op, seq, block, timeout_ms, e);
        if (!cls && j->progress)
            j->progress(j->arg, c->done_before + c->data.len * (seq + 1) / blocks, j->total);
    }
    return cls;
}

// After a lost reply, or a stream that went wrong, the chunk is begun again.
static enum ds_class write_chunk(ds_rom *r, const chunk *c, const job *j, ds_err *e)
{
    enum ds_class cls = DS_OK;
    for (int i = 0; i < DS_ROM_TRIES; i++) {
        ds_err local = DS_ERR_INIT;
        cls = i > 0 ? ds_rom_resync(r, &local) : DS_OK;
        if (!cls)
            cls = write_chunk_once(r, c, j, &local);
        if (!cls)
            return DS_OK;
        if (e)
            *e = local;
        if (!worth_beginning_again(local.code))
            break;
    }
    if (r->info.secure_download)
        ds_hint(e, "check the flash size in the recipe: this mode relies on it");
    return ds_wrap(e, "write flash at 0x%x", c->addr);
}

// Deflate into packed; an empty view where that is not smaller.
static ds_view pack(ds_buf *packed, ds_view data)
{
    uLongf len = compressBound((uLong)data.len);
    ds_buf_resize(packed, len, 0);
    if (compress2(packed->ptr, &len, data.ptr, (uLong)data.len, Z_BEST_COMPRESSION) != Z_OK || len >= data.len)
        return (ds_view){0};
    return (ds_view){packed->ptr, len};
}

enum ds_class ds_rom_write(ds_rom *r, uint32_t addr, ds_view data,
                           void (*progress)(void *arg, size_t done, size_t total), void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf whole = {0};
    DS_CLEANUP_BUF ds_buf packed = {0};
    enum ds_class cls = check_range(r, addr, data.len, false, e);
    if (cls)
        return cls;
    ds_buf_add(&whole, data.ptr, data.len);
    ds_buf_resize(&whole, (data.len + 3) & ~(size_t)3, 0xFF);
    const job j = {progress, arg, whole.len};
    for (size_t off = 0; off < whole.len && !cls;) {
        uint32_t at = addr + (uint32_t)off;
        size_t room = CHUNK - at % CHUNK; // up to a chunk's border in flash, so that whole blocks are erased
        size_t len = whole.len - off < room ? whole.len - off : room;
        chunk c = {.addr = at, .done_before = off, .data = {whole.ptr + off, len}};
        if (!r->info.secure_download)
            c.packed = pack(&packed, c.data);
        cls = write_chunk(r, &c, &j, e);
        off += len;
    }
    return cls;
}

enum ds_class ds_rom_erase(ds_rom *r, uint32_t addr, uint32_t len, ds_err *e)
{
    enum ds_class cls = check_range(r, addr, len, true, e);
    while (len && !cls) {
        uint32_t room = CHUNK - addr % CHUNK;
        uint32_t now = len < room ? len : room;
        cls = begin(r, DS_ROM_FLASH_BEGIN, addr, now, blocks_of(now), e);
        if (cls)
            ds_wrap(e, "erase flash at 0x%x", addr);
        addr += now;
        len -= now;
    }
    return cls;
}

enum ds_class ds_rom_md5(ds_rom *r, uint32_t addr, uint32_t len, uint8_t ret[16], ds_err *e)
{
    if (r->info.secure_download)
        return ds_rom_refuse_restricted("read flash's MD5", e);
    uint8_t data[16] = {0};
    ds_put_le32(data, addr);
    ds_put_le32(data + 4, len);
    const ds_rom_command c = {
        .op = DS_ROM_SPI_FLASH_MD5,
        .what = "read flash's MD5",
        .head = {data, sizeof data},
        .reply_len = 32,
        .timeout_ms = scaled_timeout(MD5_MS_PER_MB, len),
    };
    ds_rom_reply reply;
    enum ds_class cls = ds_rom_run(r, &c, &reply, e);
    if (cls)
        return cls;
    char hex[33] = {0};
    memcpy(hex, reply.data, 32);
    return ds_unhex(hex, ret, 16) ? DS_OK : ds_fail(e, DS_DEVICE, "read flash's MD5: the reply is not hexadecimal");
}

static enum ds_class read_once(ds_rom *r, uint32_t addr, uint32_t len, ds_buf *ret, ds_err *e)
{
    for (uint32_t done = 0; done < len;) {
        uint32_t now = len - done < READ_STEP ? len - done : READ_STEP;
        uint8_t data[8];
        ds_put_le32(data, addr + done);
        ds_put_le32(data + 4, now);
        const ds_rom_command c = {
            .op = DS_ROM_READ_FLASH_SLOW, .what = "read flash", .head = {data, sizeof data}, .reply_len = READ_STEP};
        ds_rom_reply reply;
        enum ds_class cls = ds_rom_run(r, &c, &reply, e);
        if (cls)
            return ds_wrap(e, "at 0x%x", addr + done);
        ds_buf_add(ret, reply.data, now);
        done += now;
    }
    return DS_OK;
}

// Replies carry neither address nor checksum: the whole is compared with the device's own MD5 of it.
enum ds_class ds_rom_read(ds_rom *r, uint32_t addr, uint32_t len, ds_buf *ret, ds_err *e)
{
    if (r->info.secure_download)
        return ds_rom_refuse_restricted("read flash", e);
    size_t before = ret->len;
    for (int i = 0; i < DS_ROM_TRIES; i++) {
        uint8_t expected[16], got[EVP_MAX_MD_SIZE];
        ds_buf_resize(ret, before, 0);
        enum ds_class cls = read_once(r, addr, len, ret, e);
        if (!cls)
            cls = ds_rom_md5(r, addr, len, expected, e);
        if (cls)
            return cls;
        if (!EVP_Digest(ret->ptr + before, len, got, NULL, EVP_md5(), NULL))
            return ds_fail(e, DS_INTERNAL, "no MD5");
        if (memcmp(got, expected, sizeof expected) == 0)
            return DS_OK;
        r->careful_ms = DS_ROM_CAREFUL_MS;
    }
    ds_fail(e, DS_DEVICE, "read flash at 0x%x: what arrives differs from what the device holds", addr);
    return ds_hint(e, "the line is noisy: check cable and ground, or lower the baud rate");
}
