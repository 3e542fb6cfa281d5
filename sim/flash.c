// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NOR flash; see flash.h. Timing and behaviour of a Winbond W25Q (JEDEC id EF 40 xx). At a power cut the word being
// programmed or the sector being erased may be left half done.
#include "sim/flash.h"

#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 0x1000u
#define BLOCK 0x10000u
#define SIZE_MIN (1u << 20)
#define SIZE_MAX_ (16u << 20)

struct ds_sim_flash {
    uint8_t *mem;
    uint32_t size;
    ds_sim_fault *fault;
    ds_sim_timing *timing;
};

static enum ds_class check_size(uint32_t size, ds_err *e)
{
    if (size < SIZE_MIN || size > SIZE_MAX_ || (size & (size - 1)) != 0)
        return ds_fail(e, DS_USAGE, "flash size %u: not a power of two from 1 MiB to 16 MiB", size);
    return DS_OK;
}

// A kill while the file is made must not leave one of zeros, so it is written whole and renamed.
enum ds_class ds_sim_flash_create(const char *path, uint32_t size, ds_buf *content, ds_err *e)
{
    enum ds_class rc = check_size(size, e);
    if (rc)
        return rc;
    if (content->len > size)
        return ds_fail(e, DS_INPUT, "%zu bytes: beyond a flash of %u bytes", content->len, size);
    ds_buf_resize(content, size, 0xFF);
    return ds_file_write_unsynced(path, ds_buf_view(content), 0600, e);
}

static enum ds_class map(int fd, const char *path, uint32_t size, uint8_t **ret, ds_err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size != (off_t)size) {
        ds_fail(e, DS_INPUT, "%s: not a flash of %u bytes", path, size);
        return ds_hint(e, "give the size the file was made with, or another file");
    }
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return ds_fail_errno(e, DS_INPUT, errno, "%s: map", path);
    *ret = p;
    return DS_OK;
}

enum ds_class ds_sim_flash_open(const char *path, uint32_t size, ds_sim_fault *fault, ds_sim_timing *timing,
                                ds_sim_flash **ret, ds_err *e)
{
    uint8_t *mem = NULL;
    enum ds_class rc = check_size(size, e);
    if (rc)
        return rc;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        DS_CLEANUP_BUF ds_buf blank = {0};
        rc = ds_sim_flash_create(path, size, &blank, e);
        if (rc)
            return rc;
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    }
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    rc = map(fd, path, size, &mem, e);
    close(fd);
    if (rc)
        return rc;
    ds_sim_flash *f = ds_alloc(sizeof *f);
    *f = (ds_sim_flash){mem, size, fault, timing};
    *ret = f;
    return DS_OK;
}

void ds_sim_flash_close(ds_sim_flash *f)
{
    if (!f)
        return;
    munmap(f->mem, f->size);
    free(f);
}

uint32_t ds_sim_flash_size(const ds_sim_flash *f)
{
    return f->size;
}

uint32_t ds_sim_flash_jedec_id(const ds_sim_flash *f)
{
    uint32_t capacity = 0;
    while ((1u << capacity) < f->size)
        capacity++;
    return 0xEFu | 0x40u << 8 | capacity << 16;
}

static bool inside(const ds_sim_flash *f, uint32_t addr, uint32_t len)
{
    return addr <= f->size && len <= f->size - addr;
}

bool ds_sim_flash_read(ds_sim_flash *f, uint32_t addr, void *buf, uint32_t len)
{
    if (!inside(f, addr, len))
        return false;
    if (len > 0)
        memcpy(buf, f->mem + addr, len);
    return true;
}

// Bytes up to the next word boundary are one program operation; at a cut each bit may or may not have become 0.
static void program_word(ds_sim_flash *f, uint32_t addr, const uint8_t *data, uint32_t len)
{
    if (ds_sim_fault_flash_due(f->fault)) {
        uint64_t torn = ds_sim_fault_torn(f->fault);
        for (uint32_t i = 0; i < len; i++)
            f->mem[addr + i] &= (uint8_t)(data[i] | (uint8_t)(torn >> 8 * i));
    }
    ds_sim_fault_flash(f->fault);
    for (uint32_t i = 0; i < len; i++)
        f->mem[addr + i] &= data[i];
}

bool ds_sim_flash_program(ds_sim_flash *f, uint32_t addr, const void *data, uint32_t len)
{
    const uint8_t *p = data;
    if (!inside(f, addr, len))
        return false;
    uint64_t words = 0;
    for (uint32_t done = 0; done < len; words++) {
        uint32_t n = 4 - (addr + done) % 4;
        if (n > len - done)
            n = len - done;
        program_word(f, addr + done, p + done, n);
        done += n;
    }
    if (f->timing)
        ds_sim_timing_spend_us(f->timing, words * f->timing->word_ns / 1000);
    return true;
}

// At a cut the sector may be as it was, partly erased or erased.
static void erase_sector(ds_sim_flash *f, uint32_t addr)
{
    if (ds_sim_fault_flash_due(f->fault)) {
        uint64_t torn = ds_sim_fault_torn(f->fault);
        for (uint32_t i = 0; i < SECTOR; i++)
            f->mem[addr + i] |= (uint8_t)ds_sim_random(&torn);
    }
    ds_sim_fault_flash(f->fault);
    memset(f->mem + addr, 0xFF, SECTOR);
}

bool ds_sim_flash_erase(ds_sim_flash *f, uint32_t addr, uint32_t len)
{
    if (addr % SECTOR || len % SECTOR || !inside(f, addr, len))
        return false;
    uint64_t us = 0;
    for (uint32_t done = 0; done < len; done += SECTOR) {
        bool block_start = (addr + done) % BLOCK == 0 && len - done >= BLOCK;
        bool in_block = (addr + done) % BLOCK != 0 && (addr + done) / BLOCK * BLOCK >= addr &&
                        (addr + done) / BLOCK * BLOCK + BLOCK <= addr + len;
        erase_sector(f, addr + done);
        if (f->timing)
            us += block_start ? f->timing->block_us : in_block ? 0 : f->timing->sector_us;
    }
    if (f->timing)
        ds_sim_timing_spend_us(f->timing, us);
    return true;
}
