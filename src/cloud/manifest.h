// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Device manifests: which devices are made, as rolls (src/ledger/roll.h) of one entry a device, in order of their
// certificates' fingerprints. An entry says only what never changes, so that it can be made again from the ledger.
// docs/manifest.md fixes the bytes of entries and of the formats for others.
#ifndef DS_CLOUD_MANIFEST_H
#define DS_CLOUD_MANIFEST_H

#include "src/ledger/roll.h"
#include "src/ledger/walk.h"

#include <openssl/x509.h>
#include <stdio.h>

typedef struct ds_listed {
    char serial[64], product[64];
    uint8_t fingerprint[32];
    ds_buf certificate; // DER; owned
} ds_listed;
void ds_listed_free(ds_listed *d);
// Append the entry. DS_INPUT: the device has no serial number, or a text is not UTF-8.
enum ds_class ds_listed_write(const ds_ledger_entry *x, ds_buf *ret, ds_err *e) DS_MUST;
// DS_INPUT: not in its one spelling, or the fingerprint is not the certificate's.
enum ds_class ds_listed_parse(ds_view entry, ds_listed *ret, ds_err *e) DS_MUST;
// An entry of a list of serial numbers.
enum ds_class ds_listed_serial_write(const char *serial, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_listed_serial_parse(ds_view entry, char ret[64], ds_err *e) DS_MUST;

// Which devices: all that are told apply. Certificates that are revoked are never among them.
typedef struct ds_manifest_choice {
    char product[64];            // "": any
    X509 *ca;                    // of whose certificates; NULL: of any; borrowed
    uint8_t ca_id[32];           // SHA-256 of ca; or, read from a manifest without ca, what it must be
    bool by_ca;                  //
    int64_t from_utc, until_utc; // signed at or after, before; 0: no bound
    bool not_installed;          // those too whose device has not yet echoed its certificate
    char name[64];               // the export is recorded in the ledger under this name; "": it is not
    bool fresh;                  // only those that were in no export of that name
    const char *const *serial;   // only those; NULL: all
    size_t serial_count;
    bool only; // read from a manifest: it was made with serial
} ds_manifest_choice;
// What a manifest says of its choice, for its head; and back.
enum ds_class ds_manifest_about(const ds_manifest_choice *c, char ret[DS_ROLL_ABOUT_MAX], ds_err *e) DS_MUST;
enum ds_class ds_manifest_choice_parse(const char *about, ds_manifest_choice *ret, ds_err *e) DS_MUST;

// Collect the entries. DS_INPUT: a serial number that was named is not among them, tells which.
enum ds_class ds_manifest_collect(ds_ledger *l, const ds_manifest_choice *c, ds_roll_spool *ret, ds_err *e) DS_MUST;
// Record the export, from the spool it was written from (which is rewound).
enum ds_class ds_manifest_record(ds_ledger *l, const ds_manifest_choice *c, ds_roll_spool *s, ds_err *e) DS_MUST;

// Make what the files lack again from the ledger, and write the whole under the old signature. ca: of the choice, where
// it names one. told (may be NULL) hears of each entry that was made again. DS_INPUT: something cannot be made again,
// says which entries and why; nothing is written.
typedef struct ds_manifest_repair {
    ds_roll_files *files;
    ds_ledger *ledger;
    X509 *ca;
    void (*told)(void *arg, uint64_t index, const char *serial);
    void *arg;
} ds_manifest_repair;
enum ds_class ds_manifest_write_repaired(const ds_manifest_repair *r, const char *path, ds_err *e) DS_MUST;

// Formats of others.
enum ds_manifest_format { DS_FORMAT_AWS, DS_FORMAT_AZURE, DS_FORMAT_CSV, DS_FORMAT_JSON, DS_FORMATS };
// By name ("aws", "azure", "csv", "json"); DS_FORMATS where there is none.
enum ds_manifest_format ds_manifest_format_parse(const char *name);
typedef struct ds_manifest_printer {
    FILE *out;
    enum ds_manifest_format format;
    X509 *ca;       // aws: whose PEM goes into each line; NULL: none does
    uint64_t count; // so far
    char *ca_pem;   // made when needed; owned
} ds_manifest_printer;
enum ds_class ds_manifest_print(ds_manifest_printer *p, const ds_listed *d, ds_err *e) DS_MUST;
// After the last one. DS_STORE: it could not be written.
enum ds_class ds_manifest_print_end(ds_manifest_printer *p, ds_err *e) DS_MUST;

#endif
