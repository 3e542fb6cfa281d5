// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Sealed objects through tpm2-tss's ESYS; see seal_tpm.h. There may be no resource manager: what was made is flushed.
#include "src/signer/seal_tpm.h"

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

enum { SHARE = 32 };

typedef struct tpm {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    ESYS_TR primary, session, object;
} tpm;

static void flush(const tpm *t, ESYS_TR *handle)
{
    if (*handle != ESYS_TR_NONE)
        (void)Esys_FlushContext(t->esys, *handle);
    *handle = ESYS_TR_NONE;
}

static void tpm_close(tpm *t)
{
    if (t->esys) {
        flush(t, &t->object);
        flush(t, &t->session);
        flush(t, &t->primary);
        Esys_Finalize(&t->esys);
    }
    if (t->tcti)
        Tss2_TctiLdr_Finalize(&t->tcti);
}

static enum ds_class failed(ds_err *e, TSS2_RC rc, const char *what)
{
    return ds_fail(e, DS_TOKEN, "%s: %s", what, Tss2_RC_Decode(rc));
}

// The address names a library that is loaded into this process: no others than these.
static enum ds_class check_address(const char *address, ds_err *e)
{
    static const char *const known[] = {"device:", "tabrmd:", "swtpm:"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(address, known[i], strlen(known[i])) == 0)
            return DS_OK;
    return ds_hint((ds_fail(e, DS_INPUT, "'%.60s' is no address of a TPM", address), e),
                   "write device:/dev/tpmrm0, tabrmd:, or swtpm:host=127.0.0.1,port=2321");
}

// The storage primary: the same one each time, made of the TPM's own seed.
static TSS2_RC make_primary(tpm *t)
{
    static const TPM2B_SENSITIVE_CREATE sensitive = {.size = 0};
    static const TPM2B_PUBLIC template = {
        .publicArea = {
            .type = TPM2_ALG_ECC,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
                                TPMA_OBJECT_DECRYPT,
            .parameters.eccDetail =
                {
                    .symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
                    .scheme.scheme = TPM2_ALG_NULL,
                    .curveID = TPM2_ECC_NIST_P256,
                    .kdf.scheme = TPM2_ALG_NULL,
                },
            .unique.ecc = {.x.size = 32, .y.size = 32},
        }};
    static const TPM2B_DATA outside = {.size = 0};
    static const TPML_PCR_SELECTION none = {.count = 0};
    return Esys_CreatePrimary(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                              &template, &outside, &none, &t->primary, NULL, NULL, NULL, NULL);
}

static enum ds_class tpm_open(const char *address, tpm *t, ds_err *e)
{
    *t = (tpm){.primary = ESYS_TR_NONE, .session = ESYS_TR_NONE, .object = ESYS_TR_NONE};
    address = address ? address : DS_SEAL_TPM_DEFAULT;
    if (check_address(address, e))
        return DS_INPUT;
    (void)setenv("TSS2_LOG", "all+NONE", 0); // what went wrong is said once, by us
    TSS2_RC rc = Tss2_TctiLdr_Initialize(address, &t->tcti);
    if (!rc)
        rc = Esys_Initialize(&t->esys, t->tcti, NULL);
    if (rc) {
        (void)failed(e, rc, "reach it");
        return ds_hint(e, "is there a TPM at %s, and may this user use it (group tss)?", address);
    }
    rc = make_primary(t);
    return rc ? ds_hint((failed(e, rc, "make its storage primary"), e),
                        "the owner hierarchy must be enabled and its authorization empty")
              : DS_OK;
}

static enum ds_class primary_name(const tpm *t, uint8_t ret[34], ds_err *e)
{
    TPM2B_NAME *name = NULL;
    TSS2_RC rc = Esys_TR_GetName(t->esys, t->primary, &name);
    enum ds_class cls = rc                 ? failed(e, rc, "name its storage primary")
                        : name->size != 34 ? ds_fail(e, DS_TOKEN, "its storage primary has a name of another kind")
                                           : DS_OK;
    if (!cls)
        memcpy(ret, name->name, 34);
    Esys_Free(name);
    return cls;
}

// Salted by the primary, so that what goes in and out is encrypted.
static TSS2_RC begin_session(tpm *t, TPM2_SE kind)
{
    static const TPMT_SYM_DEF aes = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    const TPMA_SESSION how = TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_ENCRYPT | TPMA_SESSION_DECRYPT;
    flush(t, &t->session);
    TSS2_RC rc = Esys_StartAuthSession(t->esys, t->primary, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                       NULL, kind, &aes, TPM2_ALG_SHA256, &t->session);
    return rc ? rc : Esys_TRSess_SetAttributes(t->esys, t->session, how, 0xff);
}

static TSS2_RC demand_pcrs(const tpm *t, uint32_t pcrs)
{
    static const TPM2B_DIGEST now = {.size = 0}; // the TPM takes what they are
    const TPML_PCR_SELECTION selection = {
        .count = 1,
        .pcrSelections[0] = {.hash = TPM2_ALG_SHA256,
                             .sizeofSelect = 3,
                             .pcrSelect = {(uint8_t)pcrs, (uint8_t)(pcrs >> 8), (uint8_t)(pcrs >> 16)}},
    };
    return Esys_PolicyPCR(t->esys, t->session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &now, &selection);
}

// What the object will demand: that the PCRs are as now.
static TSS2_RC make_policy(tpm *t, uint32_t pcrs, TPM2B_DIGEST *ret)
{
    TPM2B_DIGEST *digest = NULL;
    TSS2_RC rc = begin_session(t, TPM2_SE_TRIAL);
    if (!rc)
        rc = demand_pcrs(t, pcrs);
    if (!rc)
        rc = Esys_PolicyGetDigest(t->esys, t->session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &digest);
    if (!rc)
        *ret = *digest;
    Esys_Free(digest);
    return rc;
}

static enum ds_class keep_object(const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *area, ds_buf *ret_public,
                                 ds_buf *ret_area, ds_err *e)
{
    uint8_t bytes[sizeof(TPM2B_PUBLIC) + sizeof(TPM2B_PRIVATE)];
    size_t public_len = 0, whole = 0;
    TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Marshal(public, bytes, sizeof bytes, &public_len);
    whole = public_len;
    if (!rc)
        rc = Tss2_MU_TPM2B_PRIVATE_Marshal(area, bytes, sizeof bytes, &whole);
    if (rc)
        return failed(e, rc, "encode the sealed object");
    ds_buf_add(ret_public, bytes, public_len);
    ds_buf_add(ret_area, bytes + public_len, whole - public_len);
    return DS_OK;
}

static enum ds_class make_object(tpm *t, uint32_t pcrs, const ds_secret *share, ds_buf *ret_public, ds_buf *ret_area,
                                 ds_err *e)
{
    static const TPM2B_DATA outside = {.size = 0};
    static const TPML_PCR_SELECTION none = {.count = 0};
    TPM2B_PUBLIC template = {
        .publicArea = {.type = TPM2_ALG_KEYEDHASH,
                       .nameAlg = TPM2_ALG_SHA256,
                       .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA,
                       .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL}};
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = SHARE};
    TPM2B_PUBLIC *public = NULL;
    TPM2B_PRIVATE *area = NULL;
    TSS2_RC rc = TSS2_RC_SUCCESS;
    if (pcrs)
        rc = make_policy(t, pcrs, &template.publicArea.authPolicy);
    else
        template.publicArea.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
    if (!rc)
        rc = begin_session(t, TPM2_SE_HMAC);
    memcpy(sensitive.sensitive.data.buffer, share->ptr, SHARE);
    if (!rc)
        rc = Esys_Create(t->esys, t->primary, t->session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template, &outside,
                         &none, &area, &public, NULL, NULL, NULL);
    ds_wipe(&sensitive, sizeof sensitive);
    enum ds_class cls = rc ? failed(e, rc, "seal") : keep_object(public, area, ret_public, ret_area, e);
    Esys_Free(public);
    Esys_Free(area);
    return cls;
}

enum ds_class ds_seal_tpm_make(const char *address, ds_seal_unlocker *u, ds_buf *ret_public, ds_buf *ret_area,
                               ds_secret *ret, ds_err *e)
{
    tpm t;
    ds_secret share = {0};
    enum ds_class rc = tpm_open(address, &t, e);
    if (!rc)
        rc = primary_name(&t, u->parent, e);
    if (!rc)
        rc = ds_secret_new(&share, SHARE, e);
    if (!rc) {
        ds_random(share.ptr, SHARE);
        rc = make_object(&t, u->pcrs, &share, ret_public, ret_area, e);
    }
    tpm_close(&t);
    if (rc) {
        ds_secret_free(&share);
        return ds_wrap(e, "TPM");
    }
    u->sealed_public = ds_buf_view(ret_public);
    u->sealed_area = ds_buf_view(ret_area);
    *ret = share;
    return DS_OK;
}

static enum ds_class check_primary(const tpm *t, const ds_seal_unlocker *u, ds_err *e)
{
    uint8_t name[34];
    enum ds_class rc = primary_name(t, name, e);
    if (!rc && memcmp(name, u->parent, sizeof name) != 0)
        rc = ds_hint((ds_fail(e, DS_POLICY,
                              "it is not the one the seal was made with: another computer's, or it was "
                              "cleared since"),
                      e),
                     "let the officer make a new seal on this computer (devstamp seal create)");
    return rc;
}

static enum ds_class load(tpm *t, const ds_seal_unlocker *u, ds_err *e)
{
    TPM2B_PUBLIC public = {.size = 0};
    TPM2B_PRIVATE area = {.size = 0};
    size_t public_len = 0, area_len = 0;
    TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Unmarshal(u->sealed_public.ptr, u->sealed_public.len, &public_len, &public);
    if (!rc)
        rc = Tss2_MU_TPM2B_PRIVATE_Unmarshal(u->sealed_area.ptr, u->sealed_area.len, &area_len, &area);
    if (!rc && (public_len != u->sealed_public.len || area_len != u->sealed_area.len))
        return ds_fail(e, DS_INPUT, "its object in the seal is damaged");
    if (!rc)
        rc = Esys_Load(t->esys, t->primary, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &area, &public, &t->object);
    return rc ? failed(e, rc, "load the seal's object") : DS_OK;
}

static enum ds_class unseal(tpm *t, const ds_seal_unlocker *u, ds_secret *ret, ds_err *e)
{
    TPM2B_SENSITIVE_DATA *data = NULL;
    TSS2_RC rc = begin_session(t, u->pcrs ? TPM2_SE_POLICY : TPM2_SE_HMAC);
    if (!rc && u->pcrs)
        rc = demand_pcrs(t, u->pcrs);
    if (!rc)
        rc = Esys_Unseal(t->esys, t->object, t->session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
    enum ds_class cls = DS_OK;
    if ((rc & ~(TSS2_RC)(TPM2_RC_N_MASK | TPM2_RC_P)) == TPM2_RC_POLICY_FAIL)
        cls = ds_hint((ds_fail(e, DS_POLICY,
                               "its PCRs are not as they were when the seal was made: firmware or what was "
                               "booted has changed"),
                       e),
                      "boot what was booted then, or let the officer make a new seal");
    else if (rc)
        cls = failed(e, rc, "unseal");
    else if (data->size != SHARE)
        cls = ds_fail(e, DS_INPUT, "its object holds something else");
    if (!cls)
        cls = ds_secret_new(ret, SHARE, e);
    if (!cls)
        memcpy(ret->ptr, data->buffer, SHARE);
    if (data)
        ds_wipe(data, sizeof *data);
    Esys_Free(data);
    return cls;
}

enum ds_class ds_seal_tpm_open(const char *address, const ds_seal_unlocker *u, ds_secret *ret, ds_err *e)
{
    tpm t;
    enum ds_class rc = tpm_open(address, &t, e);
    if (!rc)
        rc = check_primary(&t, u, e);
    if (!rc)
        rc = load(&t, u, e);
    if (!rc)
        rc = unseal(&t, u, ret, e);
    tpm_close(&t);
    return rc ? ds_wrap(e, "TPM") : DS_OK;
}
