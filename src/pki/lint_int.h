// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of the lint share: the certificate as far as it was read, and how something is said of it.
#ifndef DS_PKI_LINT_INT_H
#define DS_PKI_LINT_INT_H

#include "src/pki/tlv.h"
#include "src/pki/lint.h"

// Key usage by bit number (RFC 5280, 4.2.1.3).
enum { KU_SIGN = 1 << 0, KU_AGREE = 1 << 4, KU_CERTS = 1 << 5, KU_CRLS = 1 << 6, KU_ENCIPHER_ONLY = 3 << 7 };

typedef struct ds_linting {
    ds_lint *out;
    bool v3, self_issued;
    bool subject_empty, subject_serial; // the subject holds the attribute serialNumber
    bool no_expiry;
    bool elliptic; // the public key's kind
    bool has_extensions;
    bool has_bc, ca, has_path_len, bc_critical;
    bool has_ku, ku_critical;
    unsigned ku;
    bool has_skid, has_akid;
    bool has_san, san_critical, hardware_name;
    bool has_eku, client_auth, server_auth;
    bool has_constraints;
} ds_linting;

void ds_lint_say(ds_linting *l, enum ds_lint_level level, const char *clause, const char *fmt, ...) DS_PRINTF(4, 5);
#define ERROR(clause, ...) ds_lint_say(l, DS_LINT_ERROR, clause, __VA_ARGS__)
#define WARNING(clause, ...) ds_lint_say(l, DS_LINT_WARNING, clause, __VA_ARGS__)
#define NOTE(clause, ...) ds_lint_say(l, DS_LINT_NOTE, clause, __VA_ARGS__)

// A Name's contents (the RDNs) and, by GeneralNames' contents, subjectAltName; what: "subject", "issuer".
void ds_lint_name(ds_linting *l, const char *what, ds_view rdns, bool *ret_serial);
void ds_lint_general_names(ds_linting *l, const char *what, ds_view names);
// Extensions' contents.
void ds_lint_extensions(ds_linting *l, ds_view list);
// What only the whole certificate shows: CA or not, device, AWS IoT.
void ds_lint_role(ds_linting *l);

static inline bool ds_oid_is(ds_view oid, const char *bytes, size_t len)
{
    return ds_view_equal(oid, (ds_view){(const uint8_t *)bytes, len});
}
#define OID_IS(oid, literal) ds_oid_is(oid, literal, sizeof(literal) - 1)

#endif
