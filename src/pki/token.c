// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Module, slot and login; see token.h.
#include "src/pki/token_int.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 64, LOOK_MS = 1500 };

static const struct {
    CK_RV rv;
    const char *words;
} meanings[] = {
    {CKR_PIN_INCORRECT, "the PIN is wrong"},
    {CKR_PIN_INVALID, "the PIN holds characters the token does not take"},
    {CKR_PIN_LEN_RANGE, "the PIN has a length the token does not take"},
    {CKR_PIN_EXPIRED, "the PIN has expired"},
    {CKR_PIN_LOCKED, "the PIN is locked"},
    {CKR_USER_NOT_LOGGED_IN, "the token demands a login of another kind"},
    {CKR_USER_PIN_NOT_INITIALIZED, "the token has no user PIN yet"},
    {CKR_DEVICE_REMOVED, "the token was removed"},
    {CKR_DEVICE_ERROR, "the token reports an error"},
    {CKR_DEVICE_MEMORY, "the token is full"},
    {CKR_TOKEN_NOT_PRESENT, "the token is not there"},
    {CKR_TOKEN_WRITE_PROTECTED, "the token is write protected"},
    {CKR_TOKEN_NOT_RECOGNIZED, "the token is not recognized"},
    {CKR_MECHANISM_INVALID, "the token cannot do that"},
    {CKR_FUNCTION_NOT_SUPPORTED, "the module cannot do that"},
    {CKR_TEMPLATE_INCONSISTENT, "the token does not take such a key"},
    {CKR_ATTRIBUTE_VALUE_INVALID, "the token does not take such a key"},
    {CKR_CURVE_NOT_SUPPORTED, "the token does not know the curve"},
    {CKR_GENERAL_ERROR, "general error"},
};

// What helps whatever was asked.
static const struct {
    CK_RV rv;
    const char *hint;
} remedies[] = {
    {CKR_DEVICE_REMOVED, "plug the token in, then run again"},
    {CKR_TOKEN_NOT_PRESENT, "plug the token in, then run again"},
    {CKR_DEVICE_ERROR, "unplug the token, plug it in, then run again"},
    {CKR_TOKEN_NOT_RECOGNIZED, "unplug the token, plug it in, then run again"},
    {CKR_DEVICE_MEMORY, "remove keys that nobody needs with the token's own tool, then run again"},
    {CKR_PIN_EXPIRED, "set a new PIN with the token's own tool, then run again"},
    {CKR_PIN_LOCKED, "unlock the PIN with the token's own tool, then run again"},
    {CKR_USER_NOT_LOGGED_IN,
     "touch the token when it blinks; in a YubiKey, give an imported key PIN policy \"always\" in "
     "slot 9c alone"},
    {CKR_USER_PIN_NOT_INITIALIZED, "set the user PIN with the token's own tool, then run again"},
};

enum ds_class ds_token_hint(ds_err *e)
{
    for (size_t i = 0; e && i < sizeof remedies / sizeof *remedies; i++)
        if (remedies[i].rv == e->code)
            (void)ds_hint(e, "%s", remedies[i].hint);
    return e ? e->cls : DS_TOKEN;
}

enum ds_class ds_token_fail(ds_err *e, CK_RV rv, const char *what)
{
    const char *words = "the module refused";
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].rv == rv)
            words = meanings[i].words;
    (void)ds_fail(e, DS_TOKEN, "%s: %s (0x%lx)", what, words, rv);
    if (e)
        e->code = (uint32_t)rv;
    return ds_token_hint(e);
}

bool ds_token_code_is_pin(uint32_t code)
{
    return code == CKR_PIN_INCORRECT || code == CKR_PIN_INVALID || code == CKR_PIN_LEN_RANGE ||
           code == CKR_PIN_EXPIRED || code == CKR_PIN_LOCKED;
}

static enum ds_class parse_uri(const char *text, P11KitUri **ret, ds_err *e)
{
    P11KitUri *uri = p11_kit_uri_new();
    if (!uri)
        return ds_fail(e, DS_INTERNAL, "out of memory");
    int rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_OBJECT_ON_TOKEN_AND_MODULE, uri);
    enum ds_class cls = DS_OK;
    if (rc != P11_KIT_URI_OK)
        cls = ds_fail(e, DS_USAGE, "key URI: %s", p11_kit_uri_message(rc));
    else if (p11_kit_uri_get_pin_value(uri) || p11_kit_uri_get_pin_source(uri))
        cls = ds_hint((ds_fail(e, DS_POLICY, "the key URI carries a PIN"), e),
                      "leave pin-value and pin-source out; give the PIN by file, file descriptor or prompt");
    else if (p11_kit_uri_any_unrecognized(uri))
        cls = ds_fail(e, DS_USAGE, "the key URI holds an attribute that is not known");
    else if (!p11_kit_uri_get_attribute(uri, CKA_LABEL) && !p11_kit_uri_get_attribute(uri, CKA_ID))
        cls = ds_hint((ds_fail(e, DS_USAGE, "the key URI names no key"), e), "add object=NAME or id=%%02");
    if (cls) {
        p11_kit_uri_free(uri);
        return cls;
    }
    *ret = uri;
    return DS_OK;
}

enum ds_class ds_token_uri_check(const char *uri, ds_err *e)
{
    P11KitUri *parsed = NULL;
    enum ds_class rc = parse_uri(uri, &parsed, e);
    p11_kit_uri_free(parsed);
    return rc;
}

static bool same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
    return memcmp(a->label, b->label, sizeof a->label) == 0 &&
           memcmp(a->manufacturerID, b->manufacturerID, sizeof a->manufacturerID) == 0 &&
           memcmp(a->model, b->model, sizeof a->model) == 0 &&
           memcmp(a->serialNumber, b->serialNumber, sizeof a->serialNumber) == 0;
}

bool ds_token_same(const char *uri_a, const char *uri_b)
{
    P11KitUri *a = NULL, *b = NULL;
    bool same = !parse_uri(uri_a, &a, NULL) && !parse_uri(uri_b, &b, NULL) &&
                same_token(p11_kit_uri_get_token_info(a), p11_kit_uri_get_token_info(b));
    p11_kit_uri_free(a);
    p11_kit_uri_free(b);
    return same;
}

enum ds_class ds_token_load(ds_token *t, ds_err *e)
{
    t->handle = dlopen(t->module, RTLD_NOW | RTLD_LOCAL);
    if (!t->handle) {
        const char *why = dlerror();
        return ds_hint((ds_fail(e, DS_TOKEN, "load PKCS#11 module: %s", why ? why : t->module), e),
                       "install the token's PKCS#11 library, or correct its path (signer.module or --module)");
    }
    CK_RV (*get_list)(CK_FUNCTION_LIST **) = NULL;
    void *symbol = dlsym(t->handle, "C_GetFunctionList");
    memcpy(&get_list, &symbol, sizeof get_list);
    if (!get_list || get_list(&t->fn) != CKR_OK || !t->fn)
        return ds_hint((ds_fail(e, DS_TOKEN, "%s is not a PKCS#11 module", t->module), e),
                       "name the token's PKCS#11 library (signer.module or --module)");
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_RV rv = t->fn->C_Initialize(&args);
    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) // by the process's other key in the same module
        return ds_hint((ds_token_fail(e, rv, "start PKCS#11 module"), e),
                       "see that the token's service (pcscd) runs and the token is plugged in, then run again");
    t->initialised = rv == CKR_OK;
    return DS_OK;
}

void ds_name_list_add(ds_name_list *l, const uint8_t *name, size_t len)
{
    while (len > 0 && name[len - 1] == ' ')
        len--;
    if (l->len + len + 5 > sizeof l->text)
        return;
    l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, "%s\"", l->len ? ", " : "");
    for (size_t i = 0; i < len; i++)
        l->text[l->len++] = name[i] >= 0x20 && name[i] < 0x7f ? (char)name[i] : '?';
    l->text[l->len++] = '"';
    l->text[l->len] = '\0';
}

void ds_token_text(char *ret, const unsigned char *src, size_t len)
{
    while (len > 0 && src[len - 1] == ' ')
        len--;
    memcpy(ret, src, len);
    ret[len] = '\0';
}

// Slot numbers change from run to run: a token is known by what its URI says of it.
static enum ds_class find_slot(ds_token *t, ds_err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV rv = t->fn->C_GetSlotList(CK_TRUE, slots, &count);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "list tokens");
    unsigned found = 0;
    ds_name_list others = {.len = 0};
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (t->fn->C_GetTokenInfo(slots[i], &info) != CKR_OK || !(info.flags & CKF_TOKEN_INITIALIZED))
            continue;
        if (!p11_kit_uri_match_token_info(t->uri, &info)) {
            ds_name_list_add(&others, info.label, sizeof info.label);
            continue;
        }
        found++;
        t->slot = slots[i];
        ds_token_text(t->identity.label, info.label, sizeof info.label);
        memcpy(t->identity.serial, info.serialNumber, sizeof t->identity.serial);
        ds_token_text(t->serial, info.serialNumber, sizeof info.serialNumber);
        t->yubico = ds_token_is_yubico(&info);
    }
    if (found == 1)
        return DS_OK;
    if (found > 1)
        return ds_hint((ds_fail(e, DS_TOKEN, "%u tokens match the key URI", found), e),
                       "name the token exactly, for instance with serial=");
    (void)ds_fail(e, DS_TOKEN, "no token matches the key URI; %s%s", others.len ? "there is " : "none is there",
                  others.text);
    if (e)
        e->code = CKR_TOKEN_NOT_PRESENT;
    return ds_hint(e, "is it plugged in? list tokens with: pkcs11-tool --module %s -T", t->module);
}

bool ds_token_is_yubico(const CK_TOKEN_INFO *info)
{
    static const char yubico[] = "Yubico";
    return memcmp(info->manufacturerID, yubico, sizeof yubico - 1) == 0;
}

int ds_token_tries(const CK_TOKEN_INFO *info)
{
    if (info->flags & CKF_USER_PIN_LOCKED)
        return 0;
    if (info->flags & CKF_USER_PIN_FINAL_TRY)
        return 1;
    // PKCS#11 lets it mean any number; ykcs11 sets it at two exactly.
    if (info->flags & CKF_USER_PIN_COUNT_LOW && ds_token_is_yubico(info))
        return 2;
    return -1;
}

static enum ds_class check_tries(const ds_token *t, const CK_TOKEN_INFO *info, bool spend, ds_err *e)
{
    static const char *const left[] = {"its PIN is locked", "one try of its PIN is left",
                                       "two tries of its PIN are left"};
    static const char *const help[] = {"unlock the PIN with the token's own tool",
                                       "make sure of the PIN and log in once with the token's own tool",
                                       "make sure of the PIN, then log in once with: devstamp token check-pin"};
    int tries = ds_token_tries(info);
    if (tries >= 0 && !(tries == 2 && spend)) {
        (void)ds_fail(e, DS_TOKEN, "token \"%s\": %s; nothing was tried", t->identity.label, left[tries]);
        if (e)
            e->code = CKR_PIN_LOCKED;
        return ds_hint(e, "%s", help[tries]);
    }
    if (info->flags & CKF_USER_PIN_COUNT_LOW)
        ds_log(DS_LOG_WARN, "token \"%s\": a wrong PIN was entered before", t->identity.label);
    return DS_OK;
}

// Serial numbers as text, without the spaces that fill them up.
static bool is_serial(const CK_TOKEN_INFO *info, const char *serial)
{
    char theirs[sizeof info->serialNumber + 1];
    ds_token_text(theirs, info->serialNumber, sizeof info->serialNumber);
    return strcmp(theirs, serial) == 0;
}

static enum ds_class check_serial(const ds_token *t, const CK_TOKEN_INFO *info, const char *serial, ds_err *e)
{
    char theirs[sizeof info->serialNumber + 1];
    if (!serial || is_serial(info, serial))
        return DS_OK;
    ds_token_text(theirs, info->serialNumber, sizeof info->serialNumber);
    (void)ds_fail(e, DS_TOKEN, "token \"%s\" has the serial number %s, not %s; its PIN was not sent", t->identity.label,
                  theirs, serial);
    if (e)
        e->code = CKR_TOKEN_NOT_RECOGNIZED;
    return ds_hint(e, "plug in the token that belongs to this station, or correct token_serial");
}

enum ds_class ds_token_check_management_key(const ds_secret *key, ds_err *e)
{
    enum { DIGITS = 48 };
    bool good = key->ptr && key->len == DIGITS;
    for (size_t i = 0; good && i < DIGITS; i++)
        good = isxdigit(key->ptr[i]) != 0;
    return good ? DS_OK
                : ds_hint((ds_fail(e, DS_INPUT, "a YubiKey's management key has 48 hexadecimal digits"), e),
                          "give the management key where the SO PIN is asked for; nothing was sent");
}

// The officer's PIN has a count of its own in some tokens, and none in a YubiKey.
static enum ds_class login_officer(ds_token *t, const CK_TOKEN_INFO *info, const ds_secret *pin, ds_err *e)
{
    if (!pin || !pin->ptr)
        return ds_fail(e, DS_TOKEN, "token \"%s\" needs the SO PIN", t->identity.label);
    if (t->yubico && ds_token_check_management_key(pin, e))
        return DS_INPUT;
    if (info->flags & (CKF_SO_PIN_LOCKED | CKF_SO_PIN_FINAL_TRY))
        return ds_hint(
            (ds_fail(e, DS_TOKEN, "token \"%s\": its SO PIN is locked or has one try left; nothing was tried",
                     t->identity.label),
             e),
            "see to it with the token's own tool");
    CK_RV rv = t->fn->C_Login(t->session, CKU_SO, pin->ptr, pin->len);
    if (rv == CKR_OK)
        return DS_OK;
    (void)ds_token_fail(e, rv, t->yubico ? "log in with the management key" : "log in as officer");
    if (rv == CKR_PIN_INCORRECT)
        (void)ds_hint(e, "it was tried once and is not tried again by itself");
    return ds_wrap(e, "token \"%s\"", t->identity.label);
}

// The one and only try.
static enum ds_class login(ds_token *t, const ds_token_access *access, ds_err *e)
{
    const ds_secret *pin = access->pin;
    CK_TOKEN_INFO info = {0};
    CK_RV rv = t->fn->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "ask the token");
    // also where none was demanded: another token may have taken the place of the one that was found there
    if (check_serial(t, &info, access->serial ? access->serial : t->serial, e))
        return DS_TOKEN;
    if (access->user == DS_TOKEN_NOBODY)
        return DS_OK;
    if (access->user == DS_TOKEN_OFFICER)
        return login_officer(t, &info, pin, e);
    if (!(info.flags & CKF_LOGIN_REQUIRED))
        return DS_OK;
    if (check_tries(t, &info, access->spend, e))
        return DS_TOKEN;
    if (!pin || !pin->ptr)
        return ds_hint((ds_fail(e, DS_TOKEN, "token \"%s\" needs a PIN", t->identity.label), e),
                       "give it by file, file descriptor or prompt");
    enum ds_class rc = ds_pin_note_try(t->note, &t->identity, e);
    if (rc)
        return rc;
    rv = t->fn->C_Login(t->session, CKU_USER, pin->ptr, pin->len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
        ds_pin_note_accepted(t->note, &t->identity);
        return DS_OK;
    }
    if (ds_token_code_is_pin((uint32_t)rv)) // of other failures nobody knows whether the token counted the try
        ds_pin_note_refused(t->note, &t->identity);
    (void)ds_token_fail(e, rv, "log in");
    (void)ds_wrap(e, "token \"%s\"", t->identity.label);
    if (ds_token_code_is_pin((uint32_t)rv))
        (void)ds_hint(e, "it was tried once and is not tried again by itself; correct the PIN before the next start");
    return DS_TOKEN;
}

static enum ds_class open_parts(ds_token *t, const ds_token_access *access, ds_err *e)
{
    enum ds_class rc = ds_token_load(t, e);
    if (!rc)
        rc = find_slot(t, e);
    if (rc)
        return rc;
    CK_FLAGS flags = CKF_SERIAL_SESSION | (access->rw ? CKF_RW_SESSION : 0);
    CK_RV rv = t->fn->C_OpenSession(t->slot, flags, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "open session");
    return login(t, access, e);
}

// A token that is not open yet, for the URI. ds_token_close.
static enum ds_class prepare(const char *uri, const char *module, ds_token **ret, ds_err *e)
{
    P11KitUri *parsed = NULL;
    enum ds_class rc = parse_uri(uri, &parsed, e);
    if (rc)
        return rc;
    if (!module)
        module = p11_kit_uri_get_module_path(parsed);
    if (!module) {
        p11_kit_uri_free(parsed);
        return ds_hint((ds_fail(e, DS_USAGE, "no PKCS#11 module is named"), e), "add --module PATH");
    }
    ds_token *t = ds_alloc(sizeof *t);
    t->uri = parsed;
    t->module = ds_strdup(module);
    *ret = t;
    return DS_OK;
}

enum ds_class ds_token_open(const ds_token_access *access, ds_token **ret, ds_err *e)
{
    ds_token *t = NULL;
    enum ds_class rc = prepare(access->uri, access->module, &t, e);
    if (rc)
        return rc;
    t->note = access->note;
    rc = open_parts(t, access, e);
    if (rc) {
        ds_token_close(t);
        return rc;
    }
    *ret = t;
    return DS_OK;
}

enum ds_class ds_token_login_again(ds_token *t, const ds_secret *pin, ds_err *e)
{
    const ds_token_access access = {.pin = pin};
    (void)t->fn->C_Logout(t->session);
    return login(t, &access, e);
}

enum ds_class ds_token_identify(const char *uri, const char *module, char ret[17], ds_err *e)
{
    ds_token *t = NULL;
    enum ds_class rc = prepare(uri, module, &t, e);
    if (!rc)
        rc = ds_token_load(t, e);
    if (!rc)
        rc = find_slot(t, e);
    if (!rc)
        ds_token_text(ret, t->identity.serial, sizeof t->identity.serial);
    ds_token_close(t);
    return rc;
}

void ds_token_close(ds_token *t)
{
    if (!t)
        return;
    if (t->session)
        (void)t->fn->C_CloseSession(t->session);
    if (t->initialised)
        (void)t->fn->C_Finalize(NULL);
    if (t->handle)
        dlclose(t->handle);
    p11_kit_uri_free(t->uri);
    free(t->module);
    free(t);
}

// Did the module forget that it was logged in? So it does with a token that is back again.
static bool logged_out(const ds_token *t)
{
    CK_SESSION_INFO info;
    return t->session && t->fn->C_GetSessionInfo(t->session, &info) == CKR_OK &&
           (info.state == CKS_RO_PUBLIC_SESSION || info.state == CKS_RW_PUBLIC_SESSION);
}

// Is a token of that serial number in any slot? Listing the slots makes modules look again.
static bool still_there(ds_token *t)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    if (t->fn->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        return false;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (t->fn->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            memcmp(info.serialNumber, t->identity.serial, sizeof info.serialNumber) == 0)
            return true;
    }
    return false;
}

enum ds_class ds_token_explain(ds_token *t, ds_err *e)
{
    if (!e || e->cls != DS_TOKEN || ds_token_code_is_pin(e->code))
        return e ? e->cls : DS_TOKEN;
    // pcscd may look for a card every 0.4 s only.
    int64_t deadline = ds_now_ms() + (e->code == CKR_DEVICE_ERROR ? LOOK_MS : 0);
    while (still_there(t) && !logged_out(t)) {
        if (ds_now_ms() >= deadline)
            return e->cls;
        ds_sleep_ms(100);
    }
    (void)ds_fail(e, DS_TOKEN, "token \"%s\" was pulled out", t->identity.label);
    e->code = CKR_DEVICE_REMOVED;
    return ds_token_hint(e);
}

void ds_token_pin_refused(const ds_token *t)
{
    ds_pin_note_refused(t->note, &t->identity);
}

const char *ds_token_module(const ds_token *t)
{
    return t->module;
}

unsigned long ds_token_slot(const ds_token *t)
{
    return t->slot;
}

const char *ds_token_label(const ds_token *t)
{
    return t->identity.label;
}

const char *ds_token_serial(const ds_token *t)
{
    return t->serial;
}

enum ds_class ds_token_key_uri(ds_token *t, const ds_token_key *k, char ret[300], ds_err *e)
{
    CK_TOKEN_INFO info;
    CK_RV rv = t->fn->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "ask the token");
    ds_token_write_uri(&info, k, ret, 300);
    return *ret ? DS_OK : ds_fail(e, DS_INTERNAL, "the key's URI is too long");
}
