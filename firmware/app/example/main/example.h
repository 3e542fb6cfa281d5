// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of the example share.
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <stdbool.h>

// Start the network; returns at once. network_wifi.c, network_openeth.c or network_none.c.
void example_network_start(void);

// Wait for the owner on a Wi-Fi network of the device's own, once; esp_wifi_init() was called. station: a station runs,
// and goes on. Restarts the device once it has credentials.
void example_owner_start(bool station);

// Answer the owner by HTTP, on every network there is, and on the console. False where it cannot.
bool example_owner_listen(void);

// An update that was just booted has EXAMPLE_SELF_CHECK_S seconds to reach its endpoint; else the one before comes
// back.
void example_self_check_start(void);
void example_self_check_passed(void);

// Fetch a signed image by HTTPS and restart into it; does nothing where one is being fetched. ca: PEM of whom the
// server is checked against; must stay valid.
void example_ota_start(const char *url, unsigned url_len, const char *ca);

#endif
