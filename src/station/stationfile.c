// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's YAML; see stationfile.h. Files are named from the folder the station file is in.
#include "src/station/stationfile.h"

#include "src/base/file.h"
#include "src/ledger/ledger.h"
#include "src/station/listenfile.h"
#include "src/station/yaml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EST_TIMEOUT_S = 30, EST_TIMEOUT_MAX_S = 300 };

typedef struct yaml_est {
    char *url, *label, *ca, *device_ca, *certificate, *key;
    uint32_t timeout;
} yaml_est;

typedef struct yaml_signer {
    char *certificate, *key, *module, *log, *log_key, *quota, *pin_file, *token_serial, *seal, *seal_key, *seal_tpm;
    char *address, *ca, *sub_ca; // where it is elsewhere
    char *pool, *pool_key, *pool_ca;
    uint32_t token_wait;
    yaml_est *est;
} yaml_signer;

typedef struct yaml_discover {
    char *usb;
    int reset;
    char *command;
} yaml_discover;

typedef struct yaml_bundles {
    char **release_keys, **approvers;
    unsigned release_keys_count, approvers_count, approvals;
    bool allow_older;
} yaml_bundles;

typedef struct ds_station_yaml {
    int station;
    char *name, *ledger;
    yaml_signer signer;
    ds_listen_yaml *listen;
    yaml_bundles *bundles;
    uint32_t baud, flash_baud;
    ds_slot_config *slots;
    unsigned slots_count;
    yaml_discover *discover;
    unsigned discover_count;
} ds_station_yaml;

#define TEXT(type, member, flags) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | (flags), type, member, 1, 512)

static const cyaml_schema_field_t est_fields[] = {
    TEXT(yaml_est, url, 0),
    TEXT(yaml_est, label, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_est, ca, 0),
    TEXT(yaml_est, device_ca, 0),
    TEXT(yaml_est, certificate, 0),
    TEXT(yaml_est, key, 0),
    CYAML_FIELD_UINT("timeout", CYAML_FLAG_OPTIONAL, yaml_est, timeout),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t signer_fields[] = {
    TEXT(yaml_signer, certificate, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, module, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, log, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, log_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, quota, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pool, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pool_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pool_ca, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, pin_file, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, token_serial, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal_key, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, seal_tpm, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, address, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, ca, CYAML_FLAG_OPTIONAL),
    TEXT(yaml_signer, sub_ca, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_UINT("token_wait", CYAML_FLAG_OPTIONAL, yaml_signer, token_wait),
    CYAML_FIELD_MAPPING_PTR("est", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, yaml_signer, est, est_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t key_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 512),
};
static const cyaml_schema_field_t bundles_fields[] = {
    CYAML_FIELD_SEQUENCE("release_keys", CYAML_FLAG_POINTER, yaml_bundles, release_keys, &key_schema, 1,
                         DS_BUNDLE_KEYS),
    CYAML_FIELD_SEQUENCE("approvers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, yaml_bundles, approvers, &key_schema, 0,
                         DS_BUNDLE_KEYS),
    CYAML_FIELD_UINT("approvals", CYAML_FLAG_OPTIONAL, yaml_bundles, approvals),
    CYAML_FIELD_BOOL("allow_older", CYAML_FLAG_OPTIONAL, yaml_bundles, allow_older),
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
    TEXT(ds_station_yaml, ledger, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_MAPPING("signer", CYAML_FLAG_DEFAULT, ds_station_yaml, signer, signer_fields),
    CYAML_FIELD_MAPPING_PTR("listen", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ds_station_yaml, listen,
                            ds_listen_fields),
    CYAML_FIELD_MAPPING_PTR("bundles", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ds_station_yaml, bundles,
                            bundles_fields),
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

static char *beside(const ds_station *s, const char *name)
{
    return name ? ds_path_beside(s->path, name) : NULL;
}

// A CA that speaks EST, in place of a signer. A longer timeout is refused when all is read.
static void take_est(ds_station *s, const yaml_est *y)
{
    int timeout_s = !y->timeout ? EST_TIMEOUT_S : y->timeout > EST_TIMEOUT_MAX_S ? EST_TIMEOUT_MAX_S : (int)y->timeout;
    s->est = (ds_signer_est){
        .url = y->url,
        .label = y->label,
        .ca = beside(s, y->ca),
        .device_ca = beside(s, y->device_ca),
        .certificate = beside(s, y->certificate),
        .key = key_uri(s, y->key),
        .timeout_ms = timeout_s * 1000,
    };
}

// The signer is elsewhere: key and certificate are this station's own.
static void take_remote(ds_station *s, const yaml_signer *y)
{
    s->remote = (ds_signer_remote){
        .address = y->address,
        .ca = beside(s, y->ca),
        .certificate = beside(s, y->certificate),
        .key = y->key ? key_uri(s, y->key) : NULL,
        .module = y->module,
        .pin_file = beside(s, y->pin_file),
    };
    s->signer_certificate = beside(s, y->sub_ca);
}

static void take_local(ds_station *s, const yaml_signer *y)
{
    s->signer_certificate = beside(s, y->certificate);
    s->signer_log = beside(s, y->log);
    s->signer_module = y->module;
    s->signer_quota = beside(s, y->quota);
    s->token_serial = y->token_serial;
    s->pin_file = beside(s, y->pin_file);
    s->seal = beside(s, y->seal);
    s->seal_key = beside(s, y->seal_key);
    s->seal_tpm = y->seal_tpm;
    s->signer_key = y->key ? key_uri(s, y->key) : NULL;
    s->signer_log_key = y->log_key ? key_uri(s, y->log_key) : NULL;
    s->pool_key = y->pool_key ? key_uri(s, y->pool_key) : NULL;
}

static void take_fields(ds_station *s)
{
    const ds_station_yaml *y = s->yaml;
    s->name = y->name;
    s->ledger = y->ledger && ds_ledger_is_database(y->ledger) ? ds_strdup(y->ledger) : beside(s, y->ledger);
    s->pool = beside(s, y->signer.pool);
    s->pool_ca = beside(s, y->signer.pool_ca);
    s->token_wait_s = y->signer.token_wait ? y->signer.token_wait : 120;
    if (y->signer.est)
        take_est(s, y->signer.est);
    else if (y->signer.address)
        take_remote(s, &y->signer);
    else
        take_local(s, &y->signer);
    s->baud = y->baud ? y->baud : 115200;
    s->flash_baud = y->flash_baud ? y->flash_baud : 921600;
    s->slots = ds_alloc(DS_STATION_MAX_SLOTS * sizeof *s->slots);
    for (unsigned i = 0; i < y->slots_count; i++)
        add_slot(s, y->slots[i].name, y->slots[i].port, y->slots[i].product, y->slots[i].reset, y->slots[i].command);
}

// What belongs to a signer on this computer says nothing of one elsewhere.
static enum ds_class check_remote(const ds_station *s, ds_err *e)
{
    const yaml_signer *y = &s->yaml->signer;
    const char *of_here[] = {y->log,  y->log_key,  y->quota,    y->token_serial,
                             y->seal, y->seal_key, y->seal_tpm, y->pool_key};
    if (!y->ca)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: signer.address: a signer elsewhere, and no signer.ca", s->path), e),
                       "name the certificate of the CA that vouches for it");
    for (size_t i = 0; i < sizeof of_here / sizeof *of_here; i++)
        if (of_here[i])
            return ds_hint(
                (ds_fail(
                     e, DS_INPUT,
                     "%s: signer.address: log, quota, token, seal and pool_key are those of the signer's own computer",
                     s->path),
                 e),
                "leave log, log_key, quota, token_serial, seal and pool_key out here");
    if (s->yaml->listen)
        return ds_fail(e, DS_INPUT, "%s: listen: the signer is elsewhere, and cannot listen here", s->path);
    return DS_OK;
}

static bool is_plain(const char *text, const char *more)
{
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(more, *p))
            return false;
    return text[0] != '\0';
}

// "https://host[:port]" or "https://[v6]:port", and nothing behind it: the path is RFC 7030's.
static bool is_server(const char *url)
{
    return strncmp(url, "https://", 8) == 0 && is_plain(url + 8, "-.:[]_");
}

static enum ds_class check_est(const ds_station *s, ds_err *e)
{
    const yaml_signer *y = &s->yaml->signer;
    const yaml_est *est = y->est;
    const char *others[] = {y->certificate, y->key,          y->module, y->log,      y->log_key,  y->quota,
                            y->pin_file,    y->token_serial, y->seal,   y->seal_key, y->seal_tpm, y->address,
                            y->ca,          y->sub_ca,       y->pool,   y->pool_key, y->pool_ca};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i])
            return ds_hint((ds_fail(e, DS_INPUT,
                                    "%s: signer.est: an EST server takes the place of the signer, and more "
                                    "is given",
                                    s->path),
                            e),
                           "beside est there may be token_wait alone");
    if (!is_server(est->url))
        return ds_fail(e, DS_INPUT, "%s: signer.est.url: '%s' is not https://host[:port]", s->path, est->url);
    if (est->label && !is_plain(est->label, "-._~"))
        return ds_fail(e, DS_INPUT, "%s: signer.est.label: may hold letters, digits and -._~ only", s->path);
    if (strncmp(est->key, "file:", 5) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: signer.est.key: is not a file: key", s->path), e),
                       "the signer alone sees PINs, and has no part in EST (docs/est.md)");
    if (est->timeout > EST_TIMEOUT_MAX_S)
        return ds_fail(e, DS_INPUT, "%s: signer.est.timeout must be 1 to %d seconds", s->path, EST_TIMEOUT_MAX_S);
    if (s->yaml->listen)
        return ds_fail(e, DS_INPUT, "%s: listen: without a signer here there is nothing to listen for", s->path);
    return DS_OK;
}

static enum ds_class check_signer(const ds_station *s, ds_err *e)
{
    if (s->yaml->station != 1)
        return ds_fail(e, DS_INPUT, "%s: station: version %d is not known", s->path, s->yaml->station);
    if (s->token_wait_s > 3600)
        return ds_fail(e, DS_INPUT, "%s: token_wait must be 1 to 3600 seconds", s->path);
    if (s->est.url)
        return check_est(s, e);
    if (!s->yaml->signer.certificate || !s->yaml->signer.key)
        return ds_fail(e, DS_INPUT, "%s: signer.%s: is missing", s->path,
                       s->yaml->signer.certificate ? "key" : "certificate");
    if (!s->pool != !s->pool_ca)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: signer: pool and pool_ca go together", s->path), e),
                       "pool_ca is the certificate of the Sub CA that signs for the pool (docs/key-origin.md)");
    if (s->remote.address)
        return check_remote(s, e);
    if (!s->signer_log)
        return ds_fail(e, DS_INPUT, "%s: signer.log: is missing", s->path);
    if (s->yaml->signer.ca || s->yaml->signer.sub_ca)
        return ds_fail(e, DS_INPUT, "%s: signer: ca and sub_ca are given, but no address", s->path);
    if (s->seal && s->pin_file)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: signer: seal and pin_file are both given", s->path), e),
                       "the PIN is in the seal: remove pin_file, and the file");
    if (s->seal && strncmp(s->signer_key, "pkcs11:", 7) != 0)
        return ds_fail(e, DS_INPUT, "%s: signer.seal: a seal holds a token's PIN, and the key is in a file", s->path);
    if (s->pool_key && strncmp(s->pool_key, "file:", 5) != 0)
        return ds_fail(e, DS_INPUT, "%s: signer.pool_key: is not a file: key", s->path);
    if (!s->yaml->listen && !s->pool != !s->pool_key)
        return ds_fail(e, DS_INPUT, "%s: signer: pool and pool_key go together", s->path);
    if (!s->seal && (s->seal_key || s->seal_tpm))
        return ds_fail(e, DS_INPUT, "%s: signer: seal_key and seal_tpm are given, but no seal", s->path);
    return DS_OK;
}

// A key by its id, or by the path of its PEM from the station file's folder.
static enum ds_class take_keys(const ds_station *s, char *const *names, unsigned count, uint8_t (*ret)[32], ds_err *e)
{
    for (unsigned i = 0; i < count; i++) {
        bool id = strncmp(names[i], "sha256:", 7) == 0;
        DS_CLEANUP_FREE char *text = id ? ds_strdup(names[i]) : ds_path_beside(s->path, names[i]);
        if (ds_bundle_key_id(text, ret[i], e))
            return ds_wrap(e, "%s: bundles", s->path);
        for (unsigned k = 0; k < i; k++)
            if (memcmp(ret[k], ret[i], 32) == 0)
                return ds_fail(e, DS_INPUT, "%s: bundles: the same key is named twice: %s", s->path, names[i]);
    }
    return DS_OK;
}

static enum ds_class take_bundles(ds_station *s, ds_err *e)
{
    const yaml_bundles *y = s->yaml->bundles;
    if (!y)
        return DS_OK;
    s->bundles_only = true;
    s->allow_older = y->allow_older;
    s->bundles.release_count = y->release_keys_count;
    s->bundles.approver_count = y->approvers_count;
    s->bundles.approvals = y->approvals;
    if (y->approvals > y->approvers_count)
        return ds_fail(e, DS_INPUT, "%s: bundles: %u approvals are demanded of %u approvers", s->path, y->approvals,
                       y->approvers_count);
    enum ds_class rc = take_keys(s, y->release_keys, y->release_keys_count, s->bundles.release_keys, e);
    return rc ? rc : take_keys(s, y->approvers, y->approvers_count, s->bundles.approvers, e);
}

static enum ds_class check(ds_station *s, ds_err *e)
{
    if (!s->ledger)
        return ds_fail(e, DS_INPUT, "%s: ledger: is missing", s->path);
    if (!baud_ok(s->baud) || !baud_ok(s->flash_baud))
        return ds_fail(e, DS_INPUT, "%s: baud and flash_baud must be 1200 to 5000000", s->path);
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

// Each is held once, and const for everybody else.
static void free_held(const char *held)
{
    void *p = NULL;
    memcpy(&p, &held, sizeof p);
    free(p);
}

static enum ds_class load(const char *path, bool slots, ds_station **ret, ds_err *e)
{
    ds_err local = DS_ERR_INIT;
    e = e ? e : &local;
    ds_station *s = ds_alloc(sizeof *s);
    s->path = ds_strdup(path);
    void *yaml = NULL;
    if (ds_yaml_load(path, &station_schema, &yaml, e)) {
        ds_station_free(s);
        return e->cls;
    }
    s->yaml = yaml;
    take_fields(s);
    if (check_signer(s, e) || take_bundles(s, e) ||
        (s->yaml->listen && ds_listen_make(s->path, s->yaml->listen, &s->listen, e)) || (slots && check(s, e))) {
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
    free(s->pool_ca);
    free(s->pin_file);
    free(s->seal);
    free(s->seal_key);
    free_held(s->est.ca);
    free_held(s->est.device_ca);
    free_held(s->est.certificate);
    free_held(s->est.key);
    free_held(s->remote.ca);
    free_held(s->remote.certificate);
    free_held(s->remote.key);
    free_held(s->remote.pin_file);
    ds_listen_free(s->listen);
    ds_yaml_free(&station_schema, s->yaml);
    free(s->path);
    free(s);
}
