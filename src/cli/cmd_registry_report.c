// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry report: who is not admitted, and why; and what is isolated. Text or JSON.
#include "src/base/clock.h"
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/cloud/registry_import.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct pages {
    json_t *isolations, *devices; // NULL: text
    const uint8_t *ca;            // NULL: of all
} pages;

static void format_until(int64_t utc, char ret[21])
{
    if (utc == DS_REGISTRY_FOR_EVER)
        memcpy(ret, "for ever", sizeof "for ever");
    else
        ds_utc_format(utc, ret);
}

static void show_isolation(void *arg, const ds_registry_isolation *i)
{
    pages *p = arg;
    char ca[65], from[21], until[21], at[21];
    if (p->ca && memcmp(p->ca, i->ca, 32) != 0)
        return;
    ds_hex(i->ca, sizeof i->ca, ca);
    ds_utc_format(i->from_utc, from);
    format_until(i->until_utc, until);
    ds_utc_format(i->set_utc, at);
    if (!p->isolations) {
        printf("isolated  CA %.16s  issued from %s until %s  %s since %s\n", ca, from, until,
               ds_registry_state_name(i->state), at);
        return;
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "ca_id", ca, "issued_from", from, "state",
                          ds_registry_state_name(i->state), "set_at", at);
    json_object_set_new(j, "issued_until", i->until_utc == DS_REGISTRY_FOR_EVER ? json_null() : json_string(until));
    json_array_append_new(p->isolations, j);
}

static void set_time(json_t *j, const char *key, bool known, int64_t utc)
{
    char text[21];
    ds_utc_format(utc, text);
    json_object_set_new(j, key, known ? json_string(text) : json_null());
}

static void show_outcast(void *arg, const ds_registry_outcast *o)
{
    pages *p = arg;
    char id[65], ca[65], issued[21] = "not in the log", seen[21] = "never";
    ds_hex(o->id, sizeof o->id, id);
    ds_hex(o->ca, sizeof o->ca, ca);
    if (o->entry)
        ds_utc_format(o->issued_utc, issued);
    if (o->registered)
        ds_utc_format(o->last_seen_utc, seen);
    if (!p->devices) {
        printf("out       %-24s issued %-20s  seen %-20s  %.16s  %s\n", o->name[0] ? o->name : "-", issued, seen, id,
               o->why);
        return;
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:b}", "certificate_id", id, "ca_id", ca, "why", o->why, "registered",
                          o->registered);
    json_object_set_new(j, "name", o->name[0] ? json_string(o->name) : json_null());
    json_object_set_new(j, "log_entry", o->entry ? json_integer((json_int_t)o->entry) : json_null());
    set_time(j, "issued_at", o->entry != 0, o->issued_utc);
    set_time(j, "registered_at", o->registered, o->registered_utc);
    set_time(j, "last_seen", o->registered, o->last_seen_utc);
    json_array_append_new(p->devices, j);
}

int ds_registry_cmd_report(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    uint8_t ca[32];
    pages p = {.isolations = o->json ? json_array() : NULL,
               .devices = o->json ? json_array() : NULL,
               .ca = o->ca_id ? ca : NULL};
    ds_registry_report_result sum = {0};
    enum ds_class rc = o->ca_id ? ds_registry_read_ca_id(o, ca, &e) : DS_OK;
    if (!rc)
        rc = ds_registry_open_read_only(o->registry, &r, &e);
    if (!rc)
        rc = ds_registry_each_isolation(r, show_isolation, &p, &e);
    if (!rc)
        rc = ds_registry_report(r, p.ca, show_outcast, &p, &sum, &e);
    ds_registry_close(r);
    if (!rc && o->json)
        return ds_registry_print_json(json_pack("{s:I, s:I, s:I, s:o, s:o}", "admitted", (json_int_t)sum.admitted,
                                                "out", (json_int_t)sum.out, "unseen", (json_int_t)sum.unseen,
                                                "isolations", p.isolations, "devices", p.devices));
    json_decref(p.isolations);
    json_decref(p.devices);
    if (rc)
        return ds_cli_fail(&e);
    printf("%" PRIu64 " registered devices are admitted, %" PRIu64 " are not; %" PRIu64
           " certificates that never connected would not be\n",
           sum.admitted, sum.out, sum.unseen);
    return DS_EXIT_OK;
}
