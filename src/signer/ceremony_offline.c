// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremonies with an off-line root, the child's side: the root alone, a Sub CA's key and request, the root's signature
// under that; see ceremony.h.
#include "src/signer/ceremony.h"

#include "src/base/file.h"
#include "src/pki/dn.h"
#include "src/pki/request.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONSTRAINTS_MAX = 32 };

typedef struct root {
    const Devstamp__Signer__MakeRoot *req;
    char *beside, *pem, *log;
    ds_key *key;
    X509 *cert;
} root;

static enum ds_class check_nothing_there(const root *r, ds_err *e)
{
    const char *there = access(r->pem, F_OK) == 0 ? r->pem : access(r->log, F_OK) == 0 ? r->log : NULL;
    if (there)
        return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", there), e),
                       "a CA is never overwritten: choose another folder");
    return access(r->req->folder, W_OK | X_OK) == 0 ? DS_OK : ds_fail_errno(e, DS_STORE, errno, "%s", r->req->folder);
}

static enum ds_class make_root_cert(root *r, ds_err *e)
{
    uint8_t serial[16];
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    enum ds_class rc = ds_dn_parse(r->req->subject, &name, e);
    if (rc)
        return rc;
    ds_random(serial, sizeof serial);
    const ds_cert_spec spec = {
        .kind = DS_CERT_ROOT,
        .subject = name,
        .public_key = ds_key_public(r->key),
        .serial = serial,
        .not_before_utc = r->req->not_before_utc,
        .not_after_utc = r->req->not_after_utc,
    };
    rc = ds_key_ready(r->key, e);
    return rc ? rc : ds_cert_make(&spec, NULL, ds_key_private(r->key), ds_key_public(r->key), &r->cert, e);
}

static enum ds_class begin_log(const root *r, ds_err *e)
{
    ds_cert_info info;
    ds_log_file *log = NULL;
    enum ds_class rc = ds_cert_describe(r->cert, &info, e);
    if (!rc)
        rc = ds_log_open(r->log, info.fingerprint, &log, e);
    ds_log_close(log);
    return rc;
}

static enum ds_class fill_root(root *r, ds_ceremony_result *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_sandbox_enter(e);
    if (!rc)
        rc = make_root_cert(r, e);
    if (!rc)
        rc = begin_log(r, e);
    if (!rc)
        rc = ds_cert_pem(r->cert, &pem, e);
    if (!rc)
        rc = ds_file_write(r->pem, ds_buf_view(&pem), 0644, e);
    return rc ? rc : ds_cert_der(r->cert, &ret->root, e);
}

static enum ds_class hold_root(root *r, const ds_signer_config *access, const ds_pin *pin, ds_ceremony_result *ret,
                               ds_err *e)
{
    const ds_key_source src = {r->req->root_key, access->module, &pin->secret, &pin->note, access->token_serial};
    enum ds_class rc = r->req->existing ? ds_key_open(&src, &r->key, e)
                                        : ds_key_create(&src, (enum ds_key_type)r->req->key_type, &r->key, e);
    if (rc)
        return ds_wrap(e, "root");
    rc = fill_root(r, ret, e);
    if (!rc)
        return DS_OK;
    (void)unlink(r->pem);
    (void)unlink(r->log);
    if (!r->req->existing)
        ds_key_destroy(r->key);
    return rc;
}

static enum ds_class make_root(const ds_signer_config *access, const Devstamp__Signer__MakeRoot *req,
                               ds_ceremony_result *ret, ds_err *e)
{
    root r = {.req = req,
              .beside = ds_asprintf("%s/root", req->folder),
              .pem = ds_asprintf("%s/root.pem", req->folder),
              .log = ds_asprintf("%s/root.log", req->folder)};
    ds_pin pin = {0};
    bool token = false;
    enum ds_class rc = ds_key_uri_check(req->root_key, &token, e);
    if (!rc)
        rc = check_nothing_there(&r, e);
    if (!rc)
        rc = ds_issuer_read_pin(access, r.beside, &pin, e);
    if (!rc)
        rc = hold_root(&r, access, &pin, ret, e);
    X509_free(r.cert);
    ds_key_free(r.key);
    ds_pin_free(&pin);
    free(r.beside);
    free(r.pem);
    free(r.log);
    return rc;
}

static enum ds_class request_with(ds_key *key, const char *subject, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    enum ds_class rc = ds_sandbox_enter(e);
    if (!rc)
        rc = ds_dn_parse(subject, &name, e);
    if (!rc)
        rc = ds_key_ready(key, e);
    if (!rc && ds_request_make_with(name, ds_key_private(key), ds_key_public(key), ret, e))
        rc = ds_key_failed(key, e);
    return rc;
}

static enum ds_class make_request(const ds_signer_config *access, const Devstamp__Signer__MakeRequest *req,
                                  ds_ceremony_result *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *beside = ds_asprintf("%s/subca", req->folder);
    ds_pin pin = {0};
    ds_key *key = NULL;
    ds_csr_info info;
    bool token = false;
    enum ds_class rc = ds_key_uri_check(req->key, &token, e);
    if (!rc)
        rc = ds_issuer_read_pin(access, beside, &pin, e);
    const ds_key_source src = {req->key, access->module, &pin.secret, &pin.note, access->token_serial};
    if (!rc)
        rc = req->existing ? ds_key_open(&src, &key, e) : ds_key_create(&src, (enum ds_key_type)req->key_type, &key, e);
    if (!rc) {
        rc = request_with(key, req->subject, &ret->certificate, e);
        if (!rc) // as whoever signs it will look at it
            rc = ds_request_open_ca(ds_buf_view(&ret->certificate), &info, NULL, e);
        if (rc && !req->existing)
            ds_key_destroy(key);
    }
    ds_key_free(key);
    ds_pin_free(&pin);
    return rc ? ds_wrap(e, "Sub CA") : DS_OK;
}

static enum ds_class open_root(const ds_signer_config *access, const Devstamp__Signer__SignSub *req, ds_issuer *ret,
                               ds_err *e)
{
    DS_CLEANUP_FREE char *beside = ds_asprintf("%s/root", req->folder);
    DS_CLEANUP_FREE char *cert = ds_asprintf("%s/root.pem", req->folder);
    DS_CLEANUP_FREE char *log = ds_asprintf("%s/root.log", req->folder);
    ds_signer_config cfg = *access;
    cfg.key = req->root_key;
    cfg.certificate = cert;
    cfg.log = log;
    enum ds_class rc = ds_issuer_open(&cfg, beside, NULL, ret, e);
    return rc ? rc : ds_sandbox_enter(e);
}

static enum ds_class check_sub(const ds_issuer *i, const Devstamp__Signer__SignSub *req, X509_REQ *csr,
                               const ds_csr_info *info, ds_err *e)
{
    if (memcmp(info->public_key_digest, i->info.public_key_digest, 32) == 0)
        return ds_fail(e, DS_POLICY, "the request shows the root's own key");
    if (X509_NAME_entry_count(X509_REQ_get_subject_name(csr)) == 0)
        return ds_fail(e, DS_POLICY, "the request names no subject");
    if (ds_dn_equal(X509_REQ_get_subject_name(csr), X509_get_subject_name(i->ca)))
        return ds_hint((ds_fail(e, DS_POLICY, "the request has the root's own name"), e),
                       "make the request with another --name");
    if (req->not_before_utc < i->info.not_before_utc || req->not_after_utc > i->info.not_after_utc)
        return ds_hint((ds_fail(e, DS_POLICY, "the validity demanded is not within the root's"), e),
                       "sign it for fewer years");
    return DS_OK;
}

// What this request was given before: logged, and perhaps lost on its way.
static enum ds_class from_log(const ds_issuer *i, const ds_log_entry *entry, X509_REQ *csr, ds_ceremony_result *ret,
                              ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_cert_info info;
    enum ds_class rc = ds_log_read(i->log, entry, &der, e);
    if (!rc)
        rc = ds_cert_parse(ds_buf_view(&der), &cert, e);
    if (!rc)
        rc = ds_cert_describe(cert, &info, e);
    if (rc)
        return rc;
    if (!info.ca || !ds_dn_equal(X509_get_subject_name(cert), X509_REQ_get_subject_name(csr)))
        return ds_hint((ds_fail(e, DS_POLICY, "this key was certified before as \"%s\"", info.subject), e),
                       "one key gets one certificate: make a new key and its request");
    ds_buf_add(&ret->certificate, der.ptr, der.len);
    ret->from_log = true;
    return DS_OK;
}

static size_t constraints_of(const Devstamp__Signer__SignSub *req, ds_constraint list[CONSTRAINTS_MAX])
{
    for (size_t n = 0; n < req->n_constraint; n++)
        list[n] = (ds_constraint){req->constraint[n]->excluded, (enum ds_constraint_kind)req->constraint[n]->kind,
                                  req->constraint[n]->text};
    return req->n_constraint;
}

static enum ds_class issue_sub(ds_issuer *i, const Devstamp__Signer__SignSub *req, X509_REQ *csr,
                               ds_ceremony_result *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_constraint list[CONSTRAINTS_MAX];
    uint8_t serial[16];
    if (req->n_constraint > CONSTRAINTS_MAX)
        return ds_fail(e, DS_USAGE, "more than %d name constraints", CONSTRAINTS_MAX);
    ds_random(serial, sizeof serial);
    const ds_cert_spec spec = {
        .kind = DS_CERT_SUB_CA,
        .subject = X509_REQ_get_subject_name(csr),
        .public_key = X509_REQ_get0_pubkey(csr),
        .serial = serial,
        .not_before_utc = req->not_before_utc,
        .not_after_utc = req->not_after_utc,
        .constraints = list,
        .constraint_count = constraints_of(req, list),
    };
    if (ds_key_ready(i->key, e) || ds_cert_make(&spec, i->ca, ds_key_private(i->key), ds_key_public(i->key), &cert, e))
        return ds_key_failed(i->key, e);
    enum ds_class rc = ds_issuer_record(i->log, cert, serial, "", &ret->certificate, e);
    return rc ? rc : ds_issuer_put_head(i, e);
}

static enum ds_class sign_sub(const ds_signer_config *access, const Devstamp__Signer__SignSub *req,
                              ds_ceremony_result *ret, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *csr = NULL;
    ds_csr_info info;
    ds_issuer issuer = {0};
    enum ds_class rc = ds_request_open_ca((ds_view){req->csr.data, req->csr.len}, &info, &csr, e);
    if (!rc)
        rc = open_root(access, req, &issuer, e);
    if (!rc)
        rc = check_sub(&issuer, req, csr, &info, e);
    if (!rc) {
        const ds_log_entry *entry = ds_log_by_key(issuer.log, info.public_key_digest);
        rc = entry ? from_log(&issuer, entry, csr, ret, e) : issue_sub(&issuer, req, csr, ret, e);
    }
    if (!rc)
        rc = ds_cert_der(issuer.ca, &ret->root, e);
    ds_issuer_close(&issuer);
    return rc;
}

enum ds_class ds_ceremony_hold_offline(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                                       ds_ceremony_result *ret, ds_err *e)
{
    switch (request->body_case) {
    case DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_ROOT:
        return make_root(access, request->make_root, ret, e);
    case DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_REQUEST:
        return make_request(access, request->make_request, ret, e);
    case DEVSTAMP__SIGNER__REQUEST__BODY_SIGN_SUB:
        return sign_sub(access, request->sign_sub, ret, e);
    case DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_CRL:
        return ds_ceremony_hold_crl(access, request->make_crl, ret, e);
    case DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_VERIFICATION:
        return ds_ceremony_hold_verification(access, request->make_verification, ret, e);
    default:
        return ds_fail(e, DS_INPUT, "the ceremony was asked for something it does not do");
    }
}
