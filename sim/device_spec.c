// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Device descriptions; see device_spec.h.
#include "sim/device_spec.h"

#include "sim/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)

void ds_sim_mac_text(const uint8_t mac[6], char ret[18])
{
    snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static bool parse_mac(const char *s, uint8_t ret[6])
{
    if (strlen(s) != 17)
        return false;
    for (int i = 0; i < 6; i++, s += 3) {
        char pair[3] = {s[0], s[1], '\0'};
        if (!ds_unhex(pair, &ret[i], 1) || (i < 5 && s[2] != ':'))
            return false;
    }
    return (ret[0] & 1) == 0; // a group address names no device
}

static bool parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 0);
    if (*s < '0' || *s > '9' || errno || *end || v > max)
        return false;
    *ret = v;
    return true;
}

// "3", "3.0", "v0.4"
static bool parse_revision(const char *s, uint16_t *ret)
{
    char text[8];
    uint64_t major = 0, minor = 0;
    if (*s == 'v')
        s++;
    if (snprintf(text, sizeof text, "%s", s) >= (int)sizeof text)
        return false;
    char *dot = strchr(text, '.');
    if (dot)
        *dot = '\0';
    if (!parse_u64(text, 15, &major) || (dot && !parse_u64(dot + 1, 99, &minor)))
        return false;
    *ret = (uint16_t)(major * 100 + minor);
    return true;
}

static bool parse_size(const char *s, uint32_t *ret)
{
    size_t len = strlen(s);
    char digits[4];
    uint64_t mb = 0;
    if (len < 3 || len > 4 || (strcmp(s + len - 2, "MB") != 0))
        return false;
    snprintf(digits, sizeof digits, "%.*s", (int)len - 2, s);
    if (!parse_u64(digits, 16, &mb) || mb == 0 || (mb & (mb - 1)) != 0)
        return false;
    *ret = (uint32_t)mb * MIB;
    return true;
}

static void take(char **field, const char *value)
{
    free(*field);
    *field = ds_strdup(value);
}

static bool set_field(ds_sim_device_spec *s, const char *key, const char *value, bool *known, bool *has_mac)
{
    *known = true;
    if (strcmp(key, "chip") == 0)
        return (s->chip = ds_chip_by_name(value)) != NULL;
    if (strcmp(key, "mac") == 0)
        return *has_mac = parse_mac(value, s->mac);
    if (strcmp(key, "rev") == 0)
        return parse_revision(value, &s->revision);
    if (strcmp(key, "flash") == 0)
        return parse_size(value, &s->flash_size);
    if (strcmp(key, "seed") == 0)
        return parse_u64(value, UINT64_MAX, &s->seed);
    if (strcmp(key, "timing") == 0)
        return (s->timing = strcmp(value, "on") == 0) || strcmp(value, "off") == 0;
    if (strcmp(key, "power") == 0)
        return (s->off = strcmp(value, "off") == 0) || strcmp(value, "on") == 0;
    if (strcmp(key, "image") == 0) {
        take(&s->image, value);
        return *value != '\0';
    }
    if (strcmp(key, "fault") == 0) {
        take(&s->fault, value);
        for (char *p = s->fault; *p; p++)
            if (*p == '+')
                *p = ',';
        ds_sim_fault plan;
        return ds_sim_fault_parse(s->fault, &plan, NULL) == DS_OK;
    }
    return *known = false;
}

static enum ds_class parse_item(ds_sim_device_spec *s, const char *item, bool *has_mac, ds_err *e)
{
    char key[16];
    const char *eq = strchr(item, '=');
    bool known = false;
    if (!eq || (size_t)(eq - item) >= sizeof key)
        return ds_fail(e, DS_USAGE, "device: '%s' is not key=value", item);
    snprintf(key, sizeof key, "%.*s", (int)(eq - item), item);
    if (set_field(s, key, eq + 1, &known, has_mac))
        return DS_OK;
    if (!known) {
        ds_fail(e, DS_USAGE, "device: no such key '%s'", key);
        return ds_hint(e, "known: chip, mac, rev, flash, image, fault, timing, seed, power");
    }
    ds_fail(e, DS_USAGE, "device: bad value '%s'", item);
    return ds_hint(e,
                   "as in chip=esp32c3,mac=24:0a:c4:00:00:01,rev=0.4,flash=4MB,timing=on,seed=7,fault=cut@100+seed=3");
}

// Espressif's OUI 24:0A:C4 and three bytes of the seed; steps of 4, as each chip has four addresses.
static void default_mac(uint64_t seed, unsigned index, uint8_t ret[6])
{
    uint64_t state = seed;
    uint32_t low = ((uint32_t)ds_sim_random(&state) + 4 * index) & 0xFFFFFC;
    const uint8_t mac[6] = {0x24, 0x0A, 0xC4, (uint8_t)(low >> 16), (uint8_t)(low >> 8), (uint8_t)low};
    memcpy(ret, mac, sizeof mac);
}

enum ds_class ds_sim_device_spec_parse(const char *text, unsigned index, ds_sim_device_spec *ret, ds_err *e)
{
    *ret = (ds_sim_device_spec){.flash_size = 4 * MIB, .revision = UINT16_MAX, .seed = 1};
    DS_CLEANUP_FREE char *copy = ds_strdup(text);
    bool has_mac = false;
    char *rest = copy;
    for (char *item; (item = strsep(&rest, ",")) != NULL;) {
        enum ds_class rc = parse_item(ret, item, &has_mac, e);
        if (rc)
            return rc;
    }
    if (!ret->chip)
        return ds_fail(e, DS_USAGE, "device: '%s' does not say which chip", text);
    if (ret->revision == UINT16_MAX)
        ret->revision = ret->chip->id == DS_CHIP_ESP32 ? 300 : 4;
    if (!has_mac)
        default_mac(ret->seed, index, ret->mac);
    return DS_OK;
}

void ds_sim_device_spec_free(ds_sim_device_spec *s)
{
    free(s->image);
    free(s->fault);
    *s = (ds_sim_device_spec){0};
}

char *ds_sim_device_spec_text(const ds_sim_device_spec *s)
{
    char mac[18];
    ds_sim_mac_text(s->mac, mac);
    return ds_asprintf("chip=%s,mac=%s,rev=%u.%u,flash=%uMB,seed=%llu,timing=%s", s->chip->name, mac, s->revision / 100,
                       s->revision % 100, s->flash_size / MIB, (unsigned long long)s->seed, s->timing ? "on" : "off");
}
