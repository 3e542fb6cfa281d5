// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The eFuse file; layout in efuse.h.
#include "sim/efuse_file.h"

#include "src/base/file.h"
#include "src/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROW_BYTES (DS_SIM_EFUSE_ROW * 4u)
#define MAGIC_OFF 0u
#define JOURNAL_OFF 8u
#define JOURNAL_ROW_OFF 12u
#define ROWS_OFF (JOURNAL_ROW_OFF + ROW_BYTES)
#define FUSES_BYTES (ROWS_OFF + DS_EFUSE_BLOCKS * ROW_BYTES)

static const uint8_t magic[8] = "DSFUSE1";

static uint8_t *fuses(const ds_sim_efuse_file *f)
{
    return f->mem + f->window;
}

static uint8_t *row_at(const ds_sim_efuse_file *f, unsigned block)
{
    return fuses(f) + ROWS_OFF + block * ROW_BYTES;
}

static void row_get(const uint8_t *p, ds_sim_efuse_row *ret)
{
    for (unsigned i = 0; i < DS_SIM_EFUSE_ROW; i++)
        ret->w[i] = ds_le32(p + 4 * i);
}

static void row_or(uint8_t *p, const ds_sim_efuse_row *bits)
{
    for (unsigned i = 0; i < DS_SIM_EFUSE_ROW; i++)
        ds_put_le32(p + 4 * i, ds_le32(p + 4 * i) | bits->w[i]);
}

void ds_sim_efuse_row_encode(ds_sim_efuse_row *row)
{
    uint8_t data[32], check[12];
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        ds_put_le32(data + 4 * i, row->w[i]);
    ds_efuse_rs_encode(data, check);
    for (unsigned i = 0; i < DS_SIM_EFUSE_CHECK_WORDS; i++)
        row->w[DS_EFUSE_WORDS + i] = ds_le32(check + 4 * i);
    ds_wipe(data, sizeof data);
}

// A kill between any two stores: before the journal is marked nothing happened, after it the burn is done again.
static void journal_replay(ds_sim_efuse_file *f)
{
    uint32_t mark = ds_le32(fuses(f) + JOURNAL_OFF);
    if (mark >= 1 && mark <= DS_EFUSE_BLOCKS) {
        ds_sim_efuse_row bits;
        row_get(fuses(f) + JOURNAL_ROW_OFF, &bits);
        row_or(row_at(f, mark - 1), &bits);
        atomic_thread_fence(memory_order_seq_cst);
    }
    ds_put_le32(fuses(f) + JOURNAL_OFF, 0);
    atomic_thread_fence(memory_order_seq_cst);
    ds_wipe(fuses(f) + JOURNAL_ROW_OFF, ROW_BYTES);
}

void ds_sim_efuse_file_burn(ds_sim_efuse_file *f, unsigned block, const ds_sim_efuse_row *bits)
{
    for (unsigned i = 0; i < DS_SIM_EFUSE_ROW; i++)
        ds_put_le32(fuses(f) + JOURNAL_ROW_OFF + 4 * i, bits->w[i]);
    atomic_thread_fence(memory_order_seq_cst);
    // One byte carries the mark, so that no kill can leave half of it.
    *(volatile uint8_t *)(fuses(f) + JOURNAL_OFF) = (uint8_t)(block + 1);
    atomic_thread_fence(memory_order_seq_cst);
    journal_replay(f);
}

void ds_sim_efuse_file_row(const ds_sim_efuse_file *f, unsigned block, ds_sim_efuse_row *ret)
{
    row_get(row_at(f, block), ret);
}

static uint8_t *reg_at(const ds_sim_efuse_file *f, uint32_t off)
{
    return f->mem + f->window - 4 - off;
}

uint32_t ds_sim_efuse_file_reg(const ds_sim_efuse_file *f, uint32_t off)
{
    const uint8_t *p = reg_at(f, off);
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void ds_sim_efuse_file_set_reg(ds_sim_efuse_file *f, uint32_t off, uint32_t value)
{
    uint8_t *p = reg_at(f, off);
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

// The fuses that words mean, with their check bytes.
static void fill(ds_sim_efuse_file *f, const ds_chip *chip, const ds_efuse_words *words)
{
    memcpy(fuses(f) + MAGIC_OFF, magic, sizeof magic);
    for (unsigned b = 0; b < ds_efuse_block_count(chip); b++) {
        ds_sim_efuse_row row = {0};
        memcpy(row.w, words->w[b], sizeof words->w[b]);
        if (ds_efuse_block_at(chip, b)->rs_coded)
            ds_sim_efuse_row_encode(&row);
        row_or(row_at(f, b), &row);
    }
}

static enum ds_class make(const char *path, const ds_chip *chip, const ds_efuse_words *words, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_buf_resize(&image, chip->efuse_window + FUSES_BYTES, 0);
    ds_sim_efuse_file f = {image.ptr, image.len, chip->efuse_window};
    fill(&f, chip, words);
    enum ds_class rc = ds_file_write_unsynced(path, ds_buf_view(&image), 0600, e);
    ds_wipe(image.ptr, image.len);
    return rc;
}

static void words_or(ds_efuse_words *w, const ds_efuse_words *more)
{
    for (unsigned b = 0; b < DS_EFUSE_BLOCKS; b++)
        for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
            w->w[b][i] |= more->w[b][i];
}

// A file of the window alone: what it shows is what is burned. One without a MAC never saw a factory.
static enum ds_class take_over(const char *path, const ds_chip *chip, const ds_efuse_words *fresh, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf image = {0};
    enum ds_class rc = ds_file_read(path, chip->efuse_window, &image, e);
    if (rc)
        return rc;
    if (image.len != chip->efuse_window)
        return ds_fail(e, DS_INPUT, "%s: changed while it was read", path);
    ds_sim_efuse_file f = {image.ptr, image.len, chip->efuse_window};
    ds_efuse_words words = {0};
    for (unsigned b = 0; b < ds_efuse_block_count(chip); b++) {
        const ds_efuse_block *block = ds_efuse_block_at(chip, b);
        for (unsigned i = 0; i < block->words; i++)
            words.w[b][i] = ds_sim_efuse_file_reg(&f, block->read_off + 4 * i);
    }
    uint8_t mac[6];
    ds_efuse_get_mac(chip, &words, mac);
    if (!memcmp(mac, (const uint8_t[6]){0}, sizeof mac))
        words_or(&words, fresh);
    return make(path, chip, &words, e);
}

static enum ds_class map(const char *path, size_t len, ds_sim_efuse_file *ret, ds_err *e)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    struct stat st;
    void *p = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)len)
        p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int err = errno;
    close(fd);
    if (p == MAP_FAILED)
        return ds_fail_errno(e, DS_INPUT, err, "%s: map", path);
    ret->mem = p;
    return DS_OK;
}

enum ds_class ds_sim_efuse_file_open(const char *path, const ds_chip *chip, const ds_efuse_words *fresh,
                                     ds_sim_efuse_file *ret, ds_err *e)
{
    ds_sim_efuse_file f = {NULL, chip->efuse_window + FUSES_BYTES, chip->efuse_window};
    struct stat st;
    enum ds_class rc = DS_OK;
    if (stat(path, &st) != 0)
        rc = errno == ENOENT ? make(path, chip, fresh, e) : ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    else if (S_ISREG(st.st_mode) && st.st_size == (off_t)f.window)
        rc = take_over(path, chip, fresh, e);
    else if (!S_ISREG(st.st_mode) || st.st_size != (off_t)f.len)
        rc = ds_fail(e, DS_INPUT, "%s: not the eFuses of an %s", path, chip->title);
    if (!rc)
        rc = map(path, f.len, &f, e);
    if (rc)
        return rc;
    if (memcmp(fuses(&f) + MAGIC_OFF, magic, sizeof magic) != 0) {
        ds_sim_efuse_file_close(&f);
        return ds_fail(e, DS_INPUT, "%s: not the eFuses of a virtual device", path);
    }
    journal_replay(&f);
    *ret = f;
    return DS_OK;
}

void ds_sim_efuse_file_close(ds_sim_efuse_file *f)
{
    if (f->mem)
        munmap(f->mem, f->len);
    f->mem = NULL;
}
