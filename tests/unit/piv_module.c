// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A PKCS#11 module over the card; see piv_module.h. One slot, the key of slot 9c, sessions that share one login. As
// ykcs11: the PIN is kept after a login and sent again where the card was reset by another; a card that was pulled out
// stays away for this process until C_Initialize.
#include "tests/unit/piv_module.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PRIVATE_KEY = 1, PUBLIC_KEY = 2, SESSIONS = 8, SW_GONE = 0 };

static struct {
    ds_piv_card *card;
    piv_module_counts *counts;
    enum piv_module_fate fate;
    unsigned at, apdus;
    bool started, lost, again; // again: the card was reset, select and verify before the next command
    bool present;              // as of the last list of slots: what is said of slots and sessions is as old as that
    unsigned serial;
    bool open[SESSIONS], logged_in, signing;
    uint8_t pin[8]; // as kept after a login
    bool has_pin;
    CK_OBJECT_HANDLE found[2];
    CK_ULONG found_count;
} m;

void piv_module_plug(ds_piv_card *card, piv_module_counts *counts, enum piv_module_fate fate, unsigned at)
{
    memset(&m, 0, sizeof m);
    m.card = card;
    m.counts = counts;
    m.fate = fate;
    m.at = at;
}

// Something befalls the card or the process at this APDU. False: the card is gone.
static bool befall(bool after)
{
    if (m.apdus != m.at)
        return true;
    if (m.fate == (after ? PIV_MODULE_DIES_AFTER : PIV_MODULE_DIES_BEFORE))
        _exit(0);
    if (!after && (m.fate == PIV_MODULE_RESET || m.fate == PIV_MODULE_BACK))
        ds_piv_card_reset(m.card);
    if (!after && m.fate == PIV_MODULE_RESET)
        m.again = true;
    bool gone =
        m.fate == (after ? PIV_MODULE_GONE_AFTER : PIV_MODULE_GONE_BEFORE) || (!after && m.fate == PIV_MODULE_BACK);
    if (gone && m.fate != PIV_MODULE_BACK)
        m.card = NULL;
    return !gone;
}

static int send_raw(const uint8_t *command, size_t len, ds_buf *ret)
{
    DS_CLEANUP_BUF ds_buf answer = {0};
    if (m.lost || !m.card) {
        m.lost = true;
        return SW_GONE;
    }
    m.apdus++;
    if (!befall(false)) {
        m.lost = true;
        return SW_GONE;
    }
    uint64_t verifies = m.card->verifies, wrong = m.card->wrong, signatures = m.card->signatures;
    ds_piv_card_run(m.card, (ds_view){command, len}, &answer);
    m.counts->apdus++;
    m.counts->verifies += m.card->verifies - verifies;
    m.counts->wrong += m.card->wrong - wrong;
    m.counts->signatures += m.card->signatures - signatures;
    if (!befall(true)) {
        m.lost = true;
        return SW_GONE;
    }
    if (ret)
        ds_buf_add(ret, answer.ptr, answer.len - 2);
    return answer.ptr[answer.len - 2] << 8 | answer.ptr[answer.len - 1];
}

static int select_piv(void)
{
    static const uint8_t command[] = {0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8};
    return send_raw(command, sizeof command, NULL);
}

static int verify(const uint8_t pin[8])
{
    uint8_t command[13] = {0, 0x20, 0, 0x80, 8};
    memcpy(command + 5, pin, 8);
    return send_raw(command, sizeof command, NULL);
}

static int ask(const uint8_t *command, size_t len, ds_buf *ret)
{
    int status = send_raw(command, len, ret);
    if (!m.again || status == DS_PIV_OK)
        return status;
    m.again = false;
    ds_buf_clear(ret);
    (void)select_piv();
    if (m.has_pin)
        (void)verify(m.pin);
    return send_raw(command, len, ret);
}

static CK_RV status_rv(int status)
{
    return status == DS_PIV_OK                 ? CKR_OK
           : status == SW_GONE                 ? CKR_DEVICE_ERROR
           : status == DS_PIV_BLOCKED          ? CKR_PIN_LOCKED
           : (status & 0xFFF0) == DS_PIV_WRONG ? CKR_PIN_INCORRECT
           : status == DS_PIV_SECURITY         ? CKR_USER_NOT_LOGGED_IN
                                               : CKR_DEVICE_ERROR;
}

static bool is_open(CK_SESSION_HANDLE session)
{
    return session >= 1 && session <= SESSIONS && m.open[session - 1];
}

static CK_RV initialize(void *args)
{
    (void)args;
    if (m.started)
        return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    m.started = true;
    m.lost = false;
    m.present = m.card != NULL;
    m.serial = m.card ? m.card->state.serial : 0;
    if (m.card)
        (void)select_piv();
    return CKR_OK;
}

static CK_RV finalize(void *reserved)
{
    (void)reserved;
    m.started = m.logged_in = m.has_pin = m.again = false;
    memset(m.open, 0, sizeof m.open);
    memset(m.pin, 0, sizeof m.pin);
    if (m.card)
        ds_piv_card_reset(m.card);
    return CKR_OK;
}

static void fill(unsigned char *field, size_t len, const char *text)
{
    memset(field, ' ', len);
    memcpy(field, text, strlen(text));
}

static CK_RV get_info(CK_INFO *info)
{
    memset(info, 0, sizeof *info);
    info->cryptokiVersion.major = 2;
    info->cryptokiVersion.minor = 40;
    fill(info->manufacturerID, sizeof info->manufacturerID, "devstamp tests");
    fill(info->libraryDescription, sizeof info->libraryDescription, "a card in memory");
    return CKR_OK;
}

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count)
{
    (void)present;
    bool there = m.present = m.card && !m.lost;
    if (list && *count < there)
        return CKR_BUFFER_TOO_SMALL;
    if (list && there)
        list[0] = 0;
    *count = there;
    return CKR_OK;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    (void)slot;
    memset(info, 0, sizeof *info);
    fill(info->slotDescription, sizeof info->slotDescription, "no reader");
    fill(info->manufacturerID, sizeof info->manufacturerID, "devstamp tests");
    info->flags = CKF_REMOVABLE_DEVICE | CKF_HW_SLOT | (m.present ? CKF_TOKEN_PRESENT : 0);
    return CKR_OK;
}

// The count of tries is only shown while the PIN is not verified: hence the selection before it.
static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    static const uint8_t tries[] = {0, 0x20, 0, 0x80};
    char text[33];
    (void)slot;
    if (!m.present)
        return CKR_TOKEN_NOT_PRESENT;
    memset(info, 0, sizeof *info);
    snprintf(text, sizeof text, "YubiKey PIV #%u", m.serial);
    fill(info->label, sizeof info->label, text);
    snprintf(text, sizeof text, "%u", m.serial);
    fill(info->serialNumber, sizeof info->serialNumber, text);
    fill(info->manufacturerID, sizeof info->manufacturerID, "Yubico (www.yubico.com)");
    fill(info->model, sizeof info->model, "YubiKey YK5");
    info->flags = CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED | CKF_RNG;
    if (!m.logged_in)
        (void)select_piv();
    int status = send_raw(tries, sizeof tries, NULL);
    if (status == SW_GONE)
        return CKR_OK; // as ykcs11: then the flags say nothing
    int left = status == DS_PIV_BLOCKED ? 0 : (status & 0xFFF0) == DS_PIV_WRONG ? status & 0xF : 15;
    info->flags |= left == 0   ? CKF_USER_PIN_LOCKED
                   : left == 1 ? CKF_USER_PIN_FINAL_TRY
                   : left == 2 ? CKF_USER_PIN_COUNT_LOW
                               : 0;
    return CKR_OK;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *arg, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
    (void)slot, (void)flags, (void)arg, (void)notify;
    if (!m.present)
        return CKR_TOKEN_NOT_PRESENT;
    for (CK_ULONG i = 0; i < SESSIONS; i++) {
        if (m.open[i])
            continue;
        m.open[i] = true;
        *ret = i + 1;
        return CKR_OK;
    }
    return CKR_SESSION_COUNT;
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    m.open[session - 1] = false;
    return CKR_OK;
}

static CK_RV close_all(CK_SLOT_ID slot)
{
    (void)slot;
    memset(m.open, 0, sizeof m.open);
    m.logged_in = false;
    return CKR_OK;
}

static CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    memset(info, 0, sizeof *info);
    info->state = m.logged_in ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION;
    info->flags = CKF_SERIAL_SESSION;
    return CKR_OK;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    uint8_t padded[8];
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    if (user == CKU_USER && m.logged_in)
        return CKR_USER_ALREADY_LOGGED_IN;
    if (len < 6 || len > sizeof padded)
        return CKR_ARGUMENTS_BAD;
    memset(padded, 0xFF, sizeof padded);
    memcpy(padded, pin, len);
    CK_RV rv = status_rv(verify(padded));
    if (rv == CKR_OK) {
        m.logged_in = m.has_pin = true;
        memcpy(m.pin, padded, sizeof m.pin);
    }
    return rv;
}

static CK_RV logout(CK_SESSION_HANDLE session)
{
    m.logged_in = false;
    return is_open(session) ? CKR_OK : CKR_SESSION_HANDLE_INVALID;
}

static const ds_piv_key *key_9c(void)
{
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        if (m.card->state.keys[i].slot == 0x9C)
            return &m.card->state.keys[i];
    return NULL;
}

// An attribute's value into ret; its length, 0 where there is none.
static size_t value_of(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, uint8_t ret[133])
{
    static const uint8_t p256[] = {6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7};
    const CK_OBJECT_CLASS class = object == PRIVATE_KEY ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY;
    const CK_KEY_TYPE kind = CKK_EC;
    size_t len = 0;
    switch (type) {
    case CKA_CLASS:
        memcpy(ret, &class, sizeof class);
        return sizeof class;
    case CKA_KEY_TYPE:
        memcpy(ret, &kind, sizeof kind);
        return sizeof kind;
    case CKA_ID:
        ret[0] = 2;
        return 1;
    case CKA_LABEL:
        memcpy(ret, "9c", 2);
        return 2;
    case CKA_EC_PARAMS:
        memcpy(ret, p256, sizeof p256);
        return sizeof p256;
    case CKA_EC_POINT:
        ret[0] = 4;
        ret[1] = 65;
        if (EVP_PKEY_get_octet_string_param(key_9c()->key, OSSL_PKEY_PARAM_PUB_KEY, ret + 2, 131, &len) != 1)
            return 0;
        return len + 2;
    case CKA_ALWAYS_AUTHENTICATE:
    case CKA_SENSITIVE:
    case CKA_SIGN:
        ret[0] = object == PRIVATE_KEY;
        return 1;
    default:
        return 0;
    }
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *list, CK_ULONG count)
{
    CK_RV rv = CKR_OK;
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    if (!m.card || (object != PRIVATE_KEY && object != PUBLIC_KEY))
        return CKR_OBJECT_HANDLE_INVALID;
    for (CK_ULONG i = 0; i < count; i++) {
        uint8_t value[133];
        size_t len = value_of(object, list[i].type, value);
        bool fits = !list[i].pValue || len <= list[i].ulValueLen;
        if (len && fits && list[i].pValue)
            memcpy(list[i].pValue, value, len);
        if (!len || !fits)
            rv = len ? CKR_BUFFER_TOO_SMALL : CKR_ATTRIBUTE_TYPE_INVALID;
        list[i].ulValueLen = len && fits ? len : CK_UNAVAILABLE_INFORMATION;
    }
    return rv;
}

static bool matches(CK_OBJECT_HANDLE object, const CK_ATTRIBUTE *query, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        uint8_t value[133];
        size_t len = value_of(object, query[i].type, value);
        if (len == 0 || len != query[i].ulValueLen || memcmp(value, query[i].pValue, len) != 0)
            return false;
    }
    return true;
}

static CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *query, CK_ULONG count)
{
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    m.found_count = 0;
    for (CK_OBJECT_HANDLE object = PRIVATE_KEY; m.card && object <= PUBLIC_KEY; object++)
        if ((object == PUBLIC_KEY || m.logged_in) && matches(object, query, count))
            m.found[m.found_count++] = object;
    return CKR_OK;
}

static CK_RV find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *ret, CK_ULONG max, CK_ULONG *ret_count)
{
    (void)session;
    *ret_count = 0;
    while (*ret_count < max && m.found_count)
        ret[(*ret_count)++] = m.found[--m.found_count];
    return CKR_OK;
}

static CK_RV find_final(CK_SESSION_HANDLE session)
{
    (void)session;
    return CKR_OK;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    if (!is_open(session))
        return CKR_SESSION_HANDLE_INVALID;
    if (mechanism->mechanism != CKM_ECDSA || key != PRIVATE_KEY)
        return CKR_MECHANISM_INVALID;
    m.signing = true;
    return CKR_OK;
}

// The card answers 7C len 82 len SEQUENCE { r, s }; PKCS#11 wants both as 32 bytes.
static bool unwrap(const ds_buf *answer, uint8_t ret[64])
{
    const unsigned char *p = answer->len > 4 ? answer->ptr + 4 : NULL;
    ECDSA_SIG *sig = p ? d2i_ECDSA_SIG(NULL, &p, (long)answer->len - 4) : NULL;
    bool good = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, 32) == 32 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + 32, 32) == 32;
    ECDSA_SIG_free(sig);
    return good;
}

static CK_RV sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len, unsigned char *ret, CK_ULONG *ret_len)
{
    uint8_t command[5 + 6 + 32] = {0, 0x87, DS_PIV_P256, 0x9C, 6 + 32, 0x7C, 4 + 32, 0x82, 0, 0x81, 32};
    DS_CLEANUP_BUF ds_buf answer = {0};
    if (!is_open(session) || !m.signing)
        return CKR_OPERATION_NOT_INITIALIZED;
    if (!ret) {
        *ret_len = 64;
        return CKR_OK;
    }
    m.signing = false;
    if (len != 32 || *ret_len < 64)
        return CKR_DATA_LEN_RANGE;
    memcpy(command + 11, data, 32);
    int status = ask(command, sizeof command, &answer);
    if (status != DS_PIV_OK)
        return status_rv(status);
    *ret_len = 64;
    return unwrap(&answer, ret) ? CKR_OK : CKR_DEVICE_ERROR;
}

CK_RV piv_module_functions(CK_FUNCTION_LIST **ret)
{
    static CK_FUNCTION_LIST list = {
        .version = {2, 40},
        .C_Initialize = initialize,
        .C_Finalize = finalize,
        .C_GetInfo = get_info,
        .C_GetFunctionList = piv_module_functions,
        .C_GetSlotList = get_slot_list,
        .C_GetSlotInfo = get_slot_info,
        .C_GetTokenInfo = get_token_info,
        .C_OpenSession = open_session,
        .C_CloseSession = close_session,
        .C_CloseAllSessions = close_all,
        .C_GetSessionInfo = get_session_info,
        .C_Login = login,
        .C_Logout = logout,
        .C_GetAttributeValue = get_attributes,
        .C_FindObjectsInit = find_init,
        .C_FindObjects = find,
        .C_FindObjectsFinal = find_final,
        .C_SignInit = sign_init,
        .C_Sign = sign,
    };
    *ret = &list;
    return CKR_OK;
}
