// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of this room share.
#ifndef DS_CLOUD_INTERNAL_H
#define DS_CLOUD_INTERNAL_H

#include "src/cloud/registry.h"
#include "src/ledger/sql.h"

#include <openssl/x509.h>

struct ds_registry {
    ds_sql sql;
    int64_t data_version; // as ds_registry_changed last saw it
};

// Is this the certificate of a device (or service) at this time? RFC 5280 4.2.1.3, 4.2.1.9, 4.2.1.12: no CA, may sign,
// clientAuth, no unknown critical extension, strong key. DS_POLICY says why not.
enum ds_class ds_admission_profile(X509 *leaf, int64_t now_utc, ds_err *e) DS_MUST;

// Its one common name, if it can be a topic level and a client id: letters, digits and -._: only.
enum ds_class ds_admission_name(const X509 *leaf, char ret[65], ds_err *e) DS_MUST;

// Did this CA issue it: name, key identifier, signature, and is the CA itself valid at this time?
enum ds_class ds_admission_issuer(X509 *leaf, X509 *ca, int64_t now_utc, ds_err *e) DS_MUST;

// May this certificate be registered as a CA?
enum ds_class ds_admission_ca(X509 *ca, ds_err *e) DS_MUST;

#endif
