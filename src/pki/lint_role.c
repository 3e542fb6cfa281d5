// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint of what only the whole certificate shows: what a CA's, a device's and anybody's certificate must hold
// (RFC 5280, 4.2; IEEE 802.1AR-2018, 8; AWS IoT's pages on CA and client certificates).
#include "src/pki/lint_int.h"

#define DEVID "IEEE 802.1AR, "

static void check_ca(ds_linting *l)
{
    if (!l->bc_critical)
        ERROR("RFC 5280, 4.2.1.9", "a CA's basic constraints must be critical");
    if (!l->has_skid)
        ERROR("RFC 5280, 4.2.1.2", "a CA's certificate has no subject key identifier");
    if (!l->has_ku)
        ERROR("RFC 5280, 4.2.1.3", "a CA's certificate has no key usage");
    else if (!(l->ku & KU_CERTS))
        ERROR("RFC 5280, 4.2.1.3", "a CA's key usage is without keyCertSign: AWS IoT does not take such a CA either");
    if (l->has_ku && !(l->ku & KU_CRLS))
        WARNING("RFC 5280, 4.2.1.3", "a CA's key usage is without cRLSign: it can revoke nothing");
    if (l->subject_empty)
        ERROR("RFC 5280, 4.1.2.6", "a CA's subject is empty");
    if (!l->self_issued && !l->has_path_len)
        WARNING("RFC 5280, 4.2.1.9", "a CA below another without path length may make further CAs");
}

static void check_end(ds_linting *l)
{
    if (l->has_ku && l->ku & KU_CERTS)
        ERROR("RFC 5280, 4.2.1.9", "keyCertSign in what is no CA");
    if (l->has_path_len)
        ERROR("RFC 5280, 4.2.1.9", "a path length in what is no CA");
    if (l->has_constraints)
        ERROR("RFC 5280, 4.2.1.10", "name constraints in what is no CA");
    if (!l->has_bc)
        NOTE("RFC 5280, 4.2.1.9", "no basic constraints");
    if (!l->has_skid)
        WARNING("RFC 5280, 4.2.1.2", "no subject key identifier");
    if (!l->has_ku)
        WARNING("RFC 5280, 4.2.1.3", "no key usage: the key may be used for anything");
    if (l->subject_empty && !l->has_san)
        ERROR("RFC 5280, 4.1.2.6", "neither a subject nor an alternative name");
}

// An identity of a device: what is no server alone.
static void check_device(ds_linting *l)
{
    if (!l->no_expiry)
        WARNING(DEVID "notAfter", "the identity of a device ends; 99991231235959Z says that it does not");
    if (!l->subject_serial && !l->hardware_name)
        WARNING(DEVID "subject", "no serial number of the hardware: neither serialNumber nor hardwareModuleName");
    if (l->subject_empty)
        WARNING(DEVID "subject", "the subject is empty");
    if (l->has_ku && !(l->ku & KU_SIGN))
        ERROR(DEVID "keyUsage", "without digitalSignature the device cannot show who it is");
    if (!l->has_eku)
        NOTE("RFC 5280, 4.2.1.12", "no extended key usage");
    else if (!l->client_auth)
        WARNING("RFC 5280, 4.2.1.12", "a device that is no TLS client: an endpoint will refuse it");
}

void ds_lint_role(ds_linting *l)
{
    if (l->has_extensions && !l->v3)
        ERROR("RFC 5280, 4.1.2.9", "extensions in a certificate that is not of version 3");
    if (!l->self_issued && !l->has_akid)
        ERROR("RFC 5280, 4.2.1.1", "no authority key identifier");
    if (l->has_ku && !l->ku_critical)
        WARNING("RFC 5280, 4.2.1.3", "the key usage should be critical");
    if (l->subject_empty && l->has_san && !l->san_critical)
        ERROR("RFC 5280, 4.2.1.6", "subjectAltName must be critical where the subject is empty");
    if (!l->subject_empty && l->san_critical)
        WARNING("RFC 5280, 4.2.1.6", "subjectAltName should not be critical where there is a subject");
    if (l->ca)
        check_ca(l);
    else
        check_end(l);
    if (!l->ca && !(l->server_auth && !l->client_auth))
        check_device(l);
    if (!l->ca && l->server_auth && !l->has_san)
        WARNING("RFC 9525, 6", "a server without alternative name: clients will refuse it");
    if (l->elliptic && l->has_ku && l->ku & (1 << 2))
        ERROR("RFC 5480, 3", "keyEncipherment with a key on an elliptic curve");
}
