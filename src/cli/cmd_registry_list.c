// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry list: registered CAs and devices, as text or JSON.
#include "src/base/clock.h"
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"

#include <stdio.h>

static void hex_of(const uint8_t id[32], char ret[65])
{
    ds_hex(id, 32, ret);
}

static bool list_ca(void *arg, const ds_registry_ca *ca)
{
    char id[65], at[21];
    json_t *cas = arg;
    bool signs = ca->role == DS_REGISTRY_DEVICES;
    hex_of(ca->id, id);
    ds_utc_format(ca->registered_utc, at);
    if (!cas) {
        printf("CA      %-9s %-8s %-8s %-7s %s  %.16s  %s\n", ds_registry_role_name(ca->role),
               ca->active ? "active" : "inactive", signs ? ds_registry_policy_name(ca->policy) : "-",
               signs ? ds_registry_registration_name(ca->registration) : "-", at, id, ca->subject);
        return true;
    }
    json_t *j = json_pack("{s:s, s:s, s:b, s:s, s:s}", "id", id, "role", ds_registry_role_name(ca->role), "active",
                          ca->active, "registered_at", at, "subject", ca->subject);
    json_object_set_new(j, "auto_registration", json_boolean(ca->registration != DS_REGISTRY_OFF));
    json_object_set_new(j, "registration", json_string(ds_registry_registration_name(ca->registration)));
    if (signs) {
        json_object_set_new(j, "policy", json_string(ds_registry_policy_name(ca->policy)));
        json_object_set_new(j, "rate", json_integer(ca->rate));
        json_object_set_new(j, "log_entries", json_integer((json_int_t)ca->log_size));
        json_object_set_new(j, "log_key_known", json_boolean(ca->log_key_known));
    }
    json_array_append_new(cas, j);
    return true;
}

static bool list_device(void *arg, const ds_registry_device *d)
{
    char id[65], ca[65], at[21], seen[21];
    json_t *devices = arg;
    hex_of(d->id, id);
    hex_of(d->ca, ca);
    ds_utc_format(d->registered_utc, at);
    ds_utc_format(d->last_seen_utc, seen);
    if (!devices) {
        printf("device  %-24s %-8s registered %s  seen %s  %.16s\n", d->name, ds_registry_state_name(d->state), at,
               seen, id);
        return true;
    }
    json_array_append_new(devices, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "certificate_id", id, "name", d->name,
                                             "ca_id", ca, "state", ds_registry_state_name(d->state), "registered_at",
                                             at, "last_seen", seen));
    return true;
}

static void list_unseen(void *arg, const uint8_t id[32], int64_t refused_utc)
{
    char hex[65], at[21];
    hex_of(id, hex);
    ds_utc_format(refused_utc, at);
    if (!arg)
        printf("never   %-24s %-8s since %s  %.16s\n", "-", "revoked", at, hex);
    else
        json_array_append_new(arg, json_pack("{s:s, s:s}", "certificate_id", hex, "revoked_at", at));
}

int ds_registry_print_json(json_t *value)
{
    int rc = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(value);
    return rc == 0 ? DS_EXIT_OK : DS_EXIT_INTERNAL;
}

int ds_registry_cmd_list(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    json_t *cas = o->json ? json_array() : NULL, *devices = o->json ? json_array() : NULL,
           *unseen = o->json ? json_array() : NULL;
    enum ds_class rc = ds_registry_open_read_only(o->registry, &r, &e);
    if (!rc)
        rc = ds_registry_each_ca(r, list_ca, cas, &e);
    if (!rc)
        rc = ds_registry_each(r, list_device, devices, &e);
    if (!rc)
        rc = ds_registry_each_unseen(r, list_unseen, unseen, &e);
    ds_registry_close(r);
    if (!rc && o->json)
        return ds_registry_print_json(
            json_pack("{s:o, s:o, s:o}", "cas", cas, "devices", devices, "revoked_unseen", unseen));
    json_decref(unseen);
    json_decref(cas);
    json_decref(devices);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
