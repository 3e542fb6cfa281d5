// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Serial numbers: a recipe's format made into one device's number, given once. Only letters, digits and -._: are let
// through: a serial number becomes a certificate's common name, a client id and a level of an MQTT topic.
#include "src/ledger/internal.h"
#include "src/ledger/lists.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIAL_CAP = 64, DIGITS_MAX = 12 };

typedef struct maker {
    const ds_ledger_device *device;
    int64_t counter; // value to use where the format asks
    bool counted;    // it did ask
    char *out;
    size_t len;
} maker;

static bool put(maker *m, const char *text)
{
    size_t len = strlen(text);
    if (len >= SERIAL_CAP - m->len)
        return false;
    memcpy(m->out + m->len, text, len + 1);
    m->len += len;
    return true;
}

static enum ds_class put_counter(maker *m, int width, ds_err *e)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%0*lld", width, (long long)m->counter);
    if (width > 0 && len > width) {
        ds_fail(e, DS_POLICY, "serial numbers of %d digits are used up for product '%s'", width, m->device->product);
        return ds_hint(e, "give the recipe's serial format a wider {counter:N}");
    }
    m->counted = true;
    return put(m, text) ? DS_OK : ds_fail(e, DS_INPUT, "serial number longer than %d bytes", SERIAL_CAP - 1);
}

static enum ds_class put_field(maker *m, const char *name, ds_err *e)
{
    int width = 0, end = 0;
    if (strcmp(name, "mac") == 0) {
        char text[13];
        ds_hex(m->device->mac, 6, text);
        for (char *p = text; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        return put(m, text) ? DS_OK : ds_fail(e, DS_INPUT, "serial number longer than %d bytes", SERIAL_CAP - 1);
    }
    if (strcmp(name, "counter") == 0)
        return put_counter(m, 0, e);
    if (sscanf(name, "counter:%2d%n", &width, &end) == 1 && !name[end] && isdigit((unsigned char)name[8]) &&
        width >= 1 && width <= DIGITS_MAX)
        return put_counter(m, width, e);
    return ds_fail(e, DS_INPUT, "serial format: '{%s}' is none of {mac}, {counter}, {counter:1} to {counter:%d}", name,
                   DIGITS_MAX);
}

static enum ds_class put_literal(maker *m, char c, ds_err *e)
{
    if (!isalnum((unsigned char)c) && !strchr("-._:", c))
        return ds_fail(e, DS_INPUT, "serial format: may hold letters, digits and -._: only");
    return put(m, (char[]){c, '\0'}) ? DS_OK
                                     : ds_fail(e, DS_INPUT, "serial number longer than %d bytes", SERIAL_CAP - 1);
}

static enum ds_class make(maker *m, const char *format, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (const char *p = format; *p && !rc; p++) {
        if (*p != '{') {
            rc = put_literal(m, *p, e);
            continue;
        }
        const char *end = strchr(p, '}');
        char name[16];
        size_t len = end ? (size_t)(end - p - 1) : 0;
        if (!end || len >= sizeof name)
            return ds_fail(e, DS_INPUT, "serial format: '{' without a known name and '}'");
        memcpy(name, p + 1, len);
        name[len] = '\0';
        rc = put_field(m, name, e);
        p = end;
    }
    if (!rc && m->len == 0)
        rc = ds_fail(e, DS_INPUT, "serial format: is empty");
    return rc;
}

static enum ds_class store(ds_ledger *l, const maker *m, ds_err *e)
{
    int64_t owner = 0;
    enum ds_class rc =
        ds_sql_number(&l->sql, "SELECT id FROM device WHERE serial = ?", DS_ARGS(DS_TEXT(m->out)), 0, &owner, e);
    if (!rc && owner) {
        ds_fail(e, DS_POLICY, "serial number '%s' belongs to another device", m->out);
        return ds_hint(e, "put {mac} or {counter} into the recipe's serial format");
    }
    if (!rc && m->counted)
        rc = ds_ledger_counter_take(l, m->device->product, m->counter, e);
    if (!rc)
        rc = ds_sql_run(&l->sql, "UPDATE device SET serial = ? WHERE id = ?",
                        DS_ARGS(DS_TEXT(m->out), DS_INT(m->device->id)), e);
    DS_CLEANUP_FREE char *text = ds_asprintf("serial number %s", m->out);
    return rc ? rc : ds_ledger_append(l, m->device->id, DS_LEDGER_KIND_DEVICE, text, e);
}

static enum ds_class assign(ds_ledger *l, int64_t device, const char *format, char ret[SERIAL_CAP], ds_err *e)
{
    ds_ledger_device d;
    int64_t next = 0;
    enum ds_class rc = ds_ledger_load_device(l, device, &d, e);
    if (rc)
        return rc;
    if (d.serial[0]) {
        memcpy(ret, d.serial, SERIAL_CAP);
        return DS_OK;
    }
    if (strcmp(format, "{list}") == 0) {
        maker m = {.device = &d, .out = ret};
        rc = ds_ledger_serial_claim(l, d.product, ret, e);
        return rc ? rc : store(l, &m, e);
    }
    if (strstr(format, "{counter"))
        rc = ds_ledger_counter_next(l, d.product, &next, e);
    if (rc)
        return rc;
    maker m = {.device = &d, .counter = next, .out = ret};
    rc = make(&m, format, e);
    return rc ? rc : store(l, &m, e);
}

enum ds_class ds_ledger_device_serial(ds_ledger *l, int64_t device, const char *format, char ret[64], ds_err *e)
{
    char serial[SERIAL_CAP] = "";
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        serial[0] = '\0';
        rc = assign(l, device, format, serial, e);
    } while (ds_ledger_again(l, &rc, e));
    if (!rc)
        memcpy(ret, serial, sizeof serial);
    return rc;
}
