// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner handshake with a hostile other side. By the first byte: messages to the device (from a stranger, or from an
// owner whose tag was right), replies to the owner at each stage, and what lies inside a proof and a parcel that were
// sealed with the right keys. Nobody dies of it, nothing hostile becomes a genuine device, no reply names the device to
// a stranger.
#include "tests/unit/owner_bench.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bench_ca ca;
static bench b;
static ds_companion *c;
static ds_owner proved; // the device's half after a right tag

static void set_up(void)
{
    bench_ca_init(&ca, "Product");
    bench_init(&b, &ca, EVP_EC_gen("P-256"));
    c = bench_owner(&ca);
    const ds_companion_transport wire = bench_wire(&b);
    if (ds_companion_verify(c, &wire, NULL))
        abort();
    proved = b.owner;
}

static void to_device(const uint8_t *data, size_t size, bool stranger)
{
    uint8_t reply[DS_OWNER_REPLY_MAX];
    if (stranger)
        ds_owner_init(&b.owner, &b.port.agent, bench_take, &b);
    else
        b.owner = proved;
    b.port.log[0] = 0;
    b.port.out_len = 0;
    // Several messages, each behind its length.
    while (size > 2) {
        size_t len = (size_t)data[0] | (size_t)(data[1] & 7) << 8;
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        size_t n = ds_owner_handle(&b.owner, data, len, reply, sizeof reply);
        if (n == 0 || fake_contains(reply, n, BENCH_SERIAL, strlen(BENCH_SERIAL)) || (stranger && n > 100))
            abort();
        data += len;
        size -= len;
    }
}

static void to_owner(const uint8_t *data, size_t size, enum ds_companion_stage stage)
{
    ds_companion_message m;
    if (ds_companion_begin(c, &m, NULL))
        abort();
    c->stage = stage;
    if (!ds_companion_feed(c, data, size, &m, NULL) && ds_companion_get_device(c) && stage < DS_COMPANION_GENUINE)
        abort();
}

static void inside_proof(const uint8_t *data, size_t size)
{
    static uint8_t reply[DS_COMPANION_REPLY_MAX];
    ds_companion_message m;
    if (size > 4000 || ds_companion_begin(c, &m, NULL))
        return;
    c->stage = DS_COMPANION_CHALLENGING;
    static uint8_t sealed[4000 + DS_COMPANION_SEAL];
    memcpy(sealed, data, size);
    if (!ds_companion_seal(c->keys.proof, sealed, size))
        abort();
    Devstamp__Owner__Proof proof = DEVSTAMP__OWNER__PROOF__INIT;
    Devstamp__Owner__Reply r = DEVSTAMP__OWNER__REPLY__INIT;
    proof.sealed = (ProtobufCBinaryData){.data = sealed, .len = size + DS_COMPANION_SEAL};
    proof.total = (uint32_t)proof.sealed.len;
    r.body_case = DEVSTAMP__OWNER__REPLY__BODY_PROOF;
    r.proof = &proof;
    if (!ds_companion_feed(c, reply, devstamp__owner__reply__pack(&r, reply), &m, NULL))
        abort(); // what was made up has no signature over this session
}

static void inside_parcel(const uint8_t *data, size_t size)
{
    uint8_t sealed[900 + DS_COMPANION_SEAL], message[1000], reply[DS_OWNER_REPLY_MAX];
    if (size > 900)
        return;
    b.owner = proved;
    memcpy(sealed, data, size);
    if (!ds_companion_seal(proved.parcel_key, sealed, size))
        abort();
    Devstamp__Owner__Parcel parcel = DEVSTAMP__OWNER__PARCEL__INIT;
    Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
    parcel.sealed = (ProtobufCBinaryData){.data = sealed, .len = size + DS_COMPANION_SEAL};
    q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_PARCEL;
    q.parcel = &parcel;
    size_t len = devstamp__owner__request__pack(&q, message);
    if (bench_status(reply, ds_owner_handle(&b.owner, message, len, reply, sizeof reply)) != 0)
        abort(); // refused or not, there is a receipt
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!c)
        set_up();
    if (size < 1)
        return 0;
    switch (data[0] % 7) {
    case 0:
    case 1:
        to_device(data + 1, size - 1, data[0] % 7 == 0);
        break;
    case 2:
        to_owner(data + 1, size - 1, DS_COMPANION_OPENING);
        break;
    case 3:
        to_owner(data + 1, size - 1, DS_COMPANION_CHALLENGING);
        break;
    case 4:
        to_owner(data + 1, size - 1, DS_COMPANION_HANDING);
        break;
    case 5:
        inside_proof(data + 1, size - 1);
        break;
    default:
        inside_parcel(data + 1, size - 1);
    }
    return 0;
}
