// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The recipe's YAML and what it names; see recipe.h. The checks of the whole are in recipe_check.c.
#include "src/station/recipe.h"

#include "proto/stamp.pb-c.h"
#include "src/base/file.h"
#include "src/esp/otadata.h"
#include "src/station/recipe_check.h"
#include "src/station/yaml.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct yaml_image {
    char *file, *partition, *min_version;
} yaml_image;

typedef struct yaml_images {
    yaml_image bootloader, secure_bootloader, mfg, app;
} yaml_images;

typedef struct yaml_table {
    char *file;
    uint32_t offset;
} yaml_table;

typedef struct yaml_certificate {
    char *subject;
    uint32_t days;
} yaml_certificate;

typedef struct yaml_stamp {
    char *serial, *endpoint, *endpoint_ca;
    uint32_t pop_length;
    bool close_download;
    ds_recipe_value *values;
    unsigned values_count;
} yaml_stamp;

typedef struct yaml_lock {
    int mode, proof;
} yaml_lock;

typedef struct ds_recipe_yaml {
    int recipe;
    char *product, *chip, *flash_size;
    yaml_table partition_table;
    yaml_images images;
    int key, key_protection, nvs_keys, origin;
    yaml_certificate certificate;
    yaml_stamp stamp;
    yaml_lock lock;
} ds_recipe_yaml;

#define TEXT(type, member) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER, type, member, 1, 256)
#define OPTIONAL_TEXT(type, member) \
    CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 1, 256)

static const cyaml_schema_field_t boot_fields[] = {TEXT(yaml_image, file), CYAML_FIELD_END};
static const cyaml_schema_field_t app_fields[] = {TEXT(yaml_image, file), TEXT(yaml_image, partition),
                                                  TEXT(yaml_image, min_version), CYAML_FIELD_END};
static const cyaml_schema_field_t images_fields[] = {
    CYAML_FIELD_MAPPING("bootloader", CYAML_FLAG_DEFAULT, yaml_images, bootloader, boot_fields),
    CYAML_FIELD_MAPPING("secure_bootloader", CYAML_FLAG_DEFAULT, yaml_images, secure_bootloader, boot_fields),
    CYAML_FIELD_MAPPING("mfg", CYAML_FLAG_DEFAULT, yaml_images, mfg, app_fields),
    CYAML_FIELD_MAPPING("app", CYAML_FLAG_DEFAULT, yaml_images, app, app_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t table_fields[] = {
    TEXT(yaml_table, file),
    CYAML_FIELD_UINT("offset", CYAML_FLAG_DEFAULT, yaml_table, offset),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t certificate_fields[] = {
    TEXT(yaml_certificate, subject),
    CYAML_FIELD_UINT("days", CYAML_FLAG_OPTIONAL, yaml_certificate, days),
    CYAML_FIELD_END,
};
static const cyaml_strval_t value_types[] = {
    {"string", DEVSTAMP__VALUE_TYPE__VALUE_STRING}, {"hex", DEVSTAMP__VALUE_TYPE__VALUE_BLOB},
    {"u8", DEVSTAMP__VALUE_TYPE__VALUE_U8},         {"u16", DEVSTAMP__VALUE_TYPE__VALUE_U16},
    {"u32", DEVSTAMP__VALUE_TYPE__VALUE_U32},       {"i32", DEVSTAMP__VALUE_TYPE__VALUE_I32},
    {"u64", DEVSTAMP__VALUE_TYPE__VALUE_U64},
};
static const cyaml_schema_field_t value_fields[] = {
    CYAML_FIELD_STRING_PTR("namespace", CYAML_FLAG_POINTER, ds_recipe_value, name_space, 1, 15),
    CYAML_FIELD_STRING_PTR("key", CYAML_FLAG_POINTER, ds_recipe_value, key, 1, 15),
    CYAML_FIELD_ENUM("type", CYAML_FLAG_STRICT, ds_recipe_value, type, value_types, CYAML_ARRAY_LEN(value_types)),
    CYAML_FIELD_STRING_PTR("value", CYAML_FLAG_POINTER, ds_recipe_value, value, 0, 3000),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t value_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, ds_recipe_value, value_fields)};
static const cyaml_schema_field_t stamp_fields[] = {
    TEXT(yaml_stamp, serial),
    TEXT(yaml_stamp, endpoint),
    OPTIONAL_TEXT(yaml_stamp, endpoint_ca),
    CYAML_FIELD_UINT("pop_length", CYAML_FLAG_OPTIONAL, yaml_stamp, pop_length),
    CYAML_FIELD_BOOL("close_download", CYAML_FLAG_OPTIONAL, yaml_stamp, close_download),
    CYAML_FIELD_SEQUENCE("values", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, yaml_stamp, values, &value_schema, 0, 64),
    CYAML_FIELD_END,
};
enum { LOCK_RELEASE, LOCK_DEVELOPMENT, LOCK_NONE };
enum { PROOF_NOT_TOLD, PROOF_FULL, PROOF_REPORT };
static const cyaml_strval_t lock_modes[] = {
    {"release", LOCK_RELEASE}, {"development", LOCK_DEVELOPMENT}, {"none", LOCK_NONE}};
static const cyaml_strval_t lock_proofs[] = {{"full", PROOF_FULL}, {"report", PROOF_REPORT}};
static const cyaml_schema_field_t lock_fields[] = {
    CYAML_FIELD_ENUM("mode", CYAML_FLAG_STRICT, yaml_lock, mode, lock_modes, CYAML_ARRAY_LEN(lock_modes)),
    CYAML_FIELD_ENUM("proof", CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, yaml_lock, proof, lock_proofs,
                     CYAML_ARRAY_LEN(lock_proofs)),
    CYAML_FIELD_END,
};
static const cyaml_strval_t key_types[] = {
    {"rsa-2048", DEVSTAMP__KEY_TYPE__KEY_RSA_2048},
    {"rsa-3072", DEVSTAMP__KEY_TYPE__KEY_RSA_3072},
    {"ecdsa-p256", DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256},
    {"ecdsa-p384", DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384},
};
static const cyaml_strval_t key_protections[] = {{"nvs", 0}, {"ds", 1}};
static const cyaml_strval_t nvs_key_places[] = {{"flash", 0}, {"hmac", 1}};
static const cyaml_strval_t origins[] = {
    {"device", DS_ORIGIN_DEVICE}, {"station", DS_ORIGIN_STATION}, {"remote", DS_ORIGIN_REMOTE}};
static const cyaml_schema_field_t recipe_fields[] = {
    CYAML_FIELD_INT("recipe", CYAML_FLAG_DEFAULT, ds_recipe_yaml, recipe),
    CYAML_FIELD_STRING_PTR("product", CYAML_FLAG_POINTER, ds_recipe_yaml, product, 1, 63),
    TEXT(ds_recipe_yaml, chip),
    OPTIONAL_TEXT(ds_recipe_yaml, flash_size),
    CYAML_FIELD_MAPPING("partition_table", CYAML_FLAG_OPTIONAL, ds_recipe_yaml, partition_table, table_fields),
    CYAML_FIELD_MAPPING("images", CYAML_FLAG_OPTIONAL, ds_recipe_yaml, images, images_fields),
    CYAML_FIELD_ENUM("key", CYAML_FLAG_STRICT, ds_recipe_yaml, key, key_types, CYAML_ARRAY_LEN(key_types)),
    CYAML_FIELD_ENUM("key_protection", CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, ds_recipe_yaml, key_protection,
                     key_protections, CYAML_ARRAY_LEN(key_protections)),
    CYAML_FIELD_ENUM("nvs_keys", CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, ds_recipe_yaml, nvs_keys, nvs_key_places,
                     CYAML_ARRAY_LEN(nvs_key_places)),
    CYAML_FIELD_ENUM("origin", CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, ds_recipe_yaml, origin, origins,
                     CYAML_ARRAY_LEN(origins)),
    CYAML_FIELD_MAPPING("certificate", CYAML_FLAG_DEFAULT, ds_recipe_yaml, certificate, certificate_fields),
    CYAML_FIELD_MAPPING("stamp", CYAML_FLAG_DEFAULT, ds_recipe_yaml, stamp, stamp_fields),
    CYAML_FIELD_MAPPING("lock", CYAML_FLAG_DEFAULT, ds_recipe_yaml, lock, lock_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t recipe_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ds_recipe_yaml, recipe_fields)};

static enum ds_class take_part(const ds_recipe *r, enum ds_bundle_part part, const char *key, size_t max, ds_buf *ret,
                               ds_err *e)
{
    if (!r->from[part].len || r->from[part].len > max)
        return ds_fail(e, DS_INPUT, "%s: %s: %s", r->path, key,
                       r->from[part].len ? "too long" : "the bundle does not hold it");
    ds_buf_add(ret, r->from[part].ptr, r->from[part].len);
    return DS_OK;
}

static enum ds_class load_file(const ds_recipe *r, enum ds_bundle_part part, const char *key, const char *name,
                               size_t max, ds_buf *ret, ds_err *e)
{
    if (r->from)
        return take_part(r, part, key, max, ret, e);
    DS_CLEANUP_FREE char *path = ds_path_beside(r->path, name);
    if (ds_file_read(path, max, ret, e))
        return ds_wrap(e, "%s: %s", r->path, key);
    return DS_OK;
}

static enum ds_class load_region(ds_recipe *r, enum ds_region_id id, const char *what, const yaml_image *image,
                                 ds_err *e)
{
    static const enum ds_bundle_part parts[DS_REGION_COUNT] = {[DS_REGION_BOOTLOADER] = DS_PART_BOOTLOADER,
                                                               [DS_REGION_SECURE_BOOTLOADER] =
                                                                   DS_PART_SECURE_BOOTLOADER,
                                                               [DS_REGION_TABLE] = DS_PART_TABLE,
                                                               [DS_REGION_MFG] = DS_PART_MFG,
                                                               [DS_REGION_APP] = DS_PART_APP_IMAGE};
    ds_region *region = &r->regions[id];
    region->what = what;
    if (load_file(r, parts[id], what, image->file, 16u << 20, &region->data, e))
        return e->cls;
    ds_buf_resize(&region->data, (region->data.len + 3) & ~(size_t)3, 0xFF); // flash is written in words
    if (ds_image_parse(ds_buf_view(&region->data), &region->info, e))
        return ds_wrap(e, "%s: %s %s", r->path, what, image->file);
    return DS_OK;
}

static enum ds_class load_table(ds_recipe *r, ds_err *e)
{
    ds_region *region = &r->regions[DS_REGION_TABLE];
    const yaml_table *t = &r->yaml->partition_table;
    region->what = "partition table";
    r->table_offset = region->addr = t->offset;
    if (load_file(r, DS_PART_TABLE, "partition_table", t->file, 0x1000, &region->data, e))
        return e->cls;
    if (ds_ptable_parse(ds_buf_view(&region->data), &r->table, e) ||
        ds_ptable_check(&r->table, t->offset, r->flash_size, e))
        return ds_wrap(e, "%s: partition_table %s", r->path, t->file);
    return DS_OK;
}

static enum ds_class load_images(ds_recipe *r, ds_err *e)
{
    const yaml_images *i = &r->yaml->images;
    if (load_region(r, DS_REGION_BOOTLOADER, "bootloader", &i->bootloader, e) ||
        load_region(r, DS_REGION_SECURE_BOOTLOADER, "secure bootloader", &i->secure_bootloader, e) ||
        load_region(r, DS_REGION_MFG, "mfg image", &i->mfg, e) ||
        load_region(r, DS_REGION_APP, "app image", &i->app, e))
        return e->cls;
    r->regions[DS_REGION_BOOTLOADER].addr = r->regions[DS_REGION_SECURE_BOOTLOADER].addr = r->chip->bootloader_offset;
    return DS_OK;
}

// What a platform of one's own has none of, and every chip that locks itself must have.
static enum ds_class check_platform(const ds_recipe *r, ds_err *e)
{
    const ds_recipe_yaml *y = r->yaml;
    const struct {
        const char *key;
        bool there;
    } keys[] = {{"flash_size", y->flash_size != NULL},
                {"partition_table", y->partition_table.file != NULL},
                {"images", y->images.app.file != NULL}};
    bool can_lock = ds_chip_can_lock(r->chip);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].there != can_lock)
            return ds_fail(e, DS_INPUT, "%s: %s: %s", r->path, keys[i].key,
                           can_lock ? "missing" : "a generic platform has none: leave it out");
    if (can_lock && y->lock.mode == LOCK_NONE)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "%s: lock.mode: none: an %s can lock itself, and must", r->path, r->chip->title), e),
            "write release, or development");
    if (!can_lock && y->lock.mode != LOCK_NONE)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "%s: lock.mode: a generic platform has no lock that could be proved", r->path), e),
            "write none where its devices may leave the line unlocked");
    if (!can_lock && (y->lock.proof == PROOF_FULL || y->stamp.close_download))
        return ds_fail(e, DS_INPUT, "%s: %s: a generic platform has no ROM that could refuse", r->path,
                       y->stamp.close_download ? "stamp.close_download" : "lock.proof");
    return DS_OK;
}

// The plain fields, by reference into the YAML.
static enum ds_class take_fields(ds_recipe *r, ds_err *e)
{
    const ds_recipe_yaml *y = r->yaml;
    if (y->recipe != 1)
        return ds_fail(e, DS_INPUT, "%s: recipe: version %d is not known", r->path, y->recipe);
    r->chip = ds_platform_by_name(y->chip);
    if (!r->chip)
        return ds_fail(e, DS_INPUT, "%s: chip: '%s' is not known", r->path, y->chip);
    if (check_platform(r, e))
        return e->cls;
    if (ds_chip_can_lock(r->chip) && (!ds_parse_size(y->flash_size, &r->flash_size) || r->flash_size < (1u << 20) ||
                                      r->flash_size > (16u << 20) || (r->flash_size & (r->flash_size - 1))))
        return ds_fail(e, DS_INPUT, "%s: flash_size: '%s' is not 1MB, 2MB, 4MB, 8MB or 16MB", r->path, y->flash_size);
    r->product = y->product;
    r->key_type = y->key;
    r->key_in_ds = y->key_protection == 1;
    r->nvs_by_hmac = y->nvs_keys == 1;
    r->origin = (enum ds_origin)y->origin;
    r->subject = y->certificate.subject;
    r->certificate_days = y->certificate.days;
    r->serial_format = y->stamp.serial;
    r->endpoint = y->stamp.endpoint;
    r->pop_length = y->stamp.pop_length ? y->stamp.pop_length : 16;
    r->close_download = y->stamp.close_download;
    r->values = y->stamp.values;
    r->value_count = y->stamp.values_count;
    r->mfg_partition = y->images.mfg.partition;
    r->app_partition = y->images.app.partition;
    r->mfg_min_version = y->images.mfg.min_version;
    r->app_min_version = y->images.app.min_version;
    r->release = y->lock.mode == LOCK_RELEASE;
    r->full_proof = y->lock.mode != LOCK_NONE && y->lock.proof != PROOF_REPORT;
    return DS_OK;
}

static enum ds_class load_all(ds_recipe *r, ds_err *e)
{
    if (take_fields(r, e) || (ds_chip_can_lock(r->chip) && (load_table(r, e) || load_images(r, e))))
        return e->cls;
    if (r->yaml->stamp.endpoint_ca &&
        load_file(r, DS_PART_ENDPOINT_CA, "stamp.endpoint_ca", r->yaml->stamp.endpoint_ca, 3900, &r->endpoint_ca, e))
        return e->cls;
    return ds_recipe_check(r, e);
}

// Over the file's own digest, that of each region (of nothing where there is none), and that of the endpoint's CA.
static void digest_whole(ds_recipe *r, const uint8_t file[32])
{
    uint8_t digests[2 + DS_REGION_COUNT][32];
    memcpy(digests[0], file, 32);
    (void)EVP_Digest(r->endpoint_ca.ptr, r->endpoint_ca.len, digests[1], NULL, EVP_sha256(), NULL);
    for (int i = 0; i < DS_REGION_COUNT; i++)
        memcpy(digests[2 + i], r->regions[i].sha256, 32);
    (void)EVP_Digest(digests, sizeof digests, r->digest, NULL, EVP_sha256(), NULL);
}

static void digest_regions(ds_recipe *r)
{
    for (int i = 0; i < DS_REGION_COUNT; i++) {
        ds_region *region = &r->regions[i];
        (void)EVP_Digest(region->data.ptr, region->data.len, region->md5, NULL, EVP_md5(), NULL);
        (void)EVP_Digest(region->data.ptr, region->data.len, region->sha256, NULL, EVP_sha256(), NULL);
    }
}

// r has its text; taken over.
static enum ds_class load_text(ds_recipe *r, ds_recipe **ret, ds_err *e)
{
    void *yaml = NULL;
    uint8_t file[32];
    enum ds_class rc = ds_yaml_parse(r->path, ds_buf_view(&r->text), &recipe_schema, &yaml, e);
    r->yaml = yaml;
    if (!rc)
        rc = load_all(r, e);
    r->from = NULL;
    if (rc) {
        ds_recipe_free(r);
        return rc;
    }
    (void)EVP_Digest(r->text.ptr, r->text.len, file, NULL, EVP_sha256(), NULL);
    digest_regions(r);
    digest_whole(r, file);
    *ret = r;
    return DS_OK;
}

enum ds_class ds_recipe_load(const char *path, ds_recipe **ret, ds_err *e)
{
    ds_err local = DS_ERR_INIT;
    e = e ? e : &local;
    ds_recipe *r = ds_alloc(sizeof *r);
    r->path = ds_strdup(path);
    if (ds_file_read(path, DS_YAML_MAX, &r->text, e)) {
        ds_recipe_free(r);
        return e->cls;
    }
    return load_text(r, ret, e);
}

enum ds_class ds_recipe_load_parts(const char *name, const ds_view *parts, ds_recipe **ret, ds_err *e)
{
    ds_recipe *r = ds_alloc(sizeof *r);
    r->path = ds_strdup(name);
    r->from = parts;
    enum ds_class rc = take_part(r, DS_PART_RECIPE, "recipe", DS_YAML_MAX, &r->text, e);
    if (rc) {
        ds_recipe_free(r);
        return rc;
    }
    return load_text(r, ret, e);
}

void ds_recipe_free(ds_recipe *r)
{
    if (!r)
        return;
    for (int i = 0; i < DS_REGION_COUNT; i++)
        ds_buf_free(&r->regions[i].data);
    ds_buf_free(&r->endpoint_ca);
    ds_buf_free(&r->text);
    ds_yaml_free(&recipe_schema, r->yaml);
    free(r->path);
    free(r);
}

ds_signer_profile ds_recipe_profile(const ds_recipe *r)
{
    return (ds_signer_profile){
        .recipe = r->product,
        .subject = r->subject,
        .serial_format = r->serial_format,
        .key_type = r->key_type,
        .days = r->certificate_days,
        .subject_alt_uri = "",
        .digest = r->digest,
        .origin = r->origin,
    };
}

enum ds_class ds_recipe_subject(const ds_recipe *r, const char *serial, const uint8_t mac[6], char ret[256], ds_err *e)
{
    char mac_text[13];
    ds_hex(mac, 6, mac_text);
    const struct {
        const char *name, *value;
    } known[] = {{"{serial}", serial}, {"{mac}", mac_text}, {"{product}", r->product}};
    size_t len = 0;
    for (const char *p = r->subject; *p;) {
        const char *put = NULL;
        for (size_t i = 0; *p == '{' && i < sizeof known / sizeof *known; i++)
            if (strncmp(p, known[i].name, strlen(known[i].name)) == 0)
                put = known[i].value, p += strlen(known[i].name);
        if (!put && *p == '{')
            return ds_fail(e, DS_INPUT, "%s: certificate.subject: unknown placeholder in '%s'", r->path, r->subject);
        int n = put ? snprintf(ret + len, 256 - len, "%s", put) : snprintf(ret + len, 256 - len, "%c", *p++);
        if (n < 0 || (size_t)n >= 256 - len)
            return ds_fail(e, DS_INPUT, "%s: certificate.subject: longer than 255 characters", r->path);
        len += (size_t)n;
    }
    return DS_OK;
}

void ds_recipe_otadata(const ds_recipe *r, unsigned slot, uint8_t ret[0x2000])
{
    memset(ret, 0xFF, DS_OTADATA_SIZE);
    ds_otadata blank;
    ds_otadata_parse(ret, &blank);
    uint8_t entry[DS_OTADATA_ENTRY];
    unsigned sector = 0;
    ds_otadata_select(&blank, slot, ds_ptable_ota_count(&r->table), entry, &sector);
    memcpy(ret + sector * DS_OTADATA_SECTOR, entry, sizeof entry);
}

static void place(ds_buf *out, uint32_t addr, const void *data, size_t len)
{
    if (out->len < addr + len)
        ds_buf_resize(out, addr + len, 0xFF);
    memcpy(out->ptr + addr, data, len);
}

enum ds_class ds_recipe_merge(const ds_recipe *r, bool whole_flash, ds_buf *ret, ds_err *e)
{
    if (!ds_chip_can_lock(r->chip))
        return ds_fail(e, DS_INPUT, "%s: a generic platform has no images", r->path);
    static const enum ds_region_id parts[] = {DS_REGION_BOOTLOADER, DS_REGION_TABLE, DS_REGION_MFG, DS_REGION_APP};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const ds_region *region = &r->regions[parts[i]];
        place(ret, region->addr, region->data.ptr, region->data.len);
    }
    uint8_t otadata[DS_OTADATA_SIZE];
    ds_recipe_otadata(r, r->mfg_slot, otadata);
    const ds_part *p = ds_ptable_find_type(&r->table, DS_PART_DATA, DS_PART_DATA_OTA);
    if (!p)
        return ds_fail(e, DS_INTERNAL, "recipe without otadata");
    place(ret, p->offset, otadata, sizeof otadata);
    if (whole_flash)
        ds_buf_resize(ret, r->flash_size, 0xFF);
    return DS_OK;
}
