// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The "listen" part of a station file; see listenfile.h.
#include "src/station/listenfile.h"
#include "src/signer/quota.h"

#include "src/base/file.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(type, member, flags, max) \
    CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | (flags), type, member, 1, max)

static const cyaml_strval_t revokes[] = {
    {"none", DS_FRONT_REVOKE_NONE}, {"own", DS_FRONT_REVOKE_OWN}, {"any", DS_FRONT_REVOKE_ANY}};
static const cyaml_schema_value_t recipe_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 63)};
static const cyaml_schema_field_t station_fields[] = {
    TEXT(ds_listen_station, name, 0, 63),
    TEXT(ds_listen_station, fingerprint, CYAML_FLAG_OPTIONAL, 95),
    CYAML_FIELD_SEQUENCE("recipes", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ds_listen_station, recipes,
                         &recipe_schema, 0, 64),
    TEXT(ds_listen_station, first, CYAML_FLAG_OPTIONAL, 63),
    TEXT(ds_listen_station, last, CYAML_FLAG_OPTIONAL, 63),
    CYAML_FIELD_ENUM("revoke", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, ds_listen_station, revoke, revokes,
                     CYAML_ARRAY_LEN(revokes)),
    CYAML_FIELD_BOOL("log", CYAML_FLAG_OPTIONAL, ds_listen_station, log),
    CYAML_FIELD_UINT("connections", CYAML_FLAG_OPTIONAL, ds_listen_station, connections),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t station_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, ds_listen_station, station_fields)};
const cyaml_schema_field_t ds_listen_fields[] = {
    TEXT(ds_listen_yaml, address, 0, 255),
    TEXT(ds_listen_yaml, certificate, 0, 512),
    TEXT(ds_listen_yaml, key, 0, 512),
    TEXT(ds_listen_yaml, ca, CYAML_FLAG_OPTIONAL, 512),
    TEXT(ds_listen_yaml, est, CYAML_FLAG_OPTIONAL, 255),
    TEXT(ds_listen_yaml, est_chain, CYAML_FLAG_OPTIONAL, 512),
    CYAML_FIELD_UINT("strangers", CYAML_FLAG_OPTIONAL, ds_listen_yaml, strangers),
    CYAML_FIELD_UINT("handshake", CYAML_FLAG_OPTIONAL, ds_listen_yaml, handshake),
    CYAML_FIELD_UINT("message", CYAML_FLAG_OPTIONAL, ds_listen_yaml, message),
    CYAML_FIELD_UINT("idle", CYAML_FLAG_OPTIONAL, ds_listen_yaml, idle),
    CYAML_FIELD_SEQUENCE("stations", CYAML_FLAG_POINTER, ds_listen_yaml, stations, &station_schema, 1,
                         DS_FRONT_STATIONS),
    CYAML_FIELD_END,
};

// As "openssl x509 -fingerprint -sha256" writes it, or 64 digits.
static bool read_fingerprint(const char *text, uint8_t ret[32])
{
    char hex[65];
    size_t n = 0;
    for (; *text; text++) {
        if (*text == ':')
            continue;
        if (n == sizeof hex - 1)
            return false;
        hex[n++] = *text >= 'A' && *text <= 'F' ? (char)(*text - 'A' + 'a') : *text;
    }
    hex[n] = '\0';
    return ds_unhex(hex, ret, 32);
}

static enum ds_class take_station(const char *path, const ds_listen_yaml *y, unsigned i, ds_front_station *ret,
                                  ds_err *e)
{
    const ds_listen_station *s = &y->stations[i];
    for (unsigned n = 0; n < i; n++)
        if (strcmp(y->stations[n].name, s->name) == 0)
            return ds_fail(e, DS_INPUT, "%s: listen: two stations are named '%s'", path, s->name);
    *ret = (ds_front_station){
        .name = s->name,
        .pinned = s->fingerprint != NULL,
        .recipes = (const char *const *)s->recipes,
        .recipe_count = s->recipes_count,
        .first = s->first,
        .last = s->last,
        .revoke = (enum ds_front_revoke)s->revoke,
        .log = s->log,
        .connections = s->connections ? s->connections : 16,
    };
    if (!s->fingerprint && !y->ca)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "%s: listen: nothing tells the certificate of station %s", path, s->name), e),
            "name the stations' ca, or the fingerprint of this one's certificate");
    if (s->fingerprint && !read_fingerprint(s->fingerprint, ret->fingerprint))
        return ds_hint((ds_fail(e, DS_INPUT, "%s: listen: station %s: not a SHA-256 fingerprint", path, s->name), e),
                       "openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE prints it");
    if (!s->first != !s->last || (s->first && ds_quota_compare(s->first, s->last) > 0))
        return ds_fail(e, DS_INPUT,
                       "%s: listen: station %s: first and last must be serial numbers in their order, both or none",
                       path, s->name);
    if (ret->connections > DS_FRONT_CONNECTIONS)
        return ds_fail(e, DS_INPUT, "%s: listen: station %s: connections must be 1 to %d", path, s->name,
                       DS_FRONT_CONNECTIONS);
    return DS_OK;
}

static enum ds_class check(const char *path, const ds_front_config *c, ds_err *e)
{
    unsigned total = 0;
    for (size_t i = 0; i < c->station_count; i++)
        total += c->stations[i].connections;
    if (total > DS_FRONT_TOTAL)
        return ds_fail(e, DS_INPUT, "%s: listen: the stations have %u connections together, and %d are the most", path,
                       total, DS_FRONT_TOTAL);
    if (c->strangers > DS_FRONT_STRANGERS)
        return ds_fail(e, DS_INPUT, "%s: listen: strangers must be 1 to %d", path, DS_FRONT_STRANGERS);
    if (c->handshake_s > 600 || c->message_s > 600 || c->idle_s > 86400)
        return ds_fail(e, DS_INPUT, "%s: listen: handshake and message must be 1 to 600 s, idle 1 to 86400", path);
    if (strncmp(c->self.key, "file:", 5) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: listen: key: not a file", path), e),
                       "who speaks with the network opens no token: write file:PATH");
    return DS_OK;
}

static uint32_t or_else(uint32_t given, uint32_t otherwise)
{
    return given ? given : otherwise;
}

enum ds_class ds_listen_make(const char *path, const ds_listen_yaml *y, ds_front_config **ret, ds_err *e)
{
    ds_front_config *c = ds_alloc(sizeof *c);
    ds_front_station *stations = ds_alloc(y->stations_count * sizeof *stations);
    bool file = strncmp(y->key, "file:", 5) == 0;
    DS_CLEANUP_FREE char *key = ds_path_beside(path, file ? y->key + 5 : y->key);
    *c = (ds_front_config){
        .address = y->address,
        .self = {.certificate = ds_path_beside(path, y->certificate),
                 .key = file ? ds_asprintf("file:%s", key) : ds_strdup(y->key)},
        .ca = y->ca ? ds_path_beside(path, y->ca) : NULL,
        .est_address = y->est,
        .est_chain = y->est_chain ? ds_path_beside(path, y->est_chain) : NULL,
        .stations = stations,
        .station_count = y->stations_count,
        .strangers = or_else(y->strangers, 128),
        .handshake_s = or_else(y->handshake, 10),
        .message_s = or_else(y->message, 20),
        .idle_s = or_else(y->idle, 600),
    };
    enum ds_class rc = DS_OK;
    for (unsigned i = 0; !rc && i < y->stations_count; i++)
        rc = take_station(path, y, i, &stations[i], e);
    if (!rc)
        rc = check(path, c, e);
    if (rc)
        ds_listen_free(c);
    else
        *ret = c;
    return rc;
}

// Each is held once; they are const for everybody else.
static void free_held(const void *held)
{
    void *p = NULL;
    memcpy(&p, &held, sizeof p);
    free(p);
}

void ds_listen_free(ds_front_config *c)
{
    if (!c)
        return;
    free_held(c->self.certificate);
    free_held(c->self.key);
    free_held(c->ca);
    free_held(c->est_chain);
    free_held(c->stations);
    free(c);
}
