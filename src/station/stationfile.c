// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's YAML; see stationfile.h. Files are named from the folder the station file is in.
#include "src/station/stationfile.h"

#include "src/base/file.h"
#include "src/station/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct yaml_signer {
    char *certificate, *key, *module, *log, *log_key, *quota, *pin_file, *token_serial, *seal, *seal_key, *seal_tpm;
    char *pool, *pool_key;
    uint32_t token_wait;
} yaml_signer;

typedef struct yaml_discover {
    char *usb;
    int reset;
    char *command;
} yaml_discover;

typedef struct ds_station_yaml {
    int station;
    char *name, *ledger;
    yaml_signer signer;
    uint32_t baud, flash_baud;
    ds_slot_config *slots;
    unsigned slots_count;
    yaml_discover *discover;
    unsigned discover_count;
} ds_station_yaml;

#define TEXT(type, member, flags) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | (flags), type, member, 1, 512)

static const cyaml_schema_field_t signer_fields[] = {
    TEXT(yaml_signer, certificate, 0),
    TEXT(yaml_signer, key, 0),
    TEXT(yaml_signer, module, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, log, 0),
    TEXT(yaml_signer, log_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, quota, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pool, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pool_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pin_file, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, token_serial, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal_tpm, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_UINT("token_wait", CYAML_FLAG_OPTIONAL, yaml_signer, token_wait),
    CYAML_FIELD_END,
};
static const cyaml_strval_t resets[] = {
    {"lines", DS_RESET_LINES}, {"rfc2217", DS_RESET_LINES}, {"command", DS_RESET_COMMAND}, {"none", DS_RESET_NONE}};
static const cyaml_schema_field_t slot_fields[] = {
    TEXT(ds_slot_config, name, 0),
    TEXT(ds_slot_config, port, 0),
    TEXT(ds_slot_config, product, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_ENUM("reset", CYAML_FLAG_STRICT, ds_slot_config, reset, resets, CYAML_ARRAY_LEN(resets)),
    TEXT(ds_slot_config, command, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t slot_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, ds_slot_config, slot_fields)};
static const cyaml_schema_field_t discover_fields[] = {
    TEXT(yaml_discover, usb, 0),
    CYAML_FIELD_ENUM("reset", CYAML_FLAG_STRICT, yaml_discover, reset, resets, CYAML_ARRAY_LEN(resets)),
    TEXT(yaml_discover, command, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t discover_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, yaml_discover, discover_fields)};
static const cyaml_schema_field_t station_fields[] = {
    CYAML_FIELD_INT("station", CYAML_FLAG_DEFAULT, ds_station_yaml, station),
    TEXT(ds_station_yaml, name, 0),
    TEXT(ds_station_yaml, ledger, 0),
    CYAML_FIELD_MAPPING("signer", CYAML_FLAG_DEFAULT, ds_station_yaml, signer, signer_fields),
    CYAML_FIELD_UINT("baud", CYAML_FLAG_OPTIONAL, ds_station_yaml, baud),
    CYAML_FIELD_UINT("flash_baud", CYAML_FLAG_OPTIONAL, ds_station_yaml, flash_baud),
    CYAML_FIELD_SEQUENCE("slots", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ds_station_yaml, slots, &slot_schema, 0,
                         DS_STATION_MAX_SLOTS),
    CYAML_FIELD_SEQUENCE("discover", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ds_station_yaml, discover,
                         &discover_schema, 0, 8),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t station_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ds_station_yaml, station_fields)};

static bool baud_ok(uint32_t baud)
{
    return baud >= 1200 && baud <= 5000000;
}

static enum ds_class check_slot(const ds_station *s, const ds_slot_config *slot, ds_err *e)
{
    if (slot->reset == DS_RESET_COMMAND && !slot->command)
        return ds_fail(e, DS_INPUT, "%s: slot %s: reset is 'command' but no command is given", s->path, slot->name);
    if (slot->reset != DS_RESET_COMMAND && slot->command)
        return ds_fail(e, DS_INPUT, "%s: slot %s: a command is given but reset is not 'command'", s->path, slot->name);
    for (unsigned i = 0; i < s->slot_count && &s->slots[i] != slot; i++) {
        if (strcmp(s->slots[i].name, slot->name) == 0)
            return ds_fail(e, DS_INPUT, "%s: two slots are named '%s'", s->path, slot->name);
        if (strcmp(s->slots[i].port, slot->port) == 0)
            return ds_fail(e, DS_INPUT, "%s: slots %s and %s name the same port", s->path, s->slots[i].name,
                           slot->name);
    }
    return DS_OK;
}

static void add_slot(ds_station *s, const char *name, const char *port, const char *product, int reset,
                     const char *command)
{
    if (s->slot_count >= DS_STATION_MAX_SLOTS)
        return;
    s->slots[s->slot_count++] = (ds_slot_config){
        .name = ds_strdup(name),
        .port = ds_strdup(port),
        .product = product ? ds_strdup(product) : NULL,
        .command = command ? ds_strdup(command) : NULL,
        .reset = reset,
    };
}

typedef struct found {
    ds_station *station;
    const yaml_discover *by;
} found;

static void on_found(void *arg, const char *address, const char *usb_serial)
{
    found *f = arg;
    for (unsigned i = 0; i < f->station->slot_count; i++)
        if (strcmp(f->station->slots[i].port, address) == 0)
            return;
    const char *slash = strrchr(address, '/');
    const char *name = usb_serial && usb_serial[0] ? usb_serial : slash ? slash + 1 : address;
    add_slot(f->station, name, address, NULL, f->by->reset, f->by->command);
}

static enum ds_class discover(ds_station *s, ds_err *e)
{
    for (unsigned i = 0; i < s->yaml->discover_count; i++) {
        const yaml_discover *d = &s->yaml->discover[i];
        unsigned vid, pid;
        char end;
        if (sscanf(d->usb, "%4x:%4x%c", &vid, &pid, &end) != 2)
            return ds_fail(e, DS_INPUT, "%s: discover: usb: '%s' is not vid:pid in hex", s->path, d->usb);
        ds_transport_discover((uint16_t)vid, (uint16_t)pid, on_found, &(found){s, d});
    }
    return DS_OK;
}

static char *key_uri(const ds_station *s, const char *uri)
{
    if (strncmp(uri, "file:", 5) != 0)
        return ds_strdup(uri);
    DS_CLEANUP_FREE char *path = ds_path_beside(s->path, uri + 5);
    return ds_asprintf("file:%s", path);
}

static void take_fields(ds_station *s)
{
    const ds_station_yaml *y = s->yaml;
    s->name = y->name;
    s->ledger = ds_path_beside(s->path, y->ledger);
    s->signer_certificate = ds_path_beside(s->path, y->signer.certificate);
    s->signer_log = ds_path_beside(s->path, y->signer.log);
    s->signer_module = y->signer.module;
    s->signer_quota = y->signer.quota ? ds_path_beside(s->path, y->signer.quota) : NULL;
    s->pool = y->signer.pool ? ds_path_beside(s->path, y->signer.pool) : NULL;
    s->pool_key = y->signer.pool_key ? key_uri(s, y->signer.pool_key) : NULL;
    s->token_serial = y->signer.token_serial;
    s->token_wait_s = y->signer.token_wait ? y->signer.token_wait : 120;
    s->pin_file = y->signer.pin_file ? ds_path_beside(s->path, y->signer.pin_file) : NULL;
    s->seal = y->signer.seal ? ds_path_beside(s->path, y->signer.seal) : NULL;
    s->seal_key = y->signer.seal_key ? ds_path_beside(s->path, y->signer.seal_key) : NULL;
    s->seal_tpm = y->signer.seal_tpm;
    s->signer_key = key_uri(s, y->signer.key);
    s->signer_log_key = y->signer.log_key ? key_uri(s, y->signer.log_key) : NULL;
    s->baud = y->baud ? y->baud : 115200;
    s->flash_baud = y->flash_baud ? y->flash_baud : 921600;
    s->slots = ds_alloc(DS_STATION_MAX_SLOTS * sizeof *s->slots);
    for (unsigned i = 0; i < y->slots_count; i++)
        add_slot(s, y->slots[i].name, y->slots[i].port, y->slots[i].product, y->slots[i].reset, y->slots[i].command);
}

static enum ds_class check_signer(const ds_station *s, ds_err *e)
{
    if (s->yaml->station != 1)
        return ds_fail(e, DS_INPUT, "%s: station: version %d is not known", s->path, s->yaml->station);
    if (s->seal && s->pin_file)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: signer: seal and pin_file are both given", s->path), e),
                       "the PIN is in the seal: remove pin_file, and the file");
    if (s->seal && strncmp(s->signer_key, "pkcs11:", 7) != 0)
        return ds_fail(e, DS_INPUT, "%s: signer.seal: a seal holds a token's PIN, and the key is in a file", s->path);
    if (!s->pool != !s->pool_key || (s->pool_key && strncmp(s->pool_key, "file:", 5) != 0))
        return ds_fail(e, DS_INPUT, "%s: signer: pool and pool_key go together, and the key is a file: key", s->path);
    if (!s->seal && (s->seal_key || s->seal_tpm))
        return ds_fail(e, DS_INPUT, "%s: signer: seal_key and seal_tpm are given, but no seal", s->path);
    return DS_OK;
}

static enum ds_class check(ds_station *s, ds_err *e)
{
    if (!baud_ok(s->baud) || !baud_ok(s->flash_baud))
        return ds_fail(e, DS_INPUT, "%s: baud and flash_baud must be 1200 to 5000000", s->path);
    if (s->token_wait_s > 3600)
        return ds_fail(e, DS_INPUT, "%s: token_wait must be 1 to 3600 seconds", s->path);
    if (discover(s, e))
        return e->cls;
    for (unsigned i = 0; i < s->slot_count; i++)
        if (check_slot(s, &s->slots[i], e))
            return e->cls;
    if (s->slot_count == 0)
        return ds_hint((ds_fail(e, DS_DEVICE, "%s: no slot is named and no device was discovered", s->path), e),
                       "connect a device, or name its port under 'slots'");
    return DS_OK;
}

static enum ds_class load(const char *path, bool slots, ds_station **ret, ds_err *e)
{
    ds_err local = DS_ERR_INIT;
    e = e ? e : &local;
    ds_station *s = ds_alloc(sizeof *s);
    s->path = ds_strdup(path);
    void *yaml = NULL;
    if (ds_yaml_load(path, &station_schema, &yaml, NULL, e)) {
        ds_station_free(s);
        return e->cls;
    }
    s->yaml = yaml;
    take_fields(s);
    if (check_signer(s, e) || (slots && check(s, e))) {
        ds_station_free(s);
        return e->cls;
    }
    *ret = s;
    return DS_OK;
}

enum ds_class ds_station_load(const char *path, ds_station **ret, ds_err *e)
{
    return load(path, true, ret, e);
}

enum ds_class ds_station_load_signer(const char *path, ds_station **ret, ds_err *e)
{
    return load(path, false, ret, e);
}

void ds_station_free(ds_station *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->slot_count; i++) {
        free(s->slots[i].name);
        free(s->slots[i].port);
        free(s->slots[i].product);
        free(s->slots[i].command);
    }
    free(s->slots);
    free(s->ledger);
    free(s->signer_certificate);
    free(s->signer_log);
    free(s->signer_key);
    free(s->signer_log_key);
    free(s->signer_quota);
    free(s->pool);
    free(s->pool_key);
    free(s->pin_file);
    free(s->seal);
    free(s->seal_key);
    ds_yaml_free(&station_schema, s->yaml);
    free(s->path);
    free(s);
}
