// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's half of the owner handshake; see owner.h. Nothing names the device before the owner's tag was right,
// each tag costs an ephemeral key, and wrong ones are counted. What a message asks for again is answered again with the
// same bytes: the signature is kept, so that a key never seals two different texts.
//
// The reply's memory is used in this order: arena for the decoded request, then (what is still needed having been
// copied) the sealed text at RESERVE, then the reply itself, which ends up before what it moves.
#include "agent/app/owner.h"

#include "agent/app/owner_crypto.h"
#include "agent/core/arena.h"

#include "proto/owner.pb-c.h"

#include <stddef.h>
#include <string.h>

#define OWNER_TAG "devstamp owner 1"
#define STATUS_OF(name) DEVSTAMP__OWNER__STATUS__STATUS_##name

enum { VERSION = 1, RESERVE = 16 };

typedef Devstamp__Owner__Status owner_status;

// A reply being made.
typedef struct answer {
    uint8_t *at; // DS_OWNER_REPLY_MAX bytes
    size_t len;  // of what was packed
} answer;

// protobuf-c's buffer over memory that may overlap with what is packed, as long as that lies behind.
typedef struct sink {
    ProtobufCBuffer base;
    uint8_t *at;
    size_t len, cap;
    bool full;
} sink;

static void sink_append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
    sink *k = (sink *)base;
    if (len > k->cap - k->len)
        k->full = true;
    if (k->full || len == 0)
        return;
    memmove(k->at + k->len, data, len);
    k->len += len;
}

// False where it does not fit.
static bool pack(const ProtobufCMessage *m, uint8_t *at, size_t cap, size_t *ret_len)
{
    sink k = {.base = {.append = sink_append}, .at = at, .cap = cap};
    protobuf_c_message_pack_to_buffer(m, &k.base);
    *ret_len = k.len;
    return !k.full;
}

static owner_status finish(answer *r, Devstamp__Owner__Reply *reply)
{
    return pack(&reply->base, r->at, DS_OWNER_REPLY_MAX, &r->len) ? STATUS_OF(OK) : STATUS_OF(FAILED);
}

void ds_owner_init(ds_owner *o, ds_agent *a, ds_owner_take_fn take, void *take_arg)
{
    memset(o, 0, sizeof *o);
    o->a = a;
    o->take = take;
    o->take_arg = take_arg;
}

void ds_owner_close(ds_owner *o)
{
    mbedtls_platform_zeroize(&o->stage, sizeof *o - offsetof(ds_owner, stage));
}

bool ds_owner_tick(ds_owner *o, uint32_t now_ms)
{
    if (o->stage == DS_OWNER_CLOSED)
        return false;
    if (o->timed != o->opened) {
        o->timed = o->opened;
        o->since_ms = now_ms;
    }
    if (now_ms - o->since_ms >= DS_OWNER_SESSION_MS)
        ds_owner_close(o);
    return o->stage != DS_OWNER_CLOSED;
}

// The secret of the label; NOT_SEALED where there is none that is worth the name.
static owner_status read_pop(ds_owner *o, uint8_t pop[DS_OWNER_POP_MAX], size_t *ret_len)
{
    ds_status s = ds_store_get(o->a, "pop", pop, DS_OWNER_POP_MAX, ret_len);
    if (s != DS_STATUS_OK && !DS_STATUS_IS(s, NOT_FOUND) && !DS_STATUS_IS(s, NO_SPACE))
        return STATUS_OF(FAILED);
    return s == DS_STATUS_OK && *ret_len >= DS_OWNER_POP_MIN ? STATUS_OF(OK) : STATUS_OF(NOT_SEALED);
}

static owner_status check_ready(ds_owner *o)
{
    if (o->wrong >= DS_OWNER_TRIES)
        return STATUS_OF(LOCKED);
    int stage = 0;
    uint8_t pop[DS_OWNER_POP_MAX];
    size_t len = 0;
    if (ds_store_stage(o->a, &stage) != DS_STATUS_OK)
        return STATUS_OF(FAILED);
    if (stage != (int)DEVSTAMP__STAGE__STAGE_SEALED)
        return STATUS_OF(NOT_SEALED);
    owner_status s = read_pop(o, pop, &len);
    mbedtls_platform_zeroize(pop, sizeof pop);
    return s;
}

static owner_status open_session(ds_owner *o, const Devstamp__Owner__Open *q, answer *r)
{
    ds_owner_close(o);
    if (q->version != VERSION)
        return STATUS_OF(BAD_MESSAGE);
    owner_status s = check_ready(o);
    if (s != STATUS_OF(OK))
        return s;
    ds_rng rng = {.a = o->a};
    if (ds_owner_keypair(&rng, o->secret, o->points + DS_OWNER_POINT) != DS_STATUS_OK) {
        ds_owner_close(o);
        return STATUS_OF(FAILED);
    }
    o->stage = DS_OWNER_OPENED;
    o->opened++;
    Devstamp__Owner__Opened opened = DEVSTAMP__OWNER__OPENED__INIT;
    Devstamp__Owner__Reply reply = DEVSTAMP__OWNER__REPLY__INIT;
    opened.device_point = (ProtobufCBinaryData){.data = o->points + DS_OWNER_POINT, .len = DS_OWNER_POINT};
    reply.body_case = DEVSTAMP__OWNER__REPLY__BODY_OPENED;
    reply.opened = &opened;
    return finish(r, &reply);
}

// The keys of this session, and what the owner's tag must be. The ephemeral secret is gone afterwards.
static owner_status derive(ds_owner *o)
{
    uint8_t z[DS_OWNER_KEY], prk[DS_OWNER_KEY], pop[DS_OWNER_POP_MAX];
    size_t pop_len = 0;
    ds_rng rng = {.a = o->a};
    owner_status s = read_pop(o, pop, &pop_len);
    if (s == STATUS_OF(OK)) {
        ds_status e = ds_owner_ecdh(&rng, o->secret, o->points, z);
        if (e != DS_STATUS_OK)
            s = DS_STATUS_IS(e, BAD_REQUEST) ? STATUS_OF(BAD_MESSAGE) : STATUS_OF(FAILED);
    }
    if (s == STATUS_OF(OK) &&
        (!ds_owner_extract(o->points, z, pop, pop_len, prk) || !ds_owner_expand(prk, "owner tag", o->tag) ||
         !ds_owner_expand(prk, "proof key", o->proof_key) || !ds_owner_expand(prk, "parcel key", o->parcel_key) ||
         !ds_owner_expand(prk, "receipt key", o->receipt_key)))
        s = STATUS_OF(FAILED);
    mbedtls_platform_zeroize(o->secret, sizeof o->secret);
    mbedtls_platform_zeroize(z, sizeof z);
    mbedtls_platform_zeroize(prk, sizeof prk);
    mbedtls_platform_zeroize(pop, sizeof pop);
    return s;
}

static owner_status sign(ds_owner *o)
{
    const ProtobufCBinaryData points = {.data = o->points, .len = sizeof o->points};
    ProtobufCBinaryData signature = {.data = o->signature};
    if (sizeof o->signature < DS_KEY_SIGNATURE_MAX ||
        ds_key_sign(o->a, OWNER_TAG, &points, 1, &signature) != DS_STATUS_OK)
        return STATUS_OF(FAILED);
    o->signature_len = signature.len;
    return STATUS_OF(OK);
}

// One piece of the sealed identity, which is sealed anew each time to the same bytes.
static owner_status show_identity(ds_owner *o, uint32_t offset, uint32_t piece, answer *r)
{
    uint8_t *chain = ds_agent_work(o->a), *sealed = r->at + RESERVE;
    Devstamp__Owner__Identity identity = DEVSTAMP__OWNER__IDENTITY__INIT;
    size_t len = 0;
    identity.chain.data = chain;
    identity.signature = (ProtobufCBinaryData){.data = o->signature, .len = o->signature_len};
    if (ds_store_get(o->a, DS_VALUE_CHAIN, chain, DS_AGENT_CHAIN_MAX, &identity.chain.len) != DS_STATUS_OK ||
        !pack(&identity.base, sealed, DS_OWNER_REPLY_MAX - RESERVE - DS_OWNER_SEAL, &len) ||
        !ds_owner_seal(o->proof_key, sealed, len))
        return STATUS_OF(FAILED);
    len += DS_OWNER_SEAL;
    if (offset >= len)
        return STATUS_OF(BAD_MESSAGE);
    size_t most = piece > 0 && piece < len - offset ? piece : len - offset;
    Devstamp__Owner__Proof proof = DEVSTAMP__OWNER__PROOF__INIT;
    proof.sealed = (ProtobufCBinaryData){.data = sealed + offset, .len = most};
    proof.offset = offset;
    proof.total = (uint32_t)len;
    Devstamp__Owner__Reply reply = DEVSTAMP__OWNER__REPLY__INIT;
    reply.body_case = DEVSTAMP__OWNER__REPLY__BODY_PROOF;
    reply.proof = &proof;
    return finish(r, &reply);
}

// The first challenge of a session: right or wrong, there is no second one.
static owner_status prove(ds_owner *o, const uint8_t tag[DS_OWNER_KEY])
{
    const ds_port *port = o->a->port;
    owner_status s = derive(o);
    if (s == STATUS_OF(OK) && !ds_owner_same(o->tag, tag, DS_OWNER_KEY)) {
        o->wrong++;
        port->log(port->ctx, o->wrong < DS_OWNER_TRIES ? "app: wrong proof of possession"
                                                       : "app: wrong proof of possession, none is taken any more");
        s = STATUS_OF(REFUSED);
    }
    if (s == STATUS_OF(OK))
        s = sign(o);
    if (s != STATUS_OF(OK)) {
        ds_owner_close(o);
        return s;
    }
    o->wrong = 0;
    o->stage = DS_OWNER_PROVED;
    return s;
}

static owner_status challenge(ds_owner *o, const Devstamp__Owner__Challenge *q, answer *r)
{
    uint8_t tag[DS_OWNER_KEY];
    uint32_t piece = q->piece;
    if (q->owner_point.len != DS_OWNER_POINT || q->device_point.len != DS_OWNER_POINT || q->tag.len != sizeof tag)
        return STATUS_OF(BAD_MESSAGE);
    if (o->stage == DS_OWNER_CLOSED)
        return o->wrong >= DS_OWNER_TRIES ? STATUS_OF(LOCKED) : STATUS_OF(NO_SESSION);
    // Not for this session: old, or another one was opened meanwhile. Nobody's secret was wrong.
    if (memcmp(o->points + DS_OWNER_POINT, q->device_point.data, DS_OWNER_POINT) != 0)
        return STATUS_OF(NO_SESSION);
    memcpy(tag, q->tag.data, sizeof tag);
    if (o->stage == DS_OWNER_OPENED) {
        memcpy(o->points, q->owner_point.data, DS_OWNER_POINT);
        owner_status s = prove(o, tag);
        if (s != STATUS_OF(OK))
            return s;
    } else if (memcmp(o->points, q->owner_point.data, DS_OWNER_POINT) != 0 ||
               !ds_owner_same(o->tag, tag, DS_OWNER_KEY)) {
        return STATUS_OF(NO_SESSION);
    }
    return show_identity(o, 0, piece, r);
}

static owner_status more(ds_owner *o, const Devstamp__Owner__More *q, answer *r)
{
    if (o->stage != DS_OWNER_PROVED && o->stage != DS_OWNER_DONE)
        return STATUS_OF(NO_SESSION);
    return show_identity(o, q->offset, q->piece, r);
}

static owner_status take(ds_owner *o, const Devstamp__Owner__Credentials *c)
{
    const ds_port *port = o->a->port;
    size_t ssid = c->ssid.len, passphrase = c->passphrase.len;
    if (o->take == NULL || ssid < 1 || ssid > DS_OWNER_SSID_MAX || passphrase > DS_OWNER_PASSPHRASE_MAX ||
        (passphrase > 0 && passphrase < DS_OWNER_PASSPHRASE_MIN) || c->extra.len > DS_OWNER_EXTRA_MAX)
        return STATUS_OF(NOT_TAKEN);
    const ds_owner_credentials given = {.ssid = c->ssid.data,
                                        .ssid_len = ssid,
                                        .passphrase = c->passphrase.data,
                                        .passphrase_len = passphrase,
                                        .extra = c->extra.data,
                                        .extra_len = c->extra.len};
    ds_status s = o->take(o->take_arg, &given);
    port->log(port->ctx, s == DS_STATUS_OK ? "app: credentials taken from the owner" : "app: credentials not taken");
    if (s == DS_STATUS_OK)
        return STATUS_OF(OK);
    return DS_STATUS_IS(s, BAD_REQUEST) ? STATUS_OF(NOT_TAKEN) : STATUS_OF(FAILED);
}

static owner_status send_receipt(ds_owner *o, answer *r)
{
    Devstamp__Owner__Outcome outcome = DEVSTAMP__OWNER__OUTCOME__INIT;
    uint8_t *sealed = r->at + RESERVE;
    size_t len = 0;
    outcome.status = (owner_status)o->outcome;
    outcome.version = VERSION;
    if (!pack(&outcome.base, sealed, RESERVE, &len) || !ds_owner_seal(o->receipt_key, sealed, len))
        return STATUS_OF(FAILED);
    Devstamp__Owner__Receipt receipt = DEVSTAMP__OWNER__RECEIPT__INIT;
    receipt.sealed = (ProtobufCBinaryData){.data = sealed, .len = len + DS_OWNER_SEAL};
    Devstamp__Owner__Reply reply = DEVSTAMP__OWNER__REPLY__INIT;
    reply.body_case = DEVSTAMP__OWNER__REPLY__BODY_RECEIPT;
    reply.receipt = &receipt;
    return finish(r, &reply);
}

// A parcel that was not sealed by this owner changes nothing; the first one that was is the only one.
static owner_status parcel(ds_owner *o, const Devstamp__Owner__Parcel *q, ds_arena *memory, answer *r)
{
    uint8_t digest[32];
    size_t len = 0;
    if (o->stage != DS_OWNER_PROVED && o->stage != DS_OWNER_DONE)
        return STATUS_OF(NO_SESSION);
    if (!ds_sha256(q->sealed.data, q->sealed.len, digest))
        return STATUS_OF(FAILED);
    if (o->stage == DS_OWNER_DONE)
        return memcmp(digest, o->parcel_digest, sizeof digest) == 0 ? send_receipt(o, r) : STATUS_OF(NO_SESSION);
    if (!ds_owner_unseal(o->parcel_key, q->sealed.data, q->sealed.len, &len))
        return STATUS_OF(BAD_MESSAGE);
    Devstamp__Owner__Credentials *c = devstamp__owner__credentials__unpack(&memory->base, len, q->sealed.data);
    o->outcome = (uint32_t)(c != NULL ? take(o, c) : STATUS_OF(NOT_TAKEN));
    o->stage = DS_OWNER_DONE;
    memcpy(o->parcel_digest, digest, sizeof digest);
    mbedtls_platform_zeroize(o->parcel_key, sizeof o->parcel_key);
    return send_receipt(o, r);
}

static owner_status dispatch(ds_owner *o, const uint8_t *in, size_t len, answer *r)
{
    ds_arena memory;
    ds_arena_init(&memory, r->at, DS_OWNER_REPLY_MAX);
    if (len > DS_OWNER_MESSAGE_MAX)
        return STATUS_OF(BAD_MESSAGE);
    const Devstamp__Owner__Request *q = devstamp__owner__request__unpack(&memory.base, len, in);
    if (q == NULL)
        return STATUS_OF(BAD_MESSAGE);
    switch (q->body_case) {
    case DEVSTAMP__OWNER__REQUEST__BODY_OPEN:
        return open_session(o, q->open, r);
    case DEVSTAMP__OWNER__REQUEST__BODY_CHALLENGE:
        return challenge(o, q->challenge, r);
    case DEVSTAMP__OWNER__REQUEST__BODY_MORE:
        return more(o, q->more, r);
    case DEVSTAMP__OWNER__REQUEST__BODY_PARCEL:
        return parcel(o, q->parcel, &memory, r);
    default:
        return STATUS_OF(BAD_MESSAGE);
    }
}

size_t ds_owner_handle(void *owner, const uint8_t *in, size_t len, uint8_t *ret, size_t cap)
{
    if (cap < DS_OWNER_REPLY_MAX)
        return 0;
    answer r = {.at = ret};
    owner_status s = dispatch(owner, in, len, &r);
    if (s != STATUS_OF(OK)) {
        Devstamp__Owner__Reply reply = DEVSTAMP__OWNER__REPLY__INIT;
        reply.status = s;
        finish(&r, &reply);
    }
    // Credentials may have been there, and the identity.
    mbedtls_platform_zeroize(ret + r.len, DS_OWNER_REPLY_MAX - r.len);
    return r.len;
}

static ds_status store_text(ds_agent *a, const char *key, const uint8_t *text, size_t len)
{
    ds_value v = ds_value_of("wifi", key, DS_VALUE_STRING, text, len);
    return ds_store_put(a, DS_AREA_ENCRYPTED, &v);
}

// Of the credentials: the name (arg not NULL), or what goes with it.
static bool is_another(void *arg, const char *name_space, const char *key)
{
    bool name = strcmp(key, "ssid") == 0, rest = strcmp(key, "pass") == 0 || strcmp(key, "extra") == 0;
    return strcmp(name_space, "wifi") != 0 || !(arg != NULL ? name : rest);
}

// The name goes first and comes last: power lost in between leaves no network, rather than one with another one's
// passphrase. Nothing extra of an owner before stays.
ds_status ds_owner_store_wifi(void *agent, const ds_owner_credentials *c)
{
    ds_agent *a = agent;
    if (memchr(c->ssid, 0, c->ssid_len) != NULL ||
        (c->passphrase_len > 0 && memchr(c->passphrase, 0, c->passphrase_len) != NULL))
        return DS_STATUS(OWNER, BAD_REQUEST);
    if (a->port->values_clear == NULL)
        return DS_STATUS(OWNER, UNSUPPORTED);
    ds_status s = a->port->values_clear(a->port->ctx, DS_AREA_ENCRYPTED, is_another, a);
    if (s == DS_STATUS_OK)
        s = a->port->values_clear(a->port->ctx, DS_AREA_ENCRYPTED, is_another, NULL);
    if (s == DS_STATUS_OK)
        s = store_text(a, "pass", c->passphrase_len > 0 ? c->passphrase : (const uint8_t *)"", c->passphrase_len);
    if (s == DS_STATUS_OK && c->extra_len > 0) {
        ds_value v = ds_value_of("wifi", "extra", DS_VALUE_BLOB, c->extra, c->extra_len);
        s = ds_store_put(a, DS_AREA_ENCRYPTED, &v);
    }
    return s == DS_STATUS_OK ? store_text(a, "ssid", c->ssid, c->ssid_len) : s;
}
