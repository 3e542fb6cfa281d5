// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A PKCS#11 module in front of another (DS_SHIM_MODULE), for tests: writes down every login (a line in the file
// DS_SHIM_LOGINS; DS_SHIM_LOGIN_DIES: and the process ends in the middle of it; DS_SHIM_CONTEXT_REFUSED: those at a use
// of a key fail), adds flags to what the token says of itself (DS_SHIM_FLAGS, a number), loses the token while the file
// DS_SHIM_GONE exists, never ends a signature while the file DS_SHIM_HANG exists, gives wrong ones while the file
// DS_SHIM_WRONG exists, takes DS_SHIM_SLOW milliseconds for each, has no more than DS_SHIM_SESSIONS sessions, and is
// gone after DS_SHIM_USES signatures. With DS_SHIM_YUBICO, a user PIN, it passes for a newer ykcs11: keys are made by
// the officer, and Yubico's policies of a new key are written down, a line in the file DS_SHIM_POLICIES, and taken off;
// CKA_EXTRACTABLE it does not know.
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static CK_FUNCTION_LIST *real, mine;
static _Atomic long sessions, uses;

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    int fd = open(getenv("DS_SHIM_LOGINS"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (fd >= 0) {
        (void)!write(fd, user == CKU_USER ? "user\n" : "context\n", user == CKU_USER ? 5 : 8);
        close(fd);
    }
    const char *pin_text = getenv("DS_SHIM_YUBICO");
    if (pin_text && user == CKU_SO)
        return real->C_Login(session, CKU_USER, (unsigned char *)pin_text, strlen(pin_text));
    if (getenv("DS_SHIM_LOGIN_DIES"))
        _exit(9);
    if (user != CKU_USER && getenv("DS_SHIM_CONTEXT_REFUSED"))
        return CKR_PIN_INCORRECT;
    return real->C_Login(session, user, pin, len);
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const char *flags = getenv("DS_SHIM_FLAGS");
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    if (rv == CKR_OK && flags)
        info->flags |= strtoul(flags, NULL, 0);
    if (rv == CKR_OK && getenv("DS_SHIM_YUBICO"))
        memcpy(info->manufacturerID, "Yubico ", 7);
    return rv;
}

static CK_RV generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *publics, CK_ULONG public_count,
                      CK_ATTRIBUTE *privates, CK_ULONG count, CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *key)
{
    CK_ATTRIBUTE kept[16];
    CK_ULONG n = 0;
    for (CK_ULONG i = 0; getenv("DS_SHIM_YUBICO") && i < count; i++)
        if (privates[i].type == CKA_EXTRACTABLE)
            return CKR_ATTRIBUTE_TYPE_INVALID;
    for (CK_ULONG i = 0; i < count && i < 16; i++) {
        FILE *f = privates[i].type & CKA_VENDOR_DEFINED ? fopen(getenv("DS_SHIM_POLICIES"), "a") : NULL;
        if (!f) {
            kept[n++] = privates[i];
            continue;
        }
        fprintf(f, "%lx %lu %u\n", privates[i].type, privates[i].ulValueLen, *(unsigned char *)privates[i].pValue);
        fclose(f);
    }
    return real->C_GenerateKeyPair(session, mechanism, publics, public_count, kept, n, public_key, key);
}

// Pulled out and, where DS_SHIM_COMING is set, not ready yet after that: the file then holds a byte for each look. With
// "error" it is plugged in again before anybody looks: even the first only sees an error.
static bool is_coming(const char *gone)
{
    struct stat st;
    if (!gone || !getenv("DS_SHIM_COMING") || stat(gone, &st) != 0 || st.st_size == 0)
        return false;
    FILE *f = fopen(gone, "a");
    if (f) {
        fputc('.', f);
        fclose(f);
    }
    return true;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    const char *gone = getenv("DS_SHIM_GONE"), *most = getenv("DS_SHIM_USES"), *coming = getenv("DS_SHIM_COMING");
    if (gone && access(gone, F_OK) == 0 && coming && !is_coming(gone))
        (void)!truncate(gone, 1);
    if (gone && access(gone, F_OK) == 0 && coming && strcmp(coming, "error") == 0)
        return CKR_DEVICE_ERROR;
    if ((gone && access(gone, F_OK) == 0) || (most && ++uses > strtol(most, NULL, 10)))
        return CKR_DEVICE_REMOVED;
    return real->C_SignInit(session, mechanism, key);
}

static CK_RV sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len, unsigned char *out, CK_ULONG *out_len)
{
    const char *hang = getenv("DS_SHIM_HANG");
    while (hang && access(hang, F_OK) == 0)
        sleep(1);
    const char *wrong = getenv("DS_SHIM_WRONG"), *slow = getenv("DS_SHIM_SLOW");
    if (slow)
        usleep((useconds_t)strtoul(slow, NULL, 10) * 1000);
    CK_RV rv = real->C_Sign(session, data, len, out, out_len);
    if (rv == CKR_OK && out && wrong && access(wrong, F_OK) == 0)
        out[*out_len - 1] ^= 1;
    return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
    const char *most = getenv("DS_SHIM_SESSIONS");
    if (is_coming(getenv("DS_SHIM_GONE")))
        return CKR_DEVICE_ERROR;
    if (++sessions > (most ? strtol(most, NULL, 10) : sessions)) {
        sessions--;
        return CKR_SESSION_COUNT;
    }
    CK_RV rv = real->C_OpenSession(slot, flags, app, notify, ret);
    if (rv != CKR_OK)
        sessions--;
    return rv;
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    sessions--;
    return real->C_CloseSession(session);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
    if (!real) {
        void *module = dlopen(getenv("DS_SHIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
        if (module)
            *(void **)&get = dlsym(module, "C_GetFunctionList");
        if (!get || get(&real) != CKR_OK)
            return CKR_GENERAL_ERROR;
        mine = *real;
        mine.C_GetFunctionList = C_GetFunctionList;
        mine.C_Login = login;
        mine.C_GetTokenInfo = get_token_info;
        mine.C_SignInit = sign_init;
        mine.C_Sign = sign;
        mine.C_GenerateKeyPair = generate;
        mine.C_OpenSession = open_session;
        mine.C_CloseSession = close_session;
    }
    *ret = &mine;
    return CKR_OK;
}
