// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// PIN, PUK and management key. A try is counted on disk before the comparison: pulling the card out in between wins
// nobody a try. Sources: SP 800-73-4 part 2, 3.2; Yubico's PIV documentation for what has no standard.
#include "sim/piv/card_int.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

enum { REFERENCE_PIN = 0x80, REFERENCE_PUK = 0x81, PIN_MIN = 6 };

static int save(const ds_piv_card *c)
{
    return ds_piv_store_save(c, NULL) ? DS_PIV_MEMORY : DS_PIV_OK;
}

static int left(const ds_piv_pin *pin)
{
    return pin->left ? DS_PIV_WRONG | (pin->left < 15 ? pin->left : 15) : DS_PIV_BLOCKED;
}

// Compare, with one try less.
static int compare(ds_piv_card *c, ds_piv_pin *pin, const uint8_t *value)
{
    if (pin->left == 0)
        return DS_PIV_BLOCKED;
    pin->left--;
    if (save(c) != DS_PIV_OK) {
        pin->left++;
        return DS_PIV_MEMORY;
    }
    if (CRYPTO_memcmp(pin->value, value, DS_PIV_PIN_LEN) != 0)
        return left(pin);
    pin->left = pin->tries;
    return save(c);
}

// At least six bytes, then nothing but filling.
static bool well_formed(const uint8_t *value)
{
    size_t len = 0;
    while (len < DS_PIV_PIN_LEN && value[len] != 0xFF)
        len++;
    for (size_t i = len; i < DS_PIV_PIN_LEN; i++)
        if (value[i] != 0xFF)
            return false;
    return len >= PIN_MIN;
}

int ds_piv_verify(ds_piv_card *c, const ds_piv_command *cmd)
{
    ds_piv_session *s = &c->session;
    if (cmd->p2 != REFERENCE_PIN)
        return DS_PIV_NO_REFERENCE;
    if (cmd->p1 == 0xFF && cmd->data.len == 0) {
        s->verified = s->fresh = false;
        return DS_PIV_OK;
    }
    if (cmd->p1 != 0)
        return DS_PIV_PARAMETER;
    if (cmd->data.len == 0)
        return s->verified ? DS_PIV_OK : left(&c->state.pin);
    if (cmd->data.len != DS_PIV_PIN_LEN)
        return DS_PIV_DATA;
    c->verifies++;
    int status = compare(c, &c->state.pin, cmd->data.ptr);
    s->verified = s->fresh = status == DS_PIV_OK;
    c->wrong += status != DS_PIV_OK;
    return status;
}

// Old value, new value: eight bytes each.
static int replace(ds_piv_card *c, const ds_piv_command *cmd, ds_piv_pin *known, ds_piv_pin *target)
{
    if (cmd->data.len != 2 * DS_PIV_PIN_LEN || !well_formed(cmd->data.ptr + DS_PIV_PIN_LEN))
        return DS_PIV_DATA;
    int status = compare(c, known, cmd->data.ptr);
    if (status != DS_PIV_OK)
        return status;
    memcpy(target->value, cmd->data.ptr + DS_PIV_PIN_LEN, DS_PIV_PIN_LEN);
    target->left = target->tries;
    return save(c);
}

int ds_piv_change(ds_piv_card *c, const ds_piv_command *cmd)
{
    if (cmd->p1 != 0 || (cmd->p2 != REFERENCE_PIN && cmd->p2 != REFERENCE_PUK))
        return DS_PIV_NO_REFERENCE;
    ds_piv_pin *pin = cmd->p2 == REFERENCE_PIN ? &c->state.pin : &c->state.puk;
    return replace(c, cmd, pin, pin);
}

int ds_piv_unblock(ds_piv_card *c, const ds_piv_command *cmd)
{
    if (cmd->p1 != 0 || cmd->p2 != REFERENCE_PIN)
        return DS_PIV_NO_REFERENCE;
    return replace(c, cmd, &c->state.puk, &c->state.pin);
}

static void fill(ds_piv_pin *pin, const char *value, uint8_t tries)
{
    memset(pin->value, 0xFF, sizeof pin->value);
    memcpy(pin->value, value, strlen(value));
    pin->tries = pin->left = tries;
}

// Both return to what the factory set.
int ds_piv_set_tries(ds_piv_card *c, const ds_piv_command *cmd)
{
    if (!c->session.administrator || !c->session.verified)
        return DS_PIV_SECURITY;
    if (cmd->p1 == 0 || cmd->p2 == 0)
        return DS_PIV_PARAMETER;
    fill(&c->state.pin, "123456", cmd->p1);
    fill(&c->state.puk, "12345678", cmd->p2);
    return save(c);
}

// Only once PIN and PUK are both blocked. The attestation key stays.
int ds_piv_reset_application(ds_piv_card *c)
{
    if (c->state.pin.left || c->state.puk.left)
        return DS_PIV_CONDITION;
    ds_piv_key attestation = *ds_piv_key_of(c, DS_PIV_SLOT_ATTESTATION);
    ds_piv_object *kept = ds_piv_object_of(c, DS_PIV_ATTESTATION_OBJECT);
    ds_buf certificate = {0};
    if (kept)
        ds_buf_add(&certificate, kept->data.ptr, kept->data.len);
    if (attestation.key)
        EVP_PKEY_up_ref(attestation.key);
    uint8_t form_factor = c->state.form_factor;
    uint32_t serial = c->state.serial;
    ds_piv_state_free(&c->state);
    ds_piv_state_init(&c->state, serial);
    c->state.form_factor = form_factor;
    *ds_piv_key_of(c, DS_PIV_SLOT_ATTESTATION) = attestation;
    (void)ds_piv_object_set(c, DS_PIV_ATTESTATION_OBJECT, ds_buf_view(&certificate));
    ds_buf_free(&certificate);
    c->session.verified = c->session.fresh = c->session.administrator = false;
    return save(c);
}

static const EVP_CIPHER *cipher_of(uint8_t algorithm)
{
    switch (algorithm) {
    case DS_PIV_3DES:
        return EVP_des_ede3_ecb();
    case DS_PIV_AES128:
        return EVP_aes_128_ecb();
    case DS_PIV_AES192:
        return EVP_aes_192_ecb();
    case DS_PIV_AES256:
        return EVP_aes_256_ecb();
    default:
        return NULL;
    }
}

// One block under the management key.
static bool encrypt(const ds_piv_state *s, const uint8_t *in, uint8_t *ret)
{
    const EVP_CIPHER *cipher = cipher_of(s->management_algorithm);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    bool good = ctx && EVP_EncryptInit_ex(ctx, cipher, NULL, s->management, NULL) == 1 &&
                EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
                EVP_EncryptUpdate(ctx, ret, &len, in, EVP_CIPHER_get_block_size(cipher)) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return good;
}

static void answer(ds_buf *ret, uint8_t tag, const uint8_t *value, size_t len)
{
    ds_buf inner = {0};
    ds_piv_tlv_put(&inner, tag, (ds_view){value, len});
    ds_piv_tlv_put(ret, 0x7C, ds_buf_view(&inner));
    ds_buf_free(&inner);
}

// The other side wants something to prove itself on: encrypted (80, mutual) or in the clear (81, it alone).
static int challenge(ds_piv_card *c, uint8_t kind, size_t block, ds_buf *ret)
{
    uint8_t shown[16];
    if (RAND_bytes(c->session.challenge, (int)block) != 1)
        return DS_PIV_MEMORY;
    memcpy(shown, c->session.challenge, block);
    if (kind == 0x80 && !encrypt(&c->state, c->session.challenge, shown))
        return DS_PIV_MEMORY;
    c->session.challenge_kind = kind;
    answer(ret, kind, shown, block);
    return DS_PIV_OK;
}

int ds_piv_management(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    const EVP_CIPHER *cipher = cipher_of(c->state.management_algorithm);
    size_t block = (size_t)EVP_CIPHER_get_block_size(cipher);
    ds_view all, witness, theirs, proof;
    if (cmd->p1 != c->state.management_algorithm && !(cmd->p1 == 0 && c->state.management_algorithm == DS_PIV_3DES))
        return DS_PIV_PARAMETER;
    if (!ds_piv_tlv_find(cmd->data, 0x7C, &all))
        return DS_PIV_DATA;
    bool has_witness = ds_piv_tlv_find(all, 0x80, &witness), has_theirs = ds_piv_tlv_find(all, 0x81, &theirs);
    bool has_proof = ds_piv_tlv_find(all, 0x82, &proof);
    if (has_witness && witness.len == 0)
        return challenge(c, 0x80, block, ret);
    if (has_theirs && theirs.len == 0 && !has_witness)
        return challenge(c, 0x81, block, ret);
    uint8_t wanted[16], kind = c->session.challenge_kind;
    c->session.challenge_kind = 0;
    c->session.administrator = false;
    if (kind == 0x80 && has_witness && has_theirs && witness.len == block && theirs.len == block) {
        if (CRYPTO_memcmp(witness.ptr, c->session.challenge, block) != 0 || !encrypt(&c->state, theirs.ptr, wanted))
            return DS_PIV_SECURITY;
        answer(ret, 0x82, wanted, block);
    } else if (kind == 0x81 && has_proof && proof.len == block) {
        if (!encrypt(&c->state, c->session.challenge, wanted) || CRYPTO_memcmp(proof.ptr, wanted, block) != 0)
            return DS_PIV_SECURITY;
    } else {
        return DS_PIV_DATA;
    }
    c->session.administrator = true;
    return DS_PIV_OK;
}

int ds_piv_set_management(ds_piv_card *c, const ds_piv_command *cmd)
{
    if (!c->session.administrator)
        return DS_PIV_SECURITY;
    if (cmd->p1 != 0xFF || (cmd->p2 != 0xFF && cmd->p2 != 0xFE))
        return DS_PIV_PARAMETER;
    const EVP_CIPHER *cipher = cmd->data.len > 3 ? cipher_of(cmd->data.ptr[0]) : NULL;
    if (!cipher || cmd->data.ptr[1] != DS_PIV_SLOT_MANAGEMENT || cmd->data.ptr[2] != cmd->data.len - 3 ||
        (size_t)EVP_CIPHER_get_key_length(cipher) != cmd->data.len - 3)
        return DS_PIV_DATA;
    c->state.management_algorithm = cmd->data.ptr[0];
    c->state.management_len = cmd->data.ptr[2];
    memcpy(c->state.management, cmd->data.ptr + 3, cmd->data.ptr[2]);
    return save(c);
}

void ds_piv_state_init(ds_piv_state *s, uint32_t serial)
{
    static const uint8_t known_key[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    *s = (ds_piv_state){.serial = serial, .form_factor = 1, .management_algorithm = DS_PIV_3DES, .management_len = 24};
    while (s->serial == 0 && RAND_bytes((unsigned char *)&s->serial, sizeof s->serial) == 1)
        s->serial %= 100000000;
    for (size_t i = 0; i < 24; i++)
        s->management[i] = known_key[i % 8];
    fill(&s->pin, "123456", 3);
    fill(&s->puk, "12345678", 3);
    static const uint8_t slots[] = {0x9A, 0x9C, 0x9D, 0x9E, DS_PIV_SLOT_ATTESTATION};
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        s->keys[i].slot = i < sizeof slots ? slots[i] : (uint8_t)(0x82 + i - sizeof slots);
}
