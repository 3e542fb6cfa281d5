// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What is signed and what is not; see issuer.h. The station's word is taken for nothing that can be checked here: the
// request proves its own key, its subject must be what is demanded, and the certificate is built here from checked
// parts, so that no bytes made elsewhere are ever signed.
#include "src/signer/issuer.h"
#include "src/signer/revoked.h"

#include "src/base/clock.h"

#include "src/pki/dn.h"
#include "src/pki/token.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Among how many of the last RSA moduli, those on their way with them, one that shares a factor is looked for.
enum { PIN_MAX = 255, MODULI = 128 };

// The file must be the same before and after: what is remembered of it has to be of the PIN that was read.
static enum ds_class read_pin_file(const char *file, const char *note, ds_pin *ret, ds_err *e)
{
    struct stat before = {0}, after = {0};
    bool known = stat(file, &before) == 0;
    if (ds_secret_read_file(file, PIN_MAX, &ret->secret, e))
        return ds_hint(e, "write the token's PIN, one line, into %s; chmod 600", file);
    if (!known || stat(file, &after) != 0 || before.st_ino != after.st_ino || before.st_dev != after.st_dev ||
        before.st_size != after.st_size || before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
        before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
        return ds_hint((ds_fail(e, DS_INPUT, "%s was changed while it was read", file), e), "run again");
    ds_pin_note_set(&ret->note, note, file, &after);
    return DS_OK;
}

// The descriptor may be a file's ("3<pin").
static enum ds_class read_pin_fd(int fd, const char *note, ds_pin *ret, ds_err *e)
{
    struct stat st;
    bool file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    enum ds_class rc = ds_secret_read_line(fd, PIN_MAX, &ret->secret, e);
    close(fd);
    if (rc)
        return ds_hint((ds_wrap(e, "file descriptor"), e), "let the descriptor give the token's PIN, one line");
    if (file)
        ds_pin_note_set(&ret->note, note, "behind the descriptor", &st);
    return DS_OK;
}

static char *note_beside(const char *beside)
{
    return ds_asprintf("%s.pin-refused", beside);
}

enum ds_class ds_issuer_read_pin(const ds_signer_config *cfg, const char *beside, ds_pin *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *note = note_beside(beside);
    enum ds_class rc = DS_OK;
    if (cfg->pin == DS_PIN_FILE)
        rc = read_pin_file(cfg->pin_file, note, ret, e);
    else if (cfg->pin == DS_PIN_PROMPT)
        rc = ds_secret_prompt("PIN of the token: ", PIN_MAX, &ret->secret, e);
    else if (cfg->pin == DS_PIN_FD)
        rc = read_pin_fd(cfg->pin_fd, note, ret, e);
    return rc ? ds_wrap(e, "PIN") : DS_OK;
}

void ds_pin_free(ds_pin *pin)
{
    ds_secret_free(&pin->secret);
    ds_pin_note_free(&pin->note);
}

static enum ds_class check_ca(const ds_cert_info *info, ds_err *e)
{
    if (!info->ca || !(info->key_usage & KU_KEY_CERT_SIGN))
        return ds_hint((ds_fail(e, DS_INPUT, "%s is not a CA that may sign certificates", info->subject), e),
                       "name the Sub CA's certificate");
    return DS_OK;
}

// Does the key belong to the certificate, and is that one a CA's?
static enum ds_class match(const ds_issuer *i, ds_err *e)
{
    uint8_t digest[32];
    if (check_ca(&i->info, e))
        return DS_INPUT;
    if (ds_public_key_digest(ds_key_public(i->key), digest, e))
        return DS_INTERNAL;
    if (memcmp(digest, i->info.public_key_digest, sizeof digest) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "the certificate of %s belongs to another key", i->info.subject), e),
                       "name the key that was made with this certificate");
    return DS_OK;
}

// One PIN is given: it must not reach two tokens, since the second would count it as wrong.
static enum ds_class open_log_key(const ds_signer_config *cfg, ds_issuer *i, ds_err *e)
{
    const ds_key_source src = {cfg->log_key, cfg->module, &i->pin.secret, &i->pin.note, i->token_serial};
    uint8_t digest[32];
    bool token = false, log_token = false;
    enum ds_class rc = ds_key_uri_check(cfg->key, &token, e);
    if (!rc)
        rc = ds_key_uri_check(cfg->log_key, &log_token, e);
    if (!rc && token && log_token && !ds_token_same(cfg->key, cfg->log_key))
        rc = ds_hint((ds_fail(e, DS_USAGE, "it is in another token than the Sub CA's key, and one PIN is given"), e),
                     "keep the log key in the same token, or in a file");
    if (!rc)
        rc = ds_key_open(&src, &i->log_key, e);
    if (!rc)
        rc = ds_public_key_digest(ds_key_public(i->log_key), digest, e);
    if (!rc && memcmp(digest, i->info.public_key_digest, 32) == 0)
        rc = ds_hint((ds_fail(e, DS_POLICY, "it is the Sub CA's key, which signs certificates and nothing else"), e),
                     "make a key of its own for the log");
    return rc ? ds_wrap(e, "log key") : DS_OK;
}

// The moduli of the last certificates, from the log, whose hashes hold: what is no certificate there has no modulus.
static enum ds_class remember_moduli(ds_issuer *i, ds_err *e)
{
    static const uint8_t rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7,
                                  0x0d, 0x01, 0x01, 0x01}; // rsaEncryption: the others are not parsed
    i->moduli = ds_moduli_new(MODULI);
    uint64_t entries = ds_log_entries(i->log);
    for (uint64_t n = entries > MODULI ? entries - MODULI : 0; n < entries; n++) {
        DS_CLEANUP_BUF ds_buf der = {0};
        DS_CLEANUP_X509 X509 *cert = NULL;
        enum ds_class rc = ds_log_read(i->log, ds_log_by_number(i->log, n + 1), &der, e);
        if (rc)
            return rc;
        if (memmem(der.ptr, der.len, rsa, sizeof rsa) && ds_cert_parse(ds_buf_view(&der), &cert, NULL) == DS_OK &&
            X509_get0_pubkey(cert))
            ds_moduli_add(i->moduli, X509_get0_pubkey(cert));
    }
    return DS_OK;
}

static enum ds_class open_parts(const ds_signer_config *cfg, const char *beside, ds_issuer *i, ds_err *e)
{
    enum ds_class rc = ds_cert_read(cfg->certificate, &i->ca, e);
    if (!rc)
        rc = ds_cert_describe(i->ca, &i->info, e);
    if (!rc)
        rc = check_ca(&i->info, e);
    if (!rc)
        rc = ds_issuing_new(i->ca, &i->issuing, e);
    if (!rc)
        rc = ds_log_open(cfg->log, i->info.fingerprint, &i->log, e);
    if (!rc)
        rc = ds_revoked_open(cfg->log, i, e);
    if (!rc)
        rc = remember_moduli(i, e);
    if (!rc && cfg->quota)
        rc = ds_quota_read(cfg->quota, i->info.fingerprint, &i->quota, e);
    i->token_serial = cfg->token_serial ? ds_strdup(cfg->token_serial) : NULL;
    DS_CLEANUP_FREE char *note = note_beside(beside);
    if (!rc)
        rc = cfg->seal ? ds_issuer_unseal(cfg, note, i, e) : ds_issuer_read_pin(cfg, beside, &i->pin, e);
    if (rc)
        return rc;
    const ds_key_source src = {cfg->key, cfg->module, &i->pin.secret, &i->pin.note, i->token_serial};
    rc = ds_key_open(&src, &i->key, e);
    if (!rc)
        rc = match(i, e);
    if (!rc && cfg->log_key)
        rc = open_log_key(cfg, i, e);
    const ds_key_source pool = {.uri = cfg->pool_key};
    if (!rc && cfg->pool_key && (rc = ds_key_open(&pool, &i->pool_key, e)) != DS_OK)
        (void)ds_wrap(e, "pool key");
    return rc;
}

enum ds_class ds_issuer_open(const ds_signer_config *cfg, const char *beside, ds_profiles *profiles, ds_issuer *ret,
                             ds_err *e)
{
    *ret = (ds_issuer){0};
    if (profiles) {
        ret->profiles = *profiles;
        *profiles = (ds_profiles){0};
    }
    enum ds_class rc = open_parts(cfg, beside, ret, e);
    if (rc)
        ds_issuer_close(ret);
    return rc;
}

void ds_issuer_close(ds_issuer *i)
{
    ds_quota_free(i->quota);
    ds_profiles_free(&i->profiles);
    ds_moduli_free(i->moduli);
    ds_key_free(i->pool_key);
    ds_key_free(i->log_key);
    ds_key_free(i->key);
    ds_pin_free(&i->pin);
    free(i->token_serial);
    ds_log_close(i->revoked);
    free(i->revoked_path);
    ds_log_close(i->log);
    ds_issuing_free(i->issuing);
    X509_free(i->ca);
    *i = (ds_issuer){0};
}

enum ds_class ds_issuer_put_head(ds_issuer *i, ds_err *e)
{
    enum ds_class rc = i->log_key ? ds_key_ready(i->log_key, e) : DS_OK;
    if (rc)
        return ds_wrap(e, "log key");
    const ds_log_key key = {i->log_key ? ds_key_private(i->log_key) : NULL,
                            i->log_key ? ds_key_public(i->log_key) : NULL};
    return ds_log_put_head(i->log, i->log_key ? &key : NULL, e);
}

static enum ds_class check_subject(const Devstamp__Signer__Sign *req, const ds_request *csr, X509_NAME **ret, ds_err *e)
{
    if (ds_dn_parse(req->subject, ret, e))
        return DS_INPUT;
    if (!ds_dn_equal(*ret, csr->subject))
        return ds_fail(e, DS_POLICY, "the request's subject is \"%s\", but \"%s\" is demanded", csr->info.subject,
                       req->subject);
    return DS_OK;
}

static enum ds_class check_key(const ds_issuer *i, const Devstamp__Signer__Sign *req, const ds_csr_info *info,
                               ds_err *e)
{
    const ds_key_kind *wanted = ds_key_kind_of((enum ds_key_type)req->key_type);
    if (!wanted)
        return ds_fail(e, DS_INPUT, "key type %u is demanded, which does not exist", req->key_type);
    if (info->key_type != (int)wanted->type)
        return ds_fail(e, DS_POLICY, "the request's key is %s, but %s is demanded",
                       ds_key_kind_of((enum ds_key_type)info->key_type)->label, wanted->label);
    if (memcmp(info->public_key_digest, i->info.public_key_digest, 32) == 0)
        return ds_fail(e, DS_POLICY, "the request shows the CA's own key");
    return DS_OK;
}

static enum ds_class check_moduli(const ds_issuer *i, EVP_PKEY *key, ds_err *e)
{
    if (!ds_moduli_share(i->moduli, key))
        return DS_OK;
    return ds_hint(
        (ds_fail(e, DS_POLICY, "the request's RSA key shares a prime with another device's: both can be broken"), e),
        "devices make keys before they have randomness: stop the line, see to the firmware");
}

static enum ds_class check_validity(const ds_issuer *i, const Devstamp__Signer__Sign *req, ds_err *e)
{
    if (req->not_before_utc < 0 || req->not_before_utc >= req->not_after_utc || req->not_after_utc > DS_NO_EXPIRY)
        return ds_hint((ds_fail(e, DS_POLICY, "the validity demanded is not a span of time between 1970 and 9999"), e),
                       "correct the recipe's certificate.days and this computer's clock");
    if (req->not_before_utc >= i->info.not_before_utc && req->not_after_utc <= i->info.not_after_utc)
        return DS_OK;
    char from[21], to[21];
    ds_utc_format(i->info.not_before_utc, from);
    ds_utc_format(i->info.not_after_utc, to);
    return ds_hint((ds_fail(e, DS_POLICY, "the validity demanded is not within the Sub CA's, %s to %s", from, to), e),
                   "correct the recipe's certificate.days, or make a Sub CA that lives longer");
}

static enum ds_class refuse_subject(X509 *cert, const char *serial, ds_err *e)
{
    ds_cert_info info;
    if (ds_cert_describe(cert, &info, e))
        return DS_INTERNAL;
    ds_fail(e, DS_POLICY, "this public key was certified before as \"%s\", serial number %s", info.subject, serial);
    return ds_hint(
        e, "use the recipe that says so to be given that certificate, or revoke it (devstamp ledger revoke) and "
           "let the device make a new key");
}

// The certificate this very request was given before, or the reason why there is a conflict; *ret_found false: neither.
static enum ds_class look_up(const ds_issuer *i, const ds_csr_info *info, const X509_NAME *subject,
                             const uint8_t serial[16], ds_buf *ret, bool *ret_found, ds_err *e)
{
    const ds_log_entry *entry = ds_log_by_key(i->log, info->public_key_digest);
    char hex[33];
    *ret_found = entry != NULL;
    if (!entry && ds_log_by_serial(i->log, serial))
        return ds_fail(e, DS_POLICY, "the serial number was given to another public key");
    if (!entry)
        return DS_OK;
    ds_hex(entry->serial, sizeof entry->serial, hex);
    if (memcmp(entry->serial, serial, sizeof entry->serial) != 0)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "this public key was certified before, with serial number %s", hex), e),
            "ask with that serial number to be given the same certificate, or let the device make a new key");
    DS_CLEANUP_BUF ds_buf der = {0};
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_revoked_check(i, serial, e);
    if (!rc)
        rc = ds_log_read(i->log, entry, &der, e);
    if (!rc)
        rc = ds_cert_parse(ds_buf_view(&der), &cert, e);
    if (rc)
        return rc;
    if (!ds_dn_equal(subject, X509_get_subject_name(cert)))
        return refuse_subject(cert, hex, e);
    ds_buf_add(ret, der.ptr, der.len);
    return DS_OK;
}

enum ds_class ds_issuer_record(ds_log_file *log, X509 *cert, const uint8_t serial[16], const char *recipe, ds_buf *ret,
                               ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    uint8_t positive[16], digest[32];
    ds_cert_serial(serial, positive);
    enum ds_class rc = ds_cert_der(cert, &der, e);
    if (!rc)
        rc = ds_public_key_digest(X509_get0_pubkey(cert), digest, e);
    if (!rc)
        rc = ds_log_append(log, &(ds_log_certificate){positive, digest, recipe, ds_buf_view(&der)}, e);
    if (!rc)
        ds_buf_add(ret, der.ptr, der.len);
    return rc;
}

void ds_case_free(ds_case *c)
{
    ds_request_free(&c->csr);
    X509_NAME_free(c->subject);
    ds_buf_free(&c->der);
    *c = (ds_case){0};
}

enum ds_class ds_issuer_judge(const ds_issuer *i, ds_plain *plain, const Devstamp__Signer__Sign *req, ds_case *c,
                              ds_err *e)
{
    c->req = req;
    if (req->serial.len != sizeof c->serial)
        return ds_fail(e, DS_INPUT, "the serial number has %zu bytes instead of 16", req->serial.len);
    ds_cert_serial(req->serial.data, c->serial);
    enum ds_class rc = ds_request_read(plain, (ds_view){req->csr.data, req->csr.len}, &c->csr, e);
    if (!rc)
        rc = check_subject(req, &c->csr, &c->subject, e);
    if (!rc)
        rc = check_key(i, req, &c->csr.info, e);
    if (!rc)
        rc = ds_profile_check(&i->profiles, req, &c->csr, &c->profile, e);
    return rc;
}

enum ds_class ds_issuer_decide(ds_issuer *i, ds_case *c, ds_err *e)
{
    enum ds_class rc = look_up(i, &c->csr.info, c->subject, c->serial, &c->der, &c->from_log, e);
    if (rc || c->from_log)
        return rc;
    rc = check_validity(i, c->req, e);
    if (!rc)
        rc = ds_profile_check_validity(c->profile, c->req->not_before_utc, c->req->not_after_utc, e);
    if (!rc)
        rc = ds_quota_check(i->quota, i->log, c->req->recipe, c->req->device_serial, ds_utc_now(), e);
    if (!rc && c->csr.key)
        rc = check_moduli(i, c->csr.key, e);
    if (!rc && c->csr.key)
        ds_moduli_add(i->moduli, c->csr.key);
    return rc;
}

void ds_issuer_forget(ds_issuer *i, const ds_case *c)
{
    if (c->csr.key)
        ds_moduli_drop(i->moduli, c->csr.key);
}

enum ds_class ds_issuer_make(const ds_issuer *i, ds_case *c, ds_err *e)
{
    const ds_issue_spec spec = {
        .subject = c->subject,
        .spki = ds_buf_view(&c->csr.spki),
        .serial = c->serial,
        .not_before_utc = c->req->not_before_utc,
        .not_after_utc = c->req->not_after_utc,
        .uri = c->req->subject_alt_uri,
    };
    if (ds_key_ready(i->key, e) || ds_issue(i->issuing, ds_key_private(i->key), &spec, &c->der, e))
        return ds_key_failed(i->key, e);
    return DS_OK;
}

enum ds_class ds_issuer_add(ds_issuer *i, const ds_case *c, ds_err *e)
{
    return ds_log_add(
        i->log, &(ds_log_certificate){c->serial, c->csr.info.public_key_digest, c->req->recipe, ds_buf_view(&c->der)},
        e);
}

uint64_t ds_issuer_left(const ds_issuer *i, const char *recipe)
{
    return ds_quota_left(i->quota, i->log, recipe);
}
