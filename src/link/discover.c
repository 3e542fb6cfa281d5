// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Serial ports by USB id, so that a station need not name them.
#include "src/link/transport.h"

#include <libserialport.h>

void ds_transport_discover(uint16_t usb_vid, uint16_t usb_pid, void (*fn)(void *, const char *, const char *),
                           void *arg)
{
    struct sp_port **ports = NULL;
    if (sp_list_ports(&ports) != SP_OK)
        return;
    for (size_t i = 0; ports[i]; i++) {
        int vid = 0, pid = 0;
        if (sp_get_port_usb_vid_pid(ports[i], &vid, &pid) != SP_OK || vid != usb_vid || pid != usb_pid)
            continue;
        const char *serial = sp_get_port_usb_serial(ports[i]);
        fn(arg, sp_get_port_name(ports[i]), serial ? serial : "");
    }
    sp_free_port_list(ports);
}
