// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What tokens show of themselves before any login; see token.h.
#include "src/pki/token_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 64, KEYS_MAX = 64 };

void ds_token_write_uri(const CK_TOKEN_INFO *info, const ds_token_key *k, char *ret, size_t cap)
{
    P11KitUri *uri = p11_kit_uri_new();
    char *text = NULL;
    ret[0] = '\0';
    if (!uri)
        return;
    uint8_t id[sizeof k->id];
    memcpy(id, k->id, k->id_len);
    CK_ATTRIBUTE by_id = {CKA_ID, id, k->id_len};
    CK_TOKEN_INFO *token = p11_kit_uri_get_token_info(uri);
    memcpy(token->label, info->label, sizeof token->label);
    memcpy(token->serialNumber, info->serialNumber, sizeof token->serialNumber);
    if (p11_kit_uri_set_attribute(uri, &by_id) == P11_KIT_URI_OK &&
        p11_kit_uri_format(uri, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &text) == P11_KIT_URI_OK && strlen(text) < cap)
        snprintf(ret, cap, "%s", text);
    free(text);
    p11_kit_uri_free(uri);
}

// Does the private key of that id want the PIN at each use? Hidden before the login, it is not known.
static bool asks_each_time(ds_token *t, ds_token_key *k)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE query[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, k->id, k->id_len}};
    CK_OBJECT_HANDLE found = 0;
    CK_ULONG count = 0;
    CK_BBOOL yes = CK_FALSE;
    if (t->fn->C_FindObjectsInit(t->session, query, 2) != CKR_OK)
        return false;
    if (t->fn->C_FindObjects(t->session, &found, 1, &count) != CKR_OK)
        count = 0;
    (void)t->fn->C_FindObjectsFinal(t->session);
    return count == 1 && ds_token_attribute(t, found, CKA_ALWAYS_AUTHENTICATE, &yes, 1) == 1 && yes;
}

static void look_at_key(ds_token *t, const CK_TOKEN_INFO *info, CK_OBJECT_HANDLE public_h, const ds_token_visitor *v)
{
    ds_token_key k = {.private_h = public_h}; // id, label and type are the same on both halves
    ds_token_key_seen seen = {.type = DS_KEY_NONE};
    if (!ds_token_describe(t, &k, NULL) && !ds_public_key_digest(k.public_key, seen.digest, NULL))
        seen.type = ds_key_type_of(k.public_key);
    snprintf(seen.label, sizeof seen.label, "%s", k.label);
    ds_token_write_uri(info, &k, seen.uri, sizeof seen.uri);
    seen.each_use = asks_each_time(t, &k);
    v->on_key(v->arg, &seen);
    ds_token_key_free(&k);
}

static enum ds_class look_at_keys(ds_token *t, const CK_TOKEN_INFO *info, const ds_token_visitor *v, ds_err *e)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE query = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE found[KEYS_MAX];
    CK_ULONG count = 0;
    CK_RV rv = t->fn->C_FindObjectsInit(t->session, &query, 1);
    if (rv == CKR_OK) {
        rv = t->fn->C_FindObjects(t->session, found, KEYS_MAX, &count);
        (void)t->fn->C_FindObjectsFinal(t->session);
    }
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "list keys");
    for (CK_ULONG i = 0; i < count && i < KEYS_MAX; i++)
        look_at_key(t, info, found[i], v);
    return DS_OK;
}

static void show_token(const CK_TOKEN_INFO *info, const ds_token_visitor *v)
{
    ds_token_seen seen = {
        .initialised = info->flags & CKF_TOKEN_INITIALIZED,
        .tries = ds_token_tries(info),
        .wrong_before = info->flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED),
    };
    ds_token_text(seen.label, info->label, sizeof info->label);
    ds_token_text(seen.serial, info->serialNumber, sizeof info->serialNumber);
    ds_token_text(seen.maker, info->manufacturerID, sizeof info->manufacturerID);
    ds_token_text(seen.model, info->model, sizeof info->model);
    v->on_token(v->arg, &seen);
}

// The session comes first: with it open, the count of tries is the token's, not what the module remembers.
static enum ds_class look_at_token(ds_token *t, CK_SLOT_ID slot, const ds_token_visitor *v, ds_err *e)
{
    CK_TOKEN_INFO info;
    CK_RV rv = t->fn->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
    bool open = rv == CKR_OK;
    rv = t->fn->C_GetTokenInfo(slot, &info);
    if (rv == CKR_TOKEN_NOT_RECOGNIZED || rv == CKR_TOKEN_NOT_PRESENT)
        return DS_OK;
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "look at a token");
    show_token(&info, v);
    enum ds_class rc = open && info.flags & CKF_TOKEN_INITIALIZED ? look_at_keys(t, &info, v, e) : DS_OK;
    if (open)
        (void)t->fn->C_CloseSession(t->session);
    t->session = 0;
    return rc;
}

enum ds_class ds_token_survey(const char *module, const ds_token_visitor *visitor, ds_err *e)
{
    ds_token *t = ds_alloc(sizeof *t);
    t->module = ds_strdup(module);
    t->uri = p11_kit_uri_new();
    enum ds_class rc = t->uri ? ds_token_load(t, e) : ds_fail(e, DS_INTERNAL, "out of memory");
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV rv = rc ? CKR_OK : t->fn->C_GetSlotList(CK_TRUE, slots, &count);
    if (!rc && rv != CKR_OK)
        rc = ds_hint((ds_token_fail(e, rv, "list tokens"), e), "see that the token's service (pcscd) runs");
    for (CK_ULONG i = 0; !rc && i < count; i++)
        rc = look_at_token(t, slots[i], visitor, e);
    ds_token_close(t);
    return rc;
}
