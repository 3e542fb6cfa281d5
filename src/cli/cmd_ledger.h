// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of "devstamp ledger" share.
#ifndef DS_CLI_CMD_LEDGER_H
#define DS_CLI_CMD_LEDGER_H

#include "src/ledger/ledger.h"

#include <jansson.h>

enum { DS_LEDGER_HEADS_MAX = 64 };

typedef struct ds_ledger_options {
    const char *ledger, *reason;
    const char *heads[DS_LEDGER_HEADS_MAX]; // noted, one or one for each station
    unsigned head_count;
    bool json, pem, secrets, registered;
} ds_ledger_options;

// "devstamp ledger show": one device in plain words or as JSON. Returns an exit code.
int ds_ledger_cmd_show(ds_ledger *l, const ds_ledger_options *o, const char *key);

// A device and its certificate as JSON; the caller owns it. The proof of possession only where secrets is true.
json_t *ds_ledger_row_json(const ds_ledger_device *d, const ds_ledger_cert *c, bool secrets);

// Text for a terminal: "aa:bb:cc:dd:ee:ff"; "2026-01-31T12:34:56Z" or "-"; the chip's title.
void ds_ledger_mac_text(const uint8_t mac[6], char ret[18]);
const char *ds_ledger_time_text(int64_t utc, char ret[21]);
const char *ds_ledger_chip_text(uint16_t chip_id);
// Could the device be locked? One on a platform of one's own is whole without.
bool ds_ledger_can_lock(const ds_ledger_device *d);

// The serial number of its certificate, hex; "" where a CA elsewhere chooses it and has not yet.
void ds_ledger_serial_text(const ds_ledger_cert *c, char ret[41]);

// A copy without control characters or broken UTF-8 ('?' in their place): what devices and files said may be hostile to
// a terminal and to JSON. Caller frees.
char *ds_ledger_clean_text(const char *text);

// What is recorded of the certificate: "none", "reserved" … "registered", "revoked".
const char *ds_ledger_cert_text(const ds_ledger_cert *c);

// Signed batches between ledgers; in cmd_ledger_batch.c, with options and usage of their own.
int ds_ledger_cmd_push(int argc, char **argv);
int ds_ledger_cmd_pull(int argc, char **argv);
int ds_ledger_cmd_stations(int argc, char **argv);

#endif
