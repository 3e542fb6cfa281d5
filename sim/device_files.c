// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device's files; see device_files.h.
#include "sim/device_files.h"

#include "src/base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 0x1000u

void ds_sim_device_files_init(ds_sim_device_files *f, const char *state, unsigned index)
{
    f->dir = ds_asprintf("%s/%u", state, index);
    f->spec = ds_asprintf("%s/device", f->dir);
    f->flash = ds_asprintf("%s/flash.bin", f->dir);
    f->efuse = ds_asprintf("%s/efuse.bin", f->dir);
}

void ds_sim_device_files_free(ds_sim_device_files *f)
{
    free(f->dir);
    free(f->spec);
    free(f->flash);
    free(f->efuse);
    *f = (ds_sim_device_files){0};
}

enum ds_class ds_sim_device_files_spec(const ds_sim_device_files *f, ds_sim_device_spec *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    *ret = (ds_sim_device_spec){0};
    enum ds_class rc = ds_file_read(f->spec, 4096, &text, e);
    if (rc)
        return rc;
    ds_buf_add_u8(&text, '\0');
    text.ptr[strcspn((char *)text.ptr, "\n")] = '\0';
    rc = ds_sim_device_spec_parse((char *)text.ptr, 0, ret, e);
    return rc ? ds_wrap(e, "%s", f->spec) : DS_OK;
}

// Opening makes the files.
static enum ds_class open_chip(const ds_sim_device_files *f, const ds_sim_device_spec *spec, ds_sim_offline *o,
                               ds_err *e)
{
    o->chip = (ds_sim_chip){.chip = spec->chip, .fault = &o->fault, .timing = &o->timing};
    enum ds_class rc = ds_sim_fault_parse("", &o->fault, e);
    if (!rc)
        rc = ds_sim_flash_open(f->flash, spec->flash_size, &o->fault, &o->timing, &o->chip.flash, e);
    if (!rc)
        rc = ds_sim_efuse_open(f->efuse, spec->chip, spec->mac, spec->revision, &o->fault, &o->chip.efuse, e);
    return rc;
}

void ds_sim_offline_close(ds_sim_offline *o)
{
    ds_sim_flash_close(o->chip.flash);
    ds_sim_efuse_close(o->chip.efuse);
    ds_sim_device_spec_free(&o->spec);
    *o = (ds_sim_offline){0};
}

static enum ds_class preflash(const ds_sim_device_files *f, const ds_sim_device_spec *spec, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf data = {0};
    enum ds_class rc = ds_file_read(spec->image, spec->flash_size, &data, e);
    if (!rc)
        rc = ds_sim_flash_create(f->flash, spec->flash_size, &data, e);
    return rc ? ds_wrap(e, "pre-flash") : DS_OK;
}

static enum ds_class make(const ds_sim_device_files *f, const ds_sim_device_spec *spec, ds_err *e)
{
    ds_sim_offline o = {0};
    DS_CLEANUP_FREE char *text = ds_sim_device_spec_text(spec), *line = ds_asprintf("%s\n", text);
    enum ds_class rc = spec->image ? preflash(f, spec, e) : DS_OK;
    if (!rc)
        rc = open_chip(f, spec, &o, e);
    ds_sim_offline_close(&o);
    // Written last: a device that was cut off while it was made is made again.
    return rc ? rc : ds_file_write_unsynced(f->spec, (ds_view){(const uint8_t *)line, strlen(line)}, 0600, e);
}

static enum ds_class make_folder(const char *path, ds_err *e)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ds_fail_errno(e, DS_STORE, errno, "%s", path);
    return DS_OK;
}

static enum ds_class same(const ds_sim_device_files *f, const ds_sim_device_spec *want, ds_err *e)
{
    ds_sim_device_spec have;
    enum ds_class rc = ds_sim_device_files_spec(f, &have, e);
    if (!rc && (have.chip != want->chip || memcmp(have.mac, want->mac, sizeof have.mac) != 0 ||
                have.revision != want->revision || have.flash_size != want->flash_size)) {
        rc = ds_fail(e, DS_INPUT, "%s holds another device", f->dir);
        ds_hint(e, "leave --device out to go on with the devices of this state, or give another --state");
    }
    ds_sim_device_spec_free(&have);
    return rc;
}

enum ds_class ds_sim_device_files_prepare(const ds_sim_device_files *f, const ds_sim_device_spec *spec, ds_err *e)
{
    enum ds_class rc = make_folder(f->dir, e);
    if (rc)
        return rc;
    if (access(f->spec, F_OK) == 0)
        return same(f, spec, e);
    unlink(f->flash);
    unlink(f->efuse);
    return make(f, spec, e);
}

enum ds_class ds_sim_offline_open(ds_sim_offline *o, const char *state, unsigned index, ds_err *e)
{
    ds_sim_device_files f;
    *o = (ds_sim_offline){0};
    ds_sim_device_files_init(&f, state, index);
    enum ds_class rc = ds_sim_device_files_spec(&f, &o->spec, e);
    if (!rc)
        rc = open_chip(&f, &o->spec, o, e);
    if (rc)
        ds_sim_offline_close(o);
    ds_sim_device_files_free(&f);
    return rc;
}

static bool rewrite_sector(ds_sim_offline *o, uint32_t sector, ds_view part, uint32_t at, bool crypt)
{
    uint8_t content[SECTOR];
    bool read = crypt ? ds_sim_cache_read(&o->chip, sector, content, SECTOR)
                      : ds_sim_flash_read(o->chip.flash, sector, content, SECTOR);
    if (!read || !ds_sim_flash_erase(o->chip.flash, sector, SECTOR))
        return false;
    memcpy(content + at, part.ptr, part.len);
    return crypt ? ds_sim_crypt_program(&o->chip, sector, content, SECTOR)
                 : ds_sim_flash_program(o->chip.flash, sector, content, SECTOR);
}

enum ds_class ds_sim_offline_write(ds_sim_offline *o, uint32_t addr, ds_view data, bool crypt, ds_err *e)
{
    uint32_t size = ds_sim_flash_size(o->chip.flash);
    if (addr > size || data.len > size - addr)
        return ds_fail(e, DS_INPUT, "0x%x and %zu bytes: beyond a flash of %u bytes", addr, data.len, size);
    crypt = crypt && ds_sim_flash_encryption_on(&o->chip);
    while (data.len > 0) {
        uint32_t at = addr % SECTOR, n = SECTOR - at;
        if (n > data.len)
            n = (uint32_t)data.len;
        if (!rewrite_sector(o, addr - at, (ds_view){data.ptr, n}, at, crypt))
            return ds_fail(e, DS_INTERNAL, "flash refused 0x%x", addr);
        addr += n;
        data = (ds_view){data.ptr + n, data.len - n};
    }
    return DS_OK;
}
