// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A strict lint of certificates, by our own reader of DER and without OpenSSL. Rules: RFC 5280 (with RFC 4055, 5480,
// 5758, 3986, 1034), IEEE 802.1AR for certificates of devices, and what AWS IoT takes. Each finding names its clause.
//
// An error is a certificate that must not exist: the signer hands none out. A warning is one that somebody will refuse
// or that another way is advised for; a note is worth knowing.
#ifndef DS_PKI_LINT_H
#define DS_PKI_LINT_H

#include "src/pki/ossl.h"

enum ds_lint_level { DS_LINT_NOTE, DS_LINT_WARNING, DS_LINT_ERROR };
enum { DS_LINT_MAX = 48 };

typedef struct ds_lint_finding {
    enum ds_lint_level level;
    const char *clause; // "RFC 5280, 4.1.2.2"
    char text[160];
} ds_lint_finding;

typedef struct ds_lint {
    ds_lint_finding finding[DS_LINT_MAX];
    size_t count;         // of them; more are counted below and not kept
    unsigned by_level[3]; // how many of each level
} ds_lint;

// Look at one certificate's DER, at most 64 KiB. Takes some microseconds, allocates nothing.
void ds_lint_certificate(ds_view der, ds_lint *ret);

// "error", "warning", "note".
const char *ds_lint_level_name(enum ds_lint_level level);

// Demand that a certificate has no finding that is an error. DS_POLICY names the first one and its clause.
enum ds_class ds_lint_demand(X509 *cert, ds_err *e) DS_MUST;
// The same of a TBSCertificate's DER, before anything is signed.
enum ds_class ds_lint_demand_tbs(ds_view tbs, ds_err *e) DS_MUST;

#endif
