// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Imports; see manifest_import.h. A manifest names certificates; whether they are by a CA that the endpoint knows is
// looked at here, so that a manifest cannot announce for a CA what that never signed.
#include "src/cloud/manifest_import.h"

#include "src/cloud/manifest_int.h"
#include "src/ledger/lists.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 2000, CAS_MAX = 256 };

typedef struct known_ca {
    X509 *x;
    uint8_t id[32];
    uint8_t (*ids)[32]; // that wait to be announced
    size_t count;
} known_ca;

typedef struct import {
    ds_registry *r;
    known_ca ca[CAS_MAX];
    size_t cas;
    ds_manifest_imported done;
} import;

static bool take_ca(void *arg, const ds_registry_ca *ca)
{
    import *k = arg;
    const unsigned char *p = ca->der.ptr;
    if (ca->role != DS_REGISTRY_DEVICES || k->cas == CAS_MAX)
        return true;
    known_ca *one = &k->ca[k->cas];
    one->x = d2i_X509(NULL, &p, (long)ca->der.len);
    if (!one->x)
        return true;
    memcpy(one->id, ca->id, 32);
    one->ids = ds_alloc(AT_ONCE * sizeof *one->ids);
    k->cas++;
    return true;
}

static enum ds_class flush(import *k, known_ca *ca, ds_err *e)
{
    size_t fresh = 0;
    if (!ca->count)
        return DS_OK;
    enum ds_class rc = ds_registry_expect(k->r, ca->id, (const uint8_t(*)[32])ca->ids, ca->count, &fresh, e);
    if (!rc) {
        k->done.devices += ca->count;
        k->done.fresh += fresh;
    }
    ca->count = 0;
    return rc;
}

static known_ca *issuer_of(import *k, const ds_listed *d)
{
    const unsigned char *p = d->certificate.ptr;
    DS_CLEANUP_X509 X509 *x = d2i_X509(NULL, &p, (long)d->certificate.len);
    for (size_t i = 0; x && i < k->cas; i++)
        if (X509_check_issued(k->ca[i].x, x) == X509_V_OK && X509_verify(x, X509_get0_pubkey(k->ca[i].x)) == 1)
            return &k->ca[i];
    return NULL;
}

static enum ds_class announce(import *k, const ds_listed *d, ds_err *e)
{
    known_ca *ca = issuer_of(k, d);
    if (!ca)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "device %s: its certificate is by no CA that is registered here for devices",
                     d->serial),
             e),
            "register its CA first: devstamp registry init --ca");
    memcpy(ca->ids[ca->count++], d->fingerprint, 32);
    return ca->count == AT_ONCE ? flush(k, ca, e) : DS_OK;
}

static enum ds_class announce_block(import *k, const ds_roll_block *b, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (unsigned i = 0; !rc && i < b->count; i++) {
        ds_listed d = {.serial = ""};
        rc = ds_listed_parse(b->entry[i], &d, e);
        if (!rc)
            rc = announce(k, &d, e);
        ds_listed_free(&d);
    }
    return rc;
}

enum ds_class ds_manifest_to_registry(ds_roll_files *f, ds_registry *r, ds_manifest_imported *ret, ds_err *e)
{
    import *k = ds_alloc(sizeof *k);
    ds_roll_block *b = ds_alloc(sizeof *b);
    k->r = r;
    enum ds_class rc =
        f->head.kind == DS_STATEMENT_DEVICES
            ? ds_registry_each_ca(r, take_ca, k, e)
            : ds_fail(e, DS_INPUT, "it is a %s, and no manifest of devices", ds_statement_name(f->head.kind));
    for (uint64_t i = 0; !rc && i < f->blocks; i++) {
        rc = ds_roll_load(f, i, b, e);
        if (!rc)
            rc = announce_block(k, b, e);
    }
    for (size_t i = 0; i < k->cas; i++) {
        if (!rc)
            rc = flush(k, &k->ca[i], e);
        X509_free(k->ca[i].x);
        free(k->ca[i].ids);
    }
    *ret = k->done;
    free(b);
    free(k);
    return rc;
}

typedef struct serials {
    ds_roll_files *f;
    ds_roll_block b;
    uint64_t next;
} serials;

static enum ds_class next_serial(void *arg, char ret[64], ds_err *e)
{
    serials *s = arg;
    unsigned i = (unsigned)(s->next % DS_ROLL_BLOCK);
    ret[0] = '\0';
    if (s->next == s->f->head.count)
        return DS_OK;
    enum ds_class rc = i == 0 ? ds_roll_load(s->f, s->next / DS_ROLL_BLOCK, &s->b, e) : DS_OK;
    if (!rc)
        rc = ds_listed_serial_parse(s->b.entry[i], ret, e);
    s->next++;
    return rc;
}

enum ds_class ds_manifest_to_ledger(ds_roll_files *f, ds_ledger *l, char ret_product[64], uint64_t *ret_added,
                                    ds_err *e)
{
    ds_manifest_choice about = {.product = ""};
    if (f->head.kind != DS_STATEMENT_SERIALS)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "it is a %s, and no list of serial numbers", ds_statement_name(f->head.kind)), e),
            "manifests of devices go into a registry, ledger batches in by devstamp ledger pull");
    enum ds_class rc = ds_manifest_choice_parse(f->head.about, &about, e);
    if (!rc && !about.product[0])
        rc = ds_fail(e, DS_INPUT, "the list names no product");
    if (rc)
        return rc;
    serials *s = ds_alloc(sizeof *s);
    s->f = f;
    const ds_ledger_serials all = {about.product, f->head.root, next_serial, s};
    rc = ds_ledger_serials_add(l, &all, ret_added, e);
    free(s);
    if (!rc)
        memcpy(ret_product, about.product, sizeof about.product);
    return rc;
}
