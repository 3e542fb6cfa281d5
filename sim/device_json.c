// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device as JSON (RFC 8259), for devices.json and for status. tcp and rfc2217 are ports on 127.0.0.1.
#include "sim/device.h"

#include <stdio.h>
#include <string.h>

static void add_text(ds_buf *out, const char *text)
{
    ds_buf_add(out, text, strlen(text));
}

static void add_name(ds_buf *out, const char *name)
{
    if (out->len && out->ptr[out->len - 1] != '{')
        add_text(out, ",");
    add_text(out, "\"");
    add_text(out, name);
    add_text(out, "\":");
}

static void add_string(ds_buf *out, const char *name, const char *value)
{
    add_name(out, name);
    add_text(out, "\"");
    for (; *value; value++) {
        char code[8];
        if ((unsigned char)*value < 0x20) {
            snprintf(code, sizeof code, "\\u%04x", (unsigned char)*value);
            add_text(out, code);
            continue;
        }
        if (*value == '"' || *value == '\\')
            add_text(out, "\\");
        ds_buf_add(out, value, 1);
    }
    add_text(out, "\"");
}

static void add_number(ds_buf *out, const char *name, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    add_name(out, name);
    add_text(out, digits);
}

static void add_status(const ds_sim_device *d, ds_buf *out)
{
    add_string(out, "power", d->power ? "on" : "off");
    add_name(out, "in_reset");
    add_text(out, d->lines.held ? "true" : "false");
    add_number(out, "runs", d->runs);
    add_number(out, "crashes", d->crashes);
    add_number(out, "flash_ops", d->shared->flash_ops);
    add_number(out, "wire_bytes", d->shared->fault.wire_bytes);
}

void ds_sim_device_json(const ds_sim_device *d, bool status, ds_buf *out)
{
    char mac[18];
    ds_sim_mac_text(d->spec.mac, mac);
    add_text(out, "{");
    add_number(out, "device", d->index);
    add_string(out, "chip", d->spec.chip->name);
    add_string(out, "mac", mac);
    add_number(out, "revision", d->spec.revision);
    add_number(out, "flash_size", d->spec.flash_size);
    add_number(out, "tcp", d->consoles[DS_SIM_CONSOLE_TCP].port);
    add_number(out, "rfc2217", d->consoles[DS_SIM_CONSOLE_RFC2217].port);
    add_string(out, "pty", d->consoles[DS_SIM_CONSOLE_PTY].pty);
    add_string(out, "pty_link", d->pty_link);
    add_string(out, "flash", d->files.flash);
    add_string(out, "efuse", d->files.efuse);
    if (status)
        add_status(d, out);
    add_text(out, "}");
}
