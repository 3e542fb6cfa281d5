// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremonies, the child's side; see ceremony.h.
#include "src/signer/ceremony.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/attest_file.h"
#include "src/pki/dn.h"
#include "src/pki/request.h"
#include "src/pki/token.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

enum { HOSTS_MAX = 16 };
static const char *const products[] = {"root.pem", "subca.pem",         "chain.pem",
                                       "root.log", DS_ATTESTATION_FILE, DS_ATTESTATION_CHAIN};
enum { PRODUCTS = sizeof products / sizeof *products };

static char *in_folder(const char *folder, const char *name)
{
    return ds_asprintf("%s/%s", folder, name);
}

// What lies beside the folder begins with this: a failed ceremony leaves no folder.
static char *without_slashes(const char *folder)
{
    char *name = ds_strdup(folder);
    for (size_t len = strlen(name); len > 1 && name[len - 1] == '/'; len--)
        name[len - 1] = '\0';
    return name;
}

static enum ds_class check_nothing_there(const char *folder, ds_err *e)
{
    for (size_t i = 0; i < PRODUCTS; i++) {
        DS_CLEANUP_FREE char *path = in_folder(folder, products[i]);
        if (access(path, F_OK) == 0)
            return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e),
                           "a CA is never overwritten: choose another folder");
    }
    if (access(folder, W_OK | X_OK) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", folder);
    return DS_OK;
}

// One PIN must not reach two tokens: the second would count it as wrong.
static enum ds_class check_keys(const Devstamp__Signer__MakeCa *req, ds_err *e)
{
    bool root_token = false, sub_token = false;
    enum ds_class rc = ds_key_uri_check(req->root_key, &root_token, e);
    if (!rc)
        rc = ds_key_uri_check(req->sub_key, &sub_token, e);
    if (rc)
        return rc;
    if (strcmp(req->root_key, req->sub_key) == 0)
        return ds_fail(e, DS_USAGE, "root and Sub CA need keys of their own");
    if (root_token && sub_token && !ds_token_same(req->root_key, req->sub_key))
        return ds_hint((ds_fail(e, DS_USAGE, "root and Sub CA are in different tokens, and one PIN is given"), e),
                       "keep the root's key in a file, or both in one token");
    return DS_OK;
}

typedef struct ceremony {
    const Devstamp__Signer__MakeCa *req;
    ds_key *root_key, *sub_key;
    X509 *root, *sub;
    ds_attestation_files attestation;
} ceremony;

static bool sub_exists(const ceremony *c)
{
    return c->req->existing || c->req->sub_existing;
}

static enum ds_class get_key(const ceremony *c, bool root, const ds_signer_config *access, const ds_pin *pin,
                             ds_key **ret, ds_err *e)
{
    const char *uri = root ? c->req->root_key : c->req->sub_key;
    uint32_t type = root ? c->req->root_key_type : c->req->sub_key_type;
    const ds_key_source src = {uri, access->module, &pin->secret, &pin->note, access->token_serial};
    return (root ? c->req->existing : sub_exists(c)) ? ds_key_open(&src, ret, e)
                                                     : ds_key_create(&src, (enum ds_key_type)type, ret, e);
}

// Where the maker is to vouch for the Sub CA's key, it does so before anything is certified.
static enum ds_class check_attestation(ceremony *c, ds_err *e)
{
    ds_attestation a;
    enum ds_class rc = DS_OK;
    if (!c->req->maker_root[0])
        return DS_OK;
    if (c->req->attestation[0])
        rc = ds_attestation_files_read(c->req->attestation, &c->attestation, e);
    else
        rc = ds_key_attestation(c->sub_key, &c->attestation.leaf, &c->attestation.chain, e);
    if (!rc)
        rc = ds_attestation_verify_files(&c->attestation, c->req->maker_root, ds_key_public(c->sub_key), ds_utc_now(),
                                         &a, e);
    return rc ? ds_wrap(e, "Sub CA's key") : DS_OK;
}

static enum ds_class make_cert(const ceremony *c, enum ds_cert_kind kind, const char *subject, const uint8_t serial[16],
                               X509 **ret, ds_err *e)
{
    bool root = kind == DS_CERT_ROOT;
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    enum ds_class rc = ds_dn_parse(subject, &name, e);
    if (rc)
        return rc;
    const ds_cert_spec spec = {
        .kind = kind,
        .subject = name,
        .public_key = ds_key_public(root ? c->root_key : c->sub_key),
        .serial = serial,
        .not_before_utc = c->req->not_before_utc,
        .not_after_utc = c->req->not_after_utc,
    };
    rc = ds_key_ready(c->root_key, e);
    if (rc)
        return rc;
    return ds_cert_make(&spec, root ? NULL : c->root, ds_key_private(c->root_key), ds_key_public(c->root_key), ret, e);
}

static enum ds_class write_pem(const char *folder, const char *name, X509 *first, X509 *second, ds_err *e)
{
    DS_CLEANUP_FREE char *path = in_folder(folder, name);
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_cert_pem(first, &pem, e);
    if (!rc && second)
        rc = ds_cert_pem(second, &pem, e);
    return rc ? rc : ds_file_write(path, ds_buf_view(&pem), 0644, e);
}

static enum ds_class record_sub(const ceremony *c, const uint8_t serial[16], ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *path = in_folder(c->req->folder, "root.log");
    ds_cert_info info;
    ds_log_file *log = NULL;
    enum ds_class rc = ds_cert_describe(c->root, &info, e);
    if (!rc)
        rc = ds_log_open(path, info.fingerprint, &log, e);
    if (!rc)
        rc = ds_issuer_record(log, c->sub, serial, "", ret, e);
    ds_log_close(log);
    return rc;
}

static enum ds_class make_certificates(ceremony *c, ds_ceremony_result *ret, ds_err *e)
{
    uint8_t root_serial[16], sub_serial[16];
    ds_random(root_serial, sizeof root_serial);
    ds_random(sub_serial, sizeof sub_serial);
    enum ds_class rc = make_cert(c, DS_CERT_ROOT, c->req->root_subject, root_serial, &c->root, e);
    if (!rc)
        rc = make_cert(c, DS_CERT_SUB_CA, c->req->sub_subject, sub_serial, &c->sub, e);
    if (!rc)
        rc = record_sub(c, sub_serial, &ret->certificate, e);
    if (!rc)
        rc = ds_cert_der(c->root, &ret->root, e);
    if (!rc)
        rc = write_pem(c->req->folder, "root.pem", c->root, NULL, e);
    if (!rc)
        rc = write_pem(c->req->folder, "subca.pem", c->sub, NULL, e);
    if (!rc)
        rc = write_pem(c->req->folder, "chain.pem", c->sub, c->root, e);
    if (!rc && c->attestation.leaf)
        rc = ds_attestation_files_write(&c->attestation, c->req->folder, e);
    return rc;
}

static void undo(ceremony *c)
{
    for (size_t i = 0; i < PRODUCTS; i++) {
        DS_CLEANUP_FREE char *path = in_folder(c->req->folder, products[i]);
        (void)unlink(path);
    }
    if (!sub_exists(c))
        ds_key_destroy(c->sub_key);
    if (!c->req->existing)
        ds_key_destroy(c->root_key);
}

static enum ds_class hold_ca(ceremony *c, const ds_signer_config *access, const ds_pin *pin, ds_ceremony_result *ret,
                             ds_err *e)
{
    enum ds_class rc = get_key(c, true, access, pin, &c->root_key, e);
    if (rc)
        return ds_wrap(e, "root");
    rc = get_key(c, false, access, pin, &c->sub_key, e);
    if (rc)
        (void)ds_wrap(e, "Sub CA");
    if (!rc)
        rc = check_attestation(c, e);
    if (!rc)
        rc = ds_sandbox_enter(e);
    if (!rc)
        rc = make_certificates(c, ret, e);
    if (rc)
        undo(c);
    return rc;
}

static enum ds_class make_ca(const ds_signer_config *access, const Devstamp__Signer__MakeCa *req,
                             ds_ceremony_result *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *beside = without_slashes(req->folder);
    ds_pin pin = {0};
    ceremony c = {.req = req};
    enum ds_class rc = check_nothing_there(req->folder, e);
    if (!rc)
        rc = check_keys(req, e);
    if (!rc)
        rc = ds_issuer_read_pin(access, beside, &pin, e);
    if (!rc)
        rc = hold_ca(&c, access, &pin, ret, e);
    X509_free(c.root);
    X509_free(c.sub);
    ds_attestation_files_free(&c.attestation);
    ds_key_free(c.sub_key);
    ds_key_free(c.root_key);
    ds_pin_free(&pin);
    return rc;
}

static enum ds_class open_root(const ds_signer_config *access, const Devstamp__Signer__MakeServer *req, ds_issuer *i,
                               ds_err *e)
{
    DS_CLEANUP_FREE char *cert = in_folder(req->folder, "root.pem");
    DS_CLEANUP_FREE char *log = in_folder(req->folder, "root.log");
    DS_CLEANUP_FREE char *beside = without_slashes(req->folder);
    ds_signer_config cfg = *access;
    cfg.key = req->root_key;
    cfg.certificate = cert;
    cfg.log = log;
    enum ds_class rc = ds_issuer_open(&cfg, beside, NULL, i, e);
    return rc ? rc : ds_sandbox_enter(e);
}

static bool is_address(const char *host)
{
    uint8_t address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static enum ds_class certify_server(ds_issuer *i, const Devstamp__Signer__MakeServer *req, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_REQ X509_REQ *csr = NULL;
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_csr_info info;
    ds_san names[HOSTS_MAX];
    uint8_t serial[16];
    if (req->n_host == 0 || req->n_host > HOSTS_MAX)
        return ds_fail(e, DS_USAGE, "a server needs 1..%d names", HOSTS_MAX);
    if (req->not_after_utc > i->info.not_after_utc || req->not_before_utc < i->info.not_before_utc)
        return ds_fail(e, DS_POLICY, "the validity demanded is not within the root's");
    for (size_t n = 0; n < req->n_host; n++)
        names[n] = (ds_san){is_address(req->host[n]) ? DS_SAN_IP : DS_SAN_DNS, req->host[n]};
    enum ds_class rc = ds_request_open((ds_view){req->csr.data, req->csr.len}, &info, &csr, e);
    if (rc)
        return rc;
    ds_random(serial, sizeof serial);
    const ds_cert_spec spec = {
        .kind = DS_CERT_SERVER,
        .subject = X509_REQ_get_subject_name(csr),
        .public_key = X509_REQ_get0_pubkey(csr),
        .serial = serial,
        .not_before_utc = req->not_before_utc,
        .not_after_utc = req->not_after_utc,
        .san = names,
        .san_count = req->n_host,
    };
    rc = ds_key_ready(i->key, e);
    if (!rc)
        rc = ds_cert_make(&spec, i->ca, ds_key_private(i->key), ds_key_public(i->key), &cert, e);
    return rc ? rc : ds_issuer_record(i->log, cert, serial, "", ret, e);
}

static enum ds_class make_server(const ds_signer_config *access, const Devstamp__Signer__MakeServer *req,
                                 ds_ceremony_result *ret, ds_err *e)
{
    ds_issuer issuer = {0};
    enum ds_class rc = open_root(access, req, &issuer, e);
    if (!rc)
        rc = certify_server(&issuer, req, &ret->certificate, e);
    if (!rc)
        rc = ds_cert_der(issuer.ca, &ret->root, e);
    ds_issuer_close(&issuer);
    return rc;
}

enum ds_class ds_ceremony_hold(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                               ds_ceremony_result *ret, ds_err *e)
{
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_CA)
        return make_ca(access, request->make_ca, ret, e);
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_SERVER)
        return make_server(access, request->make_server, ret, e);
    return ds_ceremony_hold_offline(access, request, ret, e);
}
