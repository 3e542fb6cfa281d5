// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who the device is and how far it is: Hello. Where storage cannot be read the request fails, rather than claiming that
// the device holds nothing.
#include "agent/core/internal.h"

#include <string.h>

enum { PROTOCOL = 1, SELF_TEST_RANDOM = 1u << 1 };

// A short draw, to catch a dead or stuck source before a key depends on it.
static bool random_ok(ds_agent *a)
{
    ds_rng rng = {.a = a};
    uint8_t first[32], second[32];
    bool ok = ds_rng_draw(&rng, first, sizeof first) == 0 && ds_rng_draw(&rng, second, sizeof second) == 0 &&
              memcmp(first, second, sizeof first) != 0;
    mbedtls_platform_zeroize(first, sizeof first);
    mbedtls_platform_zeroize(second, sizeof second);
    return ok;
}

static ds_status describe_key(ds_agent *a, ds_reply *r)
{
    Devstamp__HelloReply *h = &r->body.hello;
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK) {
        size_t len = 0;
        int type = ds_key_type(&pk);
        bool in_dsig = mbedtls_pk_get_type(&pk) == MBEDTLS_PK_RSA_ALT;
        uint8_t *spki = in_dsig ? NULL : ds_key_public(&pk, a->frame, &len);
        if (in_dsig)
            s = ds_chain_public(a, &type, r->digest[1]);
        else if (spki == NULL || !ds_sha256(spki, len, r->digest[1]))
            s = DS_STATUS(KEY, CRYPTO);
        h->key_type = (Devstamp__KeyType)type;
        h->public_key_digest = (ProtobufCBinaryData){.data = r->digest[1], .len = sizeof r->digest[1]};
    }
    mbedtls_pk_free(&pk);
    return DS_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
}

static void describe_chip(ds_agent *a, ds_reply *r)
{
    Devstamp__HelloReply *h = &r->body.hello;
    ds_identity *id = &r->identity;
    a->port->identity(a->port->ctx, id);
    h->protocol = PROTOCOL;
    h->chip_id = id->chip_id;
    h->chip_revision = id->chip_revision;
    h->mac = (ProtobufCBinaryData){.data = id->mac, .len = sizeof id->mac};
    h->flash_size = id->flash_size;
    h->project = id->project;
    h->version = id->version;
    h->app_version = id->app_version;
    h->boot_partition = id->boot_partition;
    h->firmware =
        a->role == DS_AGENT_APP ? DEVSTAMP__FIRMWARE_KIND__FIRMWARE_APP : DEVSTAMP__FIRMWARE_KIND__FIRMWARE_MFG;
    h->self_test = a->port->self_test(a->port->ctx) | (random_ok(a) ? 0 : (uint32_t)SELF_TEST_RANDOM);
}

ds_status ds_handle_hello(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)q;
    Devstamp__HelloReply *h = &r->body.hello;
    devstamp__hello_reply__init(h);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_HELLO;
    r->response.hello = h;
    describe_chip(a, r);
    enum ds_area area;
    int stage = 0;
    size_t digest_len = 0;
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK)
        s = ds_store_stage(a, &stage);
    if (s == DS_STATUS_OK)
        s = describe_key(a, r);
    if (s == DS_STATUS_OK)
        s = ds_chain_digest(a, r->digest[0], &digest_len);
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "serial", r->serial, sizeof r->serial);
    bool imported = false;
    if (s == DS_STATUS_OK)
        s = ds_store_mark(a, area, DS_VALUE_IMPORTED, &imported);
    if (s != DS_STATUS_OK)
        return s;
    h->imports_keys = ds_import_is_known();
    h->key_imported = imported;
    h->stage = (Devstamp__Stage)stage;
    h->free_bytes = a->port->area_free(a->port->ctx, area);
    h->certificate_digest = (ProtobufCBinaryData){.data = r->digest[0], .len = digest_len};
    h->serial = r->serial;
    return DS_STATUS_OK;
}
