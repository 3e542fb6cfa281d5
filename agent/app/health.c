// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The health report; see stamp.h. It says of itself what a report to the station would, without a signature: the
// connection it is published over is the device's own.
#include "agent/app/internal.h"
#include "agent/app/stamp.h"

#include <stdio.h>
#include <string.h>

ds_status ds_stamp_health(ds_agent *a, ds_health *ret)
{
    ds_security security = {0};
    ds_identity identity = {0};
    enum ds_area area = DS_AREA_PLAIN;
    memset(ret, 0, sizeof *ret);
    a->port->security(a->port->ctx, &security);
    a->port->identity(a->port->ctx, &identity);
    ds_status s = ds_store_stage(a, &ret->stage);
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "serial", ret->serial, sizeof ret->serial);
    if (s == DS_STATUS_OK)
        s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK && area == DS_AREA_ENCRYPTED) {
        ret->free_bytes = a->port->area_free(a->port->ctx, area);
        s = ds_store_mark(a, area, DS_VALUE_RESET, &ret->reset_pending);
    }
    memcpy(ret->project, identity.project, sizeof ret->project - 1);
    memcpy(ret->version, identity.version, sizeof ret->version - 1);
    ret->secure_boot = security.secure_boot;
    ret->flash_encryption = security.flash_encryption;
    ret->release_mode = security.release_mode;
    ret->jtag_disabled = security.jtag_disabled;
    ret->download = security.download;
    ret->secure_version = security.secure_version;
    ret->last_status = a->last_status;
    ret->endpoint_reached = a->endpoint_reached;
    return s;
}

static const char *word(const char *const *words, size_t count, int at)
{
    return at >= 0 && (size_t)at < count ? words[at] : "unknown";
}

static const char *truth(bool v)
{
    return v ? "true" : "false";
}

size_t ds_stamp_health_json(const ds_health *h, char *buf, size_t cap)
{
    static const char *const stages[] = {"fresh", "keyed", "certified", "stamped", "sealed"};
    static const char *const downloads[] = {"open", "secure", "closed"};
    char serial[6 * DS_AGENT_SERIAL_MAX + 1], project[6 * 32 + 1], version[6 * 32 + 1];
    if (cap < DS_HEALTH_JSON_MAX)
        return 0;
    ds_app_json_text(serial, h->serial);
    ds_app_json_text(project, h->project);
    ds_app_json_text(version, h->version);
    int n = snprintf(
        buf, cap,
        "{\"serial\":\"%s\",\"project\":\"%s\",\"version\":\"%s\",\"stage\":\"%s\",\"secure_boot\":%s,"
        "\"flash_encryption\":%s,\"release_mode\":%s,\"jtag_disabled\":%s,\"download\":\"%s\",\"secure_version\":%lu,"
        "\"last_status\":\"%08lx\",\"endpoint_reached\":%s,\"reset_pending\":%s,\"free_bytes\":%lu}",
        serial, project, version, word(stages, sizeof stages / sizeof stages[0], h->stage), truth(h->secure_boot),
        truth(h->flash_encryption), truth(h->release_mode), truth(h->jtag_disabled),
        word(downloads, sizeof downloads / sizeof downloads[0], h->download), (unsigned long)h->secure_version,
        (unsigned long)h->last_status, truth(h->endpoint_reached), truth(h->reset_pending),
        (unsigned long)h->free_bytes);
    return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}
