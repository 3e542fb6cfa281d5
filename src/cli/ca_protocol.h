// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The protocol of a ceremony: one page of plain text, written beside the CA after each step, printed and signed by
// hand. It holds names, fingerprints and serial numbers, and nothing secret.
#ifndef DS_CLI_CA_PROTOCOL_H
#define DS_CLI_CA_PROTOCOL_H

#include "src/pki/ossl.h"

typedef struct ds_ca_protocol {
    const char *step;  // one word for the file's name: "sign"
    const char *title; // what was done
    ds_buf body;       // filled by those below
} ds_ca_protocol;

// A line "  what         value".
void ds_ca_protocol_line(ds_ca_protocol *p, const char *what, const char *fmt, ...) DS_PRINTF(3, 4);
// A certificate: names, serial number, validity, fingerprints of it and of its key, in groups to read aloud.
enum ds_class ds_ca_protocol_cert(ds_ca_protocol *p, const char *heading, X509 *cert, ds_err *e) DS_MUST;
// A file that is carried to another machine, with its SHA-256.
enum ds_class ds_ca_protocol_file(ds_ca_protocol *p, const char *what, const char *path, ds_err *e) DS_MUST;

// 32 bytes in groups of four digits: 80 bytes with the terminating zero.
void ds_ca_group(const uint8_t digest[32], char ret[80]);

// Write DIR/ceremony-TIME-STEP.txt, over no other; says so on standard output. Frees the body.
enum ds_class ds_ca_protocol_write(ds_ca_protocol *p, const char *dir, ds_err *e) DS_MUST;

#endif
