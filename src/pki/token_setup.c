// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Making tokens ready; see token_setup.h. What ykcs11 makes of C_SetPIN: logged in as officer it sets the management
// key; an old PIN that begins with "puk:" means the PUK; otherwise it changes the PIN.
#include "src/pki/token_setup.h"

#include "src/pki/token_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 64, KEYS_MAX = 64, YUBIKEY_PIN_MIN = 6, YUBIKEY_PIN_MAX = 8 };

static const char known_pin[] = "123456", known_puk[] = "12345678",
                  known_key[] = "010203040506070801020304050607080102030405060708";

static bool same_text(const ds_secret *s, const char *text)
{
    return s->len == strlen(text) && memcmp(s->ptr, text, s->len) == 0;
}

typedef struct choice {
    CK_TOKEN_INFO info;
    CK_SLOT_ID slot;
    unsigned count;
} choice;

static void choose(choice *c, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
    c->slot = slot;
    c->info = *info;
    c->count++;
}

// Which tokens there are: those asked for, empty ones, YubiKeys, all others.
static CK_RV look(ds_token *t, const char *serial, choice *named, choice *empty, choice *yubikey, choice *other)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV rv = t->fn->C_GetSlotList(CK_TRUE, slots, &count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++) {
        CK_TOKEN_INFO info;
        char theirs[sizeof info.serialNumber + 1];
        if (t->fn->C_GetTokenInfo(slots[i], &info) != CKR_OK)
            continue;
        ds_token_text(theirs, info.serialNumber, sizeof info.serialNumber);
        bool fresh = !(info.flags & CKF_TOKEN_INITIALIZED);
        if (serial && strcmp(serial, theirs) == 0)
            choose(named, slots[i], &info);
        choose(fresh ? empty : ds_token_is_yubico(&info) ? yubikey : other, slots[i], &info);
    }
    return rv;
}

static enum ds_class pick(ds_token *t, const char *serial, ds_err *e)
{
    choice named = {.count = 0}, empty = named, yubikey = named, other = named;
    CK_RV rv = look(t, serial, &named, &empty, &yubikey, &other);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "list tokens");
    const choice *c = serial ? &named : empty.count ? &empty : &yubikey;
    if (c->count > 1)
        return ds_hint((ds_fail(e, DS_TOKEN, "%u tokens could be meant", c->count), e),
                       "name one by its serial number: --serial");
    if (c->count == 0 && serial)
        return ds_fail(e, DS_TOKEN, "no token has the serial number %s", serial);
    if (c->count == 0 && other.count)
        return ds_hint((ds_fail(e, DS_POLICY, "the token is initialised already"), e),
                       "to erase all it holds and begin anew, name it: --serial N --erase N");
    if (c->count == 0)
        return ds_hint((ds_fail(e, DS_TOKEN, "no token is there"), e), "plug it in, and see that its service runs");
    t->slot = c->slot;
    t->yubico = ds_token_is_yubico(&c->info);
    ds_token_text(t->identity.label, c->info.label, sizeof c->info.label);
    ds_token_text(t->serial, c->info.serialNumber, sizeof c->info.serialNumber);
    memcpy(t->identity.serial, c->info.serialNumber, sizeof t->identity.serial);
    return DS_OK;
}

enum ds_class ds_token_pick(const char *module, const char *serial, ds_token **ret, ds_err *e)
{
    ds_token *t = ds_alloc(sizeof *t);
    t->module = ds_strdup(module);
    t->uri = p11_kit_uri_new();
    enum ds_class rc = t->uri ? ds_token_load(t, e) : ds_fail(e, DS_INTERNAL, "out of memory");
    if (!rc)
        rc = pick(t, serial, e);
    if (rc) {
        ds_token_close(t);
        return rc;
    }
    *ret = t;
    return DS_OK;
}

bool ds_token_is_yubikey(const ds_token *t)
{
    return t->yubico;
}

// --- most tokens

static enum ds_class check_length(const CK_TOKEN_INFO *info, const ds_secret *pin, const char *name, ds_err *e)
{
    if (pin->ptr && pin->len >= info->ulMinPinLen && (info->ulMaxPinLen == 0 || pin->len <= info->ulMaxPinLen))
        return DS_OK;
    return ds_fail(e, DS_INPUT, "the token takes a %s of %lu to %lu bytes", name, info->ulMinPinLen, info->ulMaxPinLen);
}

static enum ds_class check_new(const ds_token *t, const CK_TOKEN_INFO *info, const ds_token_setup *what, ds_err *e)
{
    bool fresh = !(info->flags & CKF_TOKEN_INITIALIZED);
    if (!fresh && !(what->erase && strcmp(what->erase, t->serial) == 0))
        return ds_hint((ds_fail(e, DS_POLICY, "token \"%s\" is initialised already", t->identity.label), e),
                       "to erase all it holds and begin anew: --erase %s", t->serial);
    if (!fresh && info->flags & (CKF_SO_PIN_LOCKED | CKF_SO_PIN_FINAL_TRY))
        return ds_fail(e, DS_TOKEN, "token \"%s\": its SO PIN is locked or has one try left; nothing was tried",
                       t->identity.label);
    if (!what->label || !*what->label || strlen(what->label) > sizeof info->label)
        return ds_fail(e, DS_USAGE, "a token's label has 1 to %zu bytes", sizeof info->label);
    if (!what->so_pin->ptr || !what->pin->ptr)
        return ds_fail(e, DS_USAGE, "a new token needs both its SO PIN and its PIN");
    enum ds_class rc = check_length(info, what->so_pin, "SO PIN", e);
    return rc ? rc : check_length(info, what->pin, "PIN", e);
}

static enum ds_class make_new(ds_token *t, const CK_TOKEN_INFO *info, const ds_token_setup *what, ds_err *e)
{
    CK_UTF8CHAR label[sizeof info->label];
    memset(label, ' ', sizeof label);
    memcpy(label, what->label, strlen(what->label));
    CK_RV rv = t->fn->C_InitToken(t->slot, what->so_pin->ptr, what->so_pin->len, label);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "initialise the token");
    rv = t->fn->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &t->session);
    if (rv == CKR_OK)
        rv = t->fn->C_Login(t->session, CKU_SO, what->so_pin->ptr, what->so_pin->len);
    if (rv == CKR_OK)
        rv = t->fn->C_InitPIN(t->session, what->pin->ptr, what->pin->len);
    (void)t->fn->C_Logout(t->session);
    CK_TOKEN_INFO now;
    if (rv == CKR_OK)
        rv = t->fn->C_GetTokenInfo(t->slot, &now);
    if (rv != CKR_OK)
        return ds_hint((ds_token_fail(e, rv, "set the user's PIN of the new token"), e),
                       "the token is initialised and has no PIN yet: run again with --erase");
    ds_token_text(t->serial, now.serialNumber, sizeof now.serialNumber);
    ds_token_text(t->identity.label, now.label, sizeof now.label);
    return DS_OK;
}

// --- a YubiKey

static enum ds_class check_short(const ds_secret *s, const char *known, const char *name, ds_err *e)
{
    if (!s->ptr)
        return DS_OK;
    if (s->len < YUBIKEY_PIN_MIN || s->len > YUBIKEY_PIN_MAX)
        return ds_fail(e, DS_INPUT, "a YubiKey's %s has %d to %d characters", name, YUBIKEY_PIN_MIN, YUBIKEY_PIN_MAX);
    if (same_text(s, known))
        return ds_fail(e, DS_INPUT, "the new %s is the one that everybody knows", name);
    return DS_OK;
}

static enum ds_class check_secrets(const ds_token_setup *what, ds_err *e)
{
    enum ds_class rc = check_short(what->pin, known_pin, "PIN", e);
    if (!rc)
        rc = check_short(what->puk, known_puk, "PUK", e);
    if (!rc && what->so_pin->ptr)
        rc = ds_token_check_management_key(what->so_pin, e);
    if (!rc && what->so_pin->ptr && same_text(what->so_pin, known_key))
        rc = ds_fail(e, DS_INPUT, "the new management key is the one that everybody knows");
    return rc;
}

// Keys but the maker's own.
static enum ds_class check_no_keys(ds_token *t, ds_err *e)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE query = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE found[KEYS_MAX];
    CK_ULONG count = 0;
    ds_name_list there = {.len = 0};
    CK_RV rv = t->fn->C_FindObjectsInit(t->session, &query, 1);
    if (rv == CKR_OK) {
        rv = t->fn->C_FindObjects(t->session, found, KEYS_MAX, &count);
        (void)t->fn->C_FindObjectsFinal(t->session);
    }
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "look for keys");
    for (CK_ULONG i = 0; i < count && i < KEYS_MAX; i++) {
        uint8_t id[64], label[128];
        size_t len = ds_token_attribute(t, found[i], CKA_ID, id, sizeof id);
        if (len != 1 || *id != DS_YUBIKEY_ATTESTATION_ID)
            ds_name_list_add(&there, label, ds_token_attribute(t, found[i], CKA_LABEL, label, sizeof label));
    }
    if (!there.len)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "token \"%s\" holds keys already: %s", t->identity.label, there.text), e),
                   "if it is the right one, name it: --in-use %s (its keys stay)", t->serial);
}

static enum ds_class check_yubikey(ds_token *t, const ds_token_setup *what, ds_err *e)
{
    static const char *const left[] = {"its PIN is locked", "one try of its PIN is left",
                                       "two tries of its PIN are left"};
    CK_TOKEN_INFO info;
    if (what->erase)
        return ds_hint((ds_fail(e, DS_USAGE, "a YubiKey is not erased here"), e),
                       "lock PIN and PUK, then: yubico-piv-tool -a reset; then run again without --erase");
    if (what->in_use && strcmp(what->in_use, t->serial) != 0)
        return ds_fail(e, DS_POLICY, "token \"%s\" has the serial number %s, not %s; nothing was changed",
                       t->identity.label, t->serial, what->in_use);
    enum ds_class rc = check_secrets(what, e);
    if (rc)
        return rc;
    CK_RV rv = t->fn->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &t->session);
    if (rv == CKR_OK)
        rv = t->fn->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "ask the token");
    int tries = ds_token_tries(&info);
    if (what->pin->ptr && tries >= 0)
        return ds_hint((ds_fail(e, DS_TOKEN, "token \"%s\": %s; nothing was tried", t->identity.label, left[tries]), e),
                       "it is no new one: see to its PIN with the token's own tool, or leave it with --keep pin");
    return what->in_use ? DS_OK : check_no_keys(t, e);
}

static enum ds_class refused(const ds_token *t, CK_RV rv, const char *name, const char *keep, ds_err *e)
{
    (void)ds_token_fail(e, rv, "change the well-known one");
    if (rv == CKR_PIN_INCORRECT) {
        (void)ds_fail(e, DS_TOKEN, "it is not the well-known one any more; it was tried once");
        if (e)
            e->code = CKR_PIN_INCORRECT;
        (void)ds_hint(e, "leave it as it is with --keep %s, or change it with yubico-piv-tool", keep);
    }
    return ds_wrap(e, "token \"%s\": %s", t->identity.label, name);
}

static enum ds_class set_management_key(ds_token *t, ds_secret *wanted, ds_err *e)
{
    CK_UTF8CHAR old[sizeof known_key];
    memcpy(old, known_key, sizeof old);
    CK_RV rv = t->fn->C_Login(t->session, CKU_SO, old, sizeof old - 1);
    if (rv == CKR_OK) {
        rv = t->fn->C_SetPIN(t->session, old, sizeof old - 1, wanted->ptr, wanted->len);
        (void)t->fn->C_Logout(t->session);
    }
    return rv == CKR_OK ? DS_OK : refused(t, rv, "management key", "so-pin", e);
}

static enum ds_class set_short(ds_token *t, bool puk, const ds_secret *wanted, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret now = {0};
    CK_UTF8CHAR old[4 + sizeof known_puk];
    int len = snprintf((char *)old, sizeof old, puk ? "puk:%s" : "%s", puk ? known_puk : known_pin);
    size_t skip = puk ? 4 : 0;
    enum ds_class rc = ds_secret_new(&now, wanted->len + skip, e);
    if (rc)
        return rc;
    memcpy(now.ptr, "puk:", skip);
    memcpy(now.ptr + skip, wanted->ptr, wanted->len);
    CK_RV rv = t->fn->C_SetPIN(t->session, old, (CK_ULONG)len, now.ptr, now.len);
    return rv == CKR_OK ? DS_OK : refused(t, rv, puk ? "PUK" : "PIN", puk ? "puk" : "pin", e);
}

// The PIN comes last: while it is the well-known one, everybody sees that the key is not ready.
static enum ds_class set_up_yubikey(ds_token *t, const ds_token_setup *what, ds_err *e)
{
    enum ds_class rc = check_yubikey(t, what, e);
    if (!rc && what->so_pin->ptr && !(rc = set_management_key(t, what->so_pin, e)))
        what->on_done(what->arg, "management key");
    if (!rc && what->puk->ptr && !(rc = set_short(t, true, what->puk, e)))
        what->on_done(what->arg, "PUK");
    if (!rc && what->pin->ptr && !(rc = set_short(t, false, what->pin, e)))
        what->on_done(what->arg, "PIN");
    return rc;
}

enum ds_class ds_token_set_up(ds_token *t, const ds_token_setup *what, ds_err *e)
{
    CK_TOKEN_INFO info;
    if (t->yubico)
        return set_up_yubikey(t, what, e);
    CK_RV rv = t->fn->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "ask the token");
    enum ds_class rc = check_new(t, &info, what, e);
    return rc ? rc : make_new(t, &info, what, e);
}
