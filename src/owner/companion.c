// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner's half of the handshake; see companion.h. A reply is taken only where the session waits for its kind, and
// credentials are sealed only after everything about the device was checked.
#include "src/owner/internal.h"

#include "proto/owner.pb-c.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

static enum ds_class bad_reply(ds_err *e, const char *what)
{
    (void)ds_companion_fail(e, DS_DEVICE, DS_COMPANION_BAD_REPLY, "the device's reply is none: %s", what);
    return ds_hint(e, "try again; if it stays so, this device or something on the way to it speaks another language");
}

static enum ds_class check_config(const ds_companion_config *g, ds_err *e)
{
    size_t name = g->name ? strlen(g->name) : 0;
    if (name < 1 || name > DS_COMPANION_NAME_MAX)
        return ds_fail(e, DS_INPUT, "a serial number has 1 to %u characters", DS_COMPANION_NAME_MAX);
    if (!g->pop || g->pop_len < DS_COMPANION_POP_MIN || g->pop_len > DS_COMPANION_POP_MAX)
        return ds_fail(e, DS_INPUT, "a proof of possession has %u to %u bytes", DS_COMPANION_POP_MIN,
                       DS_COMPANION_POP_MAX);
    return DS_OK;
}

enum ds_class ds_companion_new(const ds_companion_config *config, ds_companion **ret, ds_err *e)
{
    if (check_config(config, e))
        return DS_INPUT;
    ds_companion *c = calloc(1, sizeof *c);
    if (!c)
        return ds_fail(e, DS_INTERNAL, "no memory");
    c->roots = config->roots ? ds_companion_read_roots(config->roots, config->roots_len) : NULL;
    if (!c->roots) {
        ds_companion_free(c);
        return ds_fail(e, DS_INPUT, "no root certificate, or one that cannot be read");
    }
    memcpy(c->name, config->name, strlen(config->name) + 1);
    memcpy(c->pop, config->pop, config->pop_len);
    c->pop_len = config->pop_len;
    c->now_utc = config->now_utc;
    c->piece = config->piece;
    *ret = c;
    return DS_OK;
}

// Nothing of the session stays.
static void forget(ds_companion *c)
{
    EVP_PKEY_free(c->ephemeral);
    c->ephemeral = NULL;
    OPENSSL_cleanse(&c->keys, sizeof c->keys);
    OPENSSL_cleanse(c->message, sizeof c->message);
    memset(&c->device, 0, sizeof c->device);
    c->proof_len = c->proof_total = 0;
    c->stage = DS_COMPANION_IDLE;
}

void ds_companion_free(ds_companion *c)
{
    if (!c)
        return;
    forget(c);
    sk_X509_pop_free(c->roots, X509_free);
    OPENSSL_cleanse(c, sizeof *c);
    free(c);
}

const ds_companion_device *ds_companion_get_device(const ds_companion *c)
{
    return c->stage >= DS_COMPANION_GENUINE ? &c->device : NULL;
}

static ds_companion_message message_of(ds_companion *c, const Devstamp__Owner__Request *q)
{
    size_t len = devstamp__owner__request__get_packed_size(q);
    if (len > sizeof c->message)
        return (ds_companion_message){NULL, 0};
    devstamp__owner__request__pack(q, c->message);
    return (ds_companion_message){c->message, len};
}

enum ds_class ds_companion_begin(ds_companion *c, ds_companion_message *ret, ds_err *e)
{
    forget(c);
    memcpy(c->transcript, DS_COMPANION_TAG, sizeof DS_COMPANION_TAG);
    c->ephemeral = ds_companion_keypair(ds_companion_point_x(c));
    if (!c->ephemeral)
        return ds_companion_fail(e, DS_INTERNAL, 0, "no ephemeral key can be made");
    Devstamp__Owner__Open open = DEVSTAMP__OWNER__OPEN__INIT;
    Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
    open.version = VERSION;
    q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_OPEN;
    q.open = &open;
    c->stage = DS_COMPANION_OPENING;
    *ret = message_of(c, &q);
    return DS_OK;
}

static enum ds_class on_opened(ds_companion *c, const Devstamp__Owner__Opened *m, ds_companion_message *ret, ds_err *e)
{
    uint8_t z[DS_COMPANION_KEY];
    if (m->device_point.len != DS_COMPANION_POINT)
        return bad_reply(e, "a point of another length");
    memcpy(ds_companion_point_y(c), m->device_point.data, DS_COMPANION_POINT);
    if (!ds_companion_ecdh(c->ephemeral, ds_companion_point_y(c), z))
        return bad_reply(e, "a point that is not on the curve");
    EVP_PKEY_free(c->ephemeral);
    c->ephemeral = NULL;
    bool ok = ds_companion_derive(c->transcript, sizeof c->transcript, z, c->pop, c->pop_len, &c->keys);
    OPENSSL_cleanse(z, sizeof z);
    if (!ok)
        return ds_companion_fail(e, DS_INTERNAL, 0, "the session's keys cannot be made");
    Devstamp__Owner__Challenge challenge = DEVSTAMP__OWNER__CHALLENGE__INIT;
    Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
    challenge.owner_point = (ProtobufCBinaryData){.data = ds_companion_point_x(c), .len = DS_COMPANION_POINT};
    challenge.device_point = (ProtobufCBinaryData){.data = ds_companion_point_y(c), .len = DS_COMPANION_POINT};
    challenge.tag = (ProtobufCBinaryData){.data = c->keys.tag, .len = sizeof c->keys.tag};
    challenge.piece = c->piece;
    q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_CHALLENGE;
    q.challenge = &challenge;
    c->stage = DS_COMPANION_CHALLENGING;
    *ret = message_of(c, &q);
    return DS_OK;
}

static enum ds_class judge(ds_companion *c, ds_err *e)
{
    size_t len = 0;
    if (!ds_companion_unseal(c->keys.proof, c->proof, c->proof_len, &len))
        return ds_companion_fail(e, DS_POLICY, DS_COMPANION_COUNTERFEIT,
                                 "not genuine: the proof was made up or changed on its way");
    Devstamp__Owner__Identity *m = devstamp__owner__identity__unpack(NULL, len, c->proof);
    if (!m)
        return bad_reply(e, "a proof that cannot be decoded");
    enum ds_class rc = ds_companion_check(c, m->chain.data, m->chain.len, m->signature.data, m->signature.len, e);
    devstamp__owner__identity__free_unpacked(m, NULL);
    return rc;
}

static enum ds_class on_proof(ds_companion *c, const Devstamp__Owner__Proof *m, ds_companion_message *ret, ds_err *e)
{
    if (c->proof_len == 0)
        c->proof_total = m->total;
    if (m->total != c->proof_total || m->total > sizeof c->proof)
        return bad_reply(e, "a proof of another length");
    if (m->offset != c->proof_len || m->sealed.len == 0 || m->sealed.len > c->proof_total - c->proof_len)
        return bad_reply(e, "another piece of the proof than was asked for");
    memcpy(c->proof + c->proof_len, m->sealed.data, m->sealed.len);
    c->proof_len += m->sealed.len;
    if (c->proof_len < c->proof_total) {
        Devstamp__Owner__More more = DEVSTAMP__OWNER__MORE__INIT;
        Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
        more.offset = (uint32_t)c->proof_len;
        more.piece = c->piece;
        q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_MORE;
        q.more = &more;
        *ret = message_of(c, &q);
        return DS_OK;
    }
    enum ds_class rc = judge(c, e);
    if (!rc)
        c->stage = DS_COMPANION_GENUINE;
    return rc;
}

static enum ds_class on_receipt(ds_companion *c, Devstamp__Owner__Receipt *m, ds_err *e)
{
    size_t len = 0;
    if (!ds_companion_unseal(c->keys.receipt, m->sealed.data, m->sealed.len, &len))
        return bad_reply(e, "a receipt that was made up or changed on its way");
    Devstamp__Owner__Outcome *o = devstamp__owner__outcome__unpack(NULL, len, m->sealed.data);
    if (!o)
        return bad_reply(e, "a receipt that cannot be decoded");
    Devstamp__Owner__Status status = o->status;
    bool known = o->version == VERSION;
    devstamp__owner__outcome__free_unpacked(o, NULL);
    if (!known)
        return bad_reply(e, "a receipt of another version");
    if (status == DEVSTAMP__OWNER__STATUS__STATUS_NOT_TAKEN)
        return ds_companion_fail(e, DS_INPUT, DS_COMPANION_NOT_TAKEN, "the device cannot use these credentials");
    if (status != DEVSTAMP__OWNER__STATUS__STATUS_OK) {
        (void)ds_companion_fail(e, DS_DEVICE, DS_COMPANION_DEVICE_FAILED, "the device could not keep the credentials");
        return ds_hint(e, "switch it off and on, and try again");
    }
    c->stage = DS_COMPANION_DONE;
    return DS_OK;
}

// A refusal, which is not authenticated: it can only end the session, never make a device genuine.
static enum ds_class on_status(Devstamp__Owner__Status status, ds_err *e)
{
    switch (status) {
    case DEVSTAMP__OWNER__STATUS__STATUS_REFUSED:
        (void)ds_companion_fail(e, DS_INPUT, DS_COMPANION_WRONG_SECRET,
                                "the device does not know this proof of possession");
        return ds_hint(e, "is it the label of this very device? a few wrong ones and it takes none until it restarts");
    case DEVSTAMP__OWNER__STATUS__STATUS_LOCKED:
        (void)ds_companion_fail(e, DS_DEVICE, DS_COMPANION_LOCKED_OUT,
                                "the device was shown too many wrong proofs of possession");
        return ds_hint(e, "switch it off and on, and use the secret on its label");
    case DEVSTAMP__OWNER__STATUS__STATUS_NOT_SEALED:
        (void)ds_companion_fail(e, DS_POLICY, DS_COMPANION_NOT_SEALED,
                                "not genuine: the device says that it is not locked");
        return ds_hint(e, "it has not left the factory as it should: give it nothing");
    case DEVSTAMP__OWNER__STATUS__STATUS_NO_SESSION:
        (void)ds_companion_fail(e, DS_DEVICE, DS_COMPANION_LOST_SESSION, "somebody else began to talk to the device");
        return ds_hint(e, "try again, with nobody else at it");
    case DEVSTAMP__OWNER__STATUS__STATUS_FAILED:
        (void)ds_companion_fail(e, DS_DEVICE, DS_COMPANION_DEVICE_FAILED, "the device could not do it");
        return ds_hint(e, "switch it off and on, and try again");
    default:
        return ds_companion_fail(e, DS_DEVICE, DS_COMPANION_BAD_REPLY, "the device does not understand (status %d)",
                                 (int)status);
    }
}

static enum ds_class on_reply(ds_companion *c, const Devstamp__Owner__Reply *r, ds_companion_message *ret, ds_err *e)
{
    if (r->status != DEVSTAMP__OWNER__STATUS__STATUS_OK)
        return on_status(r->status, e);
    if (c->stage == DS_COMPANION_OPENING && r->body_case == DEVSTAMP__OWNER__REPLY__BODY_OPENED)
        return on_opened(c, r->opened, ret, e);
    if (c->stage == DS_COMPANION_CHALLENGING && r->body_case == DEVSTAMP__OWNER__REPLY__BODY_PROOF)
        return on_proof(c, r->proof, ret, e);
    if (c->stage == DS_COMPANION_HANDING && r->body_case == DEVSTAMP__OWNER__REPLY__BODY_RECEIPT)
        return on_receipt(c, r->receipt, e);
    return bad_reply(e, "another one than was asked for");
}

enum ds_class ds_companion_feed(ds_companion *c, const uint8_t *reply, size_t len, ds_companion_message *ret, ds_err *e)
{
    *ret = (ds_companion_message){NULL, 0};
    Devstamp__Owner__Reply *r = len <= DS_COMPANION_REPLY_MAX ? devstamp__owner__reply__unpack(NULL, len, reply) : NULL;
    enum ds_class rc = r ? on_reply(c, r, ret, e) : bad_reply(e, "it cannot be decoded");
    if (r)
        devstamp__owner__reply__free_unpacked(r, NULL);
    if (rc)
        forget(c);
    return rc;
}

static enum ds_class check_credentials(const ds_companion_credentials *k, ds_err *e)
{
    if (!k->ssid_len || k->ssid_len > 32)
        return ds_fail(e, DS_INPUT, "a network's name has 1 to 32 bytes");
    if (k->passphrase_len > 64 || (k->passphrase_len && k->passphrase_len < 8))
        return ds_fail(e, DS_INPUT, "a passphrase has 8 to 64 bytes, or none for an open network");
    if (k->extra_len > 512)
        return ds_fail(e, DS_INPUT, "at most 512 bytes may go with the credentials");
    return DS_OK;
}

// protobuf-c takes no pointers to const.
static ProtobufCBinaryData bytes_of(uint8_t *to, const uint8_t *from, size_t len)
{
    if (len)
        memcpy(to, from, len);
    return (ProtobufCBinaryData){.data = to, .len = len};
}

enum ds_class ds_companion_parcel(ds_companion *c, const ds_companion_credentials *credentials,
                                  ds_companion_message *ret, ds_err *e)
{
    if (c->stage != DS_COMPANION_GENUINE)
        return ds_fail(e, DS_POLICY, "nothing is handed to a device that was not found genuine in this session");
    if (check_credentials(credentials, e))
        return DS_INPUT;
    uint8_t fields[32 + 64 + 512], sealed[sizeof fields + 16 + DS_COMPANION_SEAL];
    Devstamp__Owner__Credentials m = DEVSTAMP__OWNER__CREDENTIALS__INIT;
    m.ssid = bytes_of(fields, credentials->ssid, credentials->ssid_len);
    m.passphrase = bytes_of(fields + 32, credentials->passphrase, credentials->passphrase_len);
    m.extra = bytes_of(fields + 96, credentials->extra, credentials->extra_len);
    size_t len = devstamp__owner__credentials__pack(&m, sealed);
    bool ok = ds_companion_seal(c->keys.parcel, sealed, len);
    OPENSSL_cleanse(fields, sizeof fields);
    OPENSSL_cleanse(c->keys.parcel, sizeof c->keys.parcel); // seals one message
    if (!ok) {
        OPENSSL_cleanse(sealed, sizeof sealed);
        return ds_companion_fail(e, DS_INTERNAL, 0, "the credentials cannot be sealed");
    }
    Devstamp__Owner__Parcel parcel = DEVSTAMP__OWNER__PARCEL__INIT;
    Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
    parcel.sealed = (ProtobufCBinaryData){.data = sealed, .len = len + DS_COMPANION_SEAL};
    q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_PARCEL;
    q.parcel = &parcel;
    c->stage = DS_COMPANION_HANDING;
    *ret = message_of(c, &q);
    return DS_OK;
}
