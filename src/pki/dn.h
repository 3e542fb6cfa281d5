// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Distinguished names as text. The spelling is RFC 4514's (escapes included), but the order is that of the certificate:
// "CN=…,O=…" has CN as its first RDN, as the device's firmware writes it and as recipes say it.
#ifndef DS_PKI_DN_H
#define DS_PKI_DN_H

#include "src/pki/ossl.h"

// Parse text of at most 255 bytes. Attributes: CN, O, OU, C, ST, L, serialNumber, DC, title, dnQualifier, SN, GN,
// emailAddress. Multi-valued RDNs ('+') and '#' hex values are refused. Values within RFC 5280's upper bounds; C,
// serialNumber and dnQualifier become PrintableString, DC and emailAddress IA5String, others UTF8String. Caller frees.
enum ds_class ds_dn_parse(const char *text, X509_NAME **ret, ds_err *e) DS_MUST;

// Write name as text with its terminating zero. DS_INPUT where it does not fit or holds what text cannot carry.
enum ds_class ds_dn_text(const X509_NAME *name, char *ret, size_t cap, ds_err *e) DS_MUST;

// Same attributes, same order, same characters: exact, where OpenSSL's own comparison folds case and spaces. The string
// type does not count, since requests choose it differently.
bool ds_dn_equal(const X509_NAME *a, const X509_NAME *b);

#endif
