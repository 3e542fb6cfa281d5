// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Whose signatures count; see bundle.h.
#include "src/signer/bundle.h"

#include "src/base/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

enum { PEM_MAX = 16384 };

static bool holds(const uint8_t (*list)[32], size_t count, const uint8_t id[32])
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(list[i], id, 32) == 0)
            return true;
    return false;
}

// How many approve who are not the one that signed the release. A key counts once: parsing saw to that.
static unsigned approvals_beside(const ds_bundle *b, const ds_bundle_policy *p, const uint8_t release[32])
{
    unsigned n = 0;
    for (size_t i = 0; i < b->count; i++) {
        const ds_bundle_signature *s = &b->signatures[i];
        n += s->role == DS_ROLE_APPROVAL && memcmp(s->key_id, release, 32) != 0 &&
             holds(p->approvers, p->approver_count, s->key_id);
    }
    return n;
}

enum ds_class ds_bundle_judge(const ds_bundle *b, const ds_bundle_policy *p, ds_err *e)
{
    bool released = false;
    unsigned most = 0;
    for (size_t i = 0; i < b->count; i++) {
        const ds_bundle_signature *s = &b->signatures[i];
        if (s->role != DS_ROLE_RELEASE || !holds(p->release_keys, p->release_count, s->key_id))
            continue;
        unsigned n = approvals_beside(b, p, s->key_id);
        released = true;
        most = n > most ? n : most;
    }
    if (!released)
        return ds_hint((ds_fail(e, DS_POLICY, "release %llu of %s is not signed with a known release key",
                                (unsigned long long)b->manifest.release, b->manifest.product),
                        e),
                       "devstamp bundle show prints whose signatures it has");
    if (most < p->approvals)
        return ds_hint((ds_fail(e, DS_POLICY, "release %llu of %s has %u approval%s by known approvers, and needs %u",
                                (unsigned long long)b->manifest.release, b->manifest.product, most,
                                most == 1 ? "" : "s", p->approvals),
                        e),
                       "let another approver look at it (devstamp bundle show) and approve (devstamp bundle approve)");
    return DS_OK;
}

static EVP_PKEY *read_pem(const ds_buf *pem)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(pem->ptr, (int)pem->len);
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    if (key || !bio || BIO_reset(bio) != 1)
        return key;
    DS_CLEANUP_X509 X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    return cert ? X509_get_pubkey(cert) : NULL;
}

enum ds_class ds_bundle_key_id(const char *text, uint8_t ret[32], ds_err *e)
{
    static const char lead[] = "sha256:";
    DS_CLEANUP_BUF ds_buf pem = {0};
    if (strncmp(text, lead, sizeof lead - 1) == 0)
        return ds_unhex(text + sizeof lead - 1, ret, 32)
                   ? DS_OK
                   : ds_fail(e, DS_INPUT, "'%.90s' is not sha256: and 64 hexadecimal digits", text);
    enum ds_class rc = ds_file_read(text, PEM_MAX, &pem, e);
    if (rc)
        return rc;
    DS_CLEANUP_PKEY EVP_PKEY *key = read_pem(&pem);
    ERR_clear_error();
    if (!key || ds_key_type_of(key) == DS_KEY_NONE)
        return ds_fail(e, DS_INPUT, "%s: holds no public key of a type that is used here, in PEM", text);
    return ds_public_key_digest(key, ret, e);
}
