// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint of extensions (RFC 5280, 4.2), one by one.
#include "src/pki/lint_int.h"

#include <stdio.h>

enum critical { EITHER, MUST_BE, MUST_NOT_BE };

static void check_authority(ds_linting *l, ds_view v)
{
    ds_view body, id;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &body) || v.len)
        ERROR("RFC 5280, 4.2.1.1", "the authority key identifier cannot be read");
    else
        l->has_akid = ds_tlv_take(&body, DS_TLV_CONTEXT, &id) && id.len > 0;
}

static void check_subject_id(ds_linting *l, ds_view v)
{
    ds_view id;
    l->has_skid = ds_tlv_take(&v, DS_TLV_OCTET_STRING, &id) && v.len == 0 && id.len > 0;
    if (!l->has_skid)
        ERROR("RFC 5280, 4.2.1.2", "the subject key identifier cannot be read");
}

// A BIT STRING with names: no zero bit at its end (X.690, 11.2.2).
static void check_key_usage(ds_linting *l, ds_view v)
{
    ds_view bits;
    if (!ds_tlv_take(&v, DS_TLV_BIT_STRING, &bits) || v.len || bits.len < 2 || bits.len > 3 || bits.ptr[0] > 7) {
        ERROR("RFC 5280, 4.2.1.3", "the key usage cannot be read, or names no use");
        return;
    }
    l->has_ku = true;
    unsigned unused = bits.ptr[0], last = bits.ptr[bits.len - 1];
    if ((last & ((1u << unused) - 1)) || !(last >> unused & 1))
        ERROR("X.690, 11.2", "the key usage is not in its shortest form");
    for (unsigned i = 0; i < 8 * (unsigned)(bits.len - 1); i++)
        if (bits.ptr[1 + i / 8] >> (7 - i % 8) & 1)
            l->ku |= 1u << i;
    if (l->ku & KU_ENCIPHER_ONLY && !(l->ku & KU_AGREE))
        WARNING("RFC 5280, 4.2.1.3", "encipherOnly or decipherOnly without keyAgreement means nothing");
}

static void check_constraints(ds_linting *l, ds_view v)
{
    ds_view body, flag, path;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &body) || v.len) {
        ERROR("RFC 5280, 4.2.1.9", "the basic constraints cannot be read");
        return;
    }
    l->has_bc = true;
    if (ds_tlv_take(&body, DS_TLV_BOOLEAN, &flag)) {
        l->ca = flag.len == 1 && flag.ptr[0];
        if (!l->ca)
            ERROR("X.690, 11.5", "the basic constraints write out cA FALSE, which is the default");
    }
    l->has_path_len = ds_tlv_take(&body, DS_TLV_INTEGER, &path);
    if (l->has_path_len && (path.len == 0 || path.ptr[0] & 0x80))
        ERROR("RFC 5280, 4.2.1.9", "the path length is negative");
    if (body.len)
        ERROR("RFC 5280, 4.2.1.9", "the basic constraints hold more than they may");
}

static void check_alternative(ds_linting *l, ds_view v)
{
    ds_view names;
    l->has_san = true;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &names) || v.len)
        ERROR("RFC 5280, 4.2.1.6", "the alternative names cannot be read");
    else
        ds_lint_general_names(l, "subjectAltName", names);
}

static void check_extended_usage(ds_linting *l, ds_view v)
{
    ds_view list, oid, other;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &list) || v.len || list.len == 0) {
        ERROR("RFC 5280, 4.2.1.12", "the extended key usage is empty or cannot be read");
        return;
    }
    l->has_eku = true;
    while (list.len) {
        if (!ds_tlv_take(&list, DS_TLV_OID, &oid)) {
            ERROR("RFC 5280, 4.2.1.12", "the extended key usage holds what is no OID");
            return;
        }
        l->client_auth |= OID_IS(oid, "\x2b\x06\x01\x05\x05\x07\x03\x02");
        l->server_auth |= OID_IS(oid, "\x2b\x06\x01\x05\x05\x07\x03\x01");
        if (OID_IS(oid, "\x55\x1d\x25\x00"))
            WARNING("RFC 5280, 4.2.1.12", "anyExtendedKeyUsage allows everything");
        for (ds_view rest = list; ds_tlv_take(&rest, DS_TLV_OID, &other);)
            if (ds_view_equal(oid, other))
                WARNING("RFC 5280, 4.2.1.12", "the extended key usage names a use twice");
    }
}

// GeneralSubtrees: base, and neither minimum nor maximum.
static void check_subtrees(ds_linting *l, ds_view list)
{
    ds_view tree;
    ds_tlv base;
    if (list.len == 0)
        ERROR("RFC 5280, 4.2.1.10", "a list of name constraints is empty");
    while (list.len) {
        if (!ds_tlv_take(&list, DS_TLV_SEQUENCE, &tree) || !ds_tlv_next(&tree, &base)) {
            ERROR("RFC 5280, 4.2.1.10", "a name constraint cannot be read");
            return;
        }
        if (tree.len)
            ERROR("RFC 5280, 4.2.1.10", "a name constraint has a minimum or maximum");
    }
}

static void check_name_constraints(ds_linting *l, ds_view v)
{
    ds_view body, list;
    l->has_constraints = true;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &body) || v.len) {
        ERROR("RFC 5280, 4.2.1.10", "the name constraints cannot be read");
        return;
    }
    bool permitted = ds_tlv_take(&body, DS_TLV_CONTEXT | DS_TLV_CONSTRUCTED, &list);
    if (permitted)
        check_subtrees(l, list);
    bool excluded = ds_tlv_take(&body, DS_TLV_CONTEXT | DS_TLV_CONSTRUCTED | 1, &list);
    if (excluded)
        check_subtrees(l, list);
    if ((!permitted && !excluded) || body.len)
        ERROR("RFC 5280, 4.2.1.10", "the name constraints constrain nothing, or hold more than they may");
}

static void check_list(ds_linting *l, ds_view v)
{
    ds_view list;
    if (!ds_tlv_take(&v, DS_TLV_SEQUENCE, &list) || v.len || list.len == 0)
        ERROR("RFC 5280, 4.2", "an extension that is a list is empty or cannot be read");
}

static const struct known {
    const char *oid;
    size_t len;
    const char *name, *clause;
    enum critical critical;
    void (*check)(ds_linting *l, ds_view v);
} known[] = {
#define KNOWN(oid, name, clause, critical, check)                        \
    {                                                                    \
        oid, sizeof(oid) - 1, name, "RFC 5280, " clause, critical, check \
    }
    KNOWN("\x55\x1d\x23", "authority key identifier", "4.2.1.1", MUST_NOT_BE, check_authority),
    KNOWN("\x55\x1d\x0e", "subject key identifier", "4.2.1.2", MUST_NOT_BE, check_subject_id),
    KNOWN("\x55\x1d\x0f", "key usage", "4.2.1.3", EITHER, check_key_usage),
    KNOWN("\x55\x1d\x20", "certificate policies", "4.2.1.4", EITHER, check_list),
    KNOWN("\x55\x1d\x21", "policy mappings", "4.2.1.5", EITHER, check_list),
    KNOWN("\x55\x1d\x11", "subjectAltName", "4.2.1.6", EITHER, check_alternative),
    KNOWN("\x55\x1d\x12", "issuerAltName", "4.2.1.7", EITHER, check_list),
    KNOWN("\x55\x1d\x13", "basic constraints", "4.2.1.9", EITHER, check_constraints),
    KNOWN("\x55\x1d\x1e", "name constraints", "4.2.1.10", MUST_BE, check_name_constraints),
    KNOWN("\x55\x1d\x24", "policy constraints", "4.2.1.11", MUST_BE, check_list),
    KNOWN("\x55\x1d\x25", "extended key usage", "4.2.1.12", EITHER, check_extended_usage),
    KNOWN("\x55\x1d\x1f", "CRL distribution points", "4.2.1.13", EITHER, check_list),
    KNOWN("\x55\x1d\x36", "inhibitAnyPolicy", "4.2.1.14", MUST_BE, NULL),
    KNOWN("\x55\x1d\x2e", "freshest CRL", "4.2.1.15", MUST_NOT_BE, check_list),
    KNOWN("\x2b\x06\x01\x05\x05\x07\x01\x01", "authority information access", "4.2.2.1", MUST_NOT_BE, check_list),
    KNOWN("\x2b\x06\x01\x05\x05\x07\x01\x0b", "subject information access", "4.2.2.2", MUST_NOT_BE, check_list),
};

static void remember_critical(ds_linting *l, const struct known *k)
{
    if (k->check == check_constraints)
        l->bc_critical = true;
    else if (k->check == check_key_usage)
        l->ku_critical = true;
    else if (k->check == check_alternative)
        l->san_critical = true;
}

static void check_known(ds_linting *l, const struct known *k, bool critical, ds_view value)
{
    if (k->critical == MUST_BE && !critical)
        ERROR(k->clause, "%s must be critical", k->name);
    if (k->critical == MUST_NOT_BE && critical)
        ERROR(k->clause, "%s must not be critical", k->name);
    if (critical)
        remember_critical(l, k);
    if (!ds_tlv_whole(value) || value.len == 0)
        ERROR("X.690, 10", "%s is not DER", k->name);
    else if (k->check)
        k->check(l, value);
}

// Extension: { OID, critical DEFAULT FALSE, OCTET STRING }.
static bool check_extension(ds_linting *l, ds_view extension, ds_view *ret_oid)
{
    ds_view flag, value;
    bool critical = false;
    if (!ds_tlv_take(&extension, DS_TLV_OID, ret_oid))
        return false;
    if (ds_tlv_take(&extension, DS_TLV_BOOLEAN, &flag)) {
        critical = flag.len == 1 && flag.ptr[0];
        if (!critical)
            ERROR("X.690, 11.5", "an extension writes out critical FALSE, which is the default");
    }
    if (!ds_tlv_take(&extension, DS_TLV_OCTET_STRING, &value) || extension.len)
        return false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ds_oid_is(*ret_oid, known[i].oid, known[i].len)) {
            check_known(l, &known[i], critical, value);
            return true;
        }
    if (critical)
        ERROR("RFC 5280, 4.2", "a critical extension that nobody need know");
    else
        NOTE("RFC 5280, 4.2", "an extension that is not looked into");
    return true;
}

void ds_lint_extensions(ds_linting *l, ds_view list)
{
    ds_view extension, oid, other, body;
    while (list.len) {
        if (!ds_tlv_take(&list, DS_TLV_SEQUENCE, &extension) || !check_extension(l, extension, &oid)) {
            ERROR("RFC 5280, 4.1", "an extension cannot be read");
            return;
        }
        for (ds_view rest = list; ds_tlv_take(&rest, DS_TLV_SEQUENCE, &body);)
            if (ds_tlv_take(&body, DS_TLV_OID, &other) && ds_view_equal(oid, other))
                ERROR("RFC 5280, 4.2", "an extension stands there twice");
    }
}
