// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Addresses of slots; see transport.h.
#include "src/link/transport.h"

#include "src/link/transport_open.h"

#include <string.h>

typedef enum ds_class (*opener)(const char *rest, ds_transport **ret, ds_err *e);

static const struct {
    const char *prefix;
    opener open;
} kinds[] = {
    {"tcp://", ds_tcp_open},
    {"rfc2217://", ds_rfc2217_open},
    {"serial:", ds_serial_open},
};

enum ds_class ds_transport_open(const char *address, ds_transport **ret, ds_err *e)
{
    opener open = NULL;
    const char *rest = address;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !open; i++) {
        size_t n = strlen(kinds[i].prefix);
        if (strncmp(address, kinds[i].prefix, n) == 0) {
            open = kinds[i].open;
            rest = address + n;
        }
    }
    if (!open && address[0] == '/')
        open = ds_serial_open;
    if (!open) {
        ds_fail(e, DS_INPUT, "open %s: not an address of a device", address);
        return ds_hint(e, "write /dev/ttyUSB0, tcp://host:port or rfc2217://host:port");
    }
    if (open(rest, ret, e))
        return ds_wrap(e, "open %s", address);
    return DS_OK;
}

void ds_transport_close(ds_transport *t)
{
    if (t)
        t->close(t);
}
