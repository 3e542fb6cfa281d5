// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestations in files; see attest_file.h.
#include "src/pki/attest_file.h"
#include "src/pki/cert.h"

#include "src/base/file.h"

#include <unistd.h>

void ds_attestation_files_free(ds_attestation_files *f)
{
    X509_free(f->leaf);
    sk_X509_pop_free(f->chain, X509_free);
    *f = (ds_attestation_files){0};
}

static enum ds_class add_beside(const char *path, STACK_OF(X509) * chain, ds_err *e)
{
    DS_CLEANUP_FREE char *beside = ds_path_beside(path, DS_ATTESTATION_CHAIN);
    STACK_OF(X509) *more = NULL;
    if (access(beside, F_OK) != 0)
        return DS_OK;
    enum ds_class rc = ds_cert_read_all(beside, &more, e);
    for (X509 *cert; !rc && (cert = sk_X509_shift(more)) != NULL;) {
        if (sk_X509_push(chain, cert) > 0)
            continue;
        X509_free(cert);
        rc = ds_fail(e, DS_INTERNAL, "out of memory");
    }
    sk_X509_pop_free(more, X509_free);
    return rc;
}

enum ds_class ds_attestation_files_read(const char *path, ds_attestation_files *ret, ds_err *e)
{
    ds_attestation_files f = {0};
    enum ds_class rc = ds_cert_read_all(path, &f.chain, e);
    if (rc)
        return rc;
    f.leaf = sk_X509_shift(f.chain);
    rc = add_beside(path, f.chain, e);
    if (rc)
        ds_attestation_files_free(&f);
    else
        *ret = f;
    return rc;
}

static enum ds_class check_absent(const char *path, ds_err *e)
{
    if (access(path, F_OK) != 0)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e), "move it away first");
}

enum ds_class ds_attestation_files_write(const ds_attestation_files *f, const char *folder, ds_err *e)
{
    DS_CLEANUP_FREE char *leaf_path = ds_asprintf("%s/%s", folder, DS_ATTESTATION_FILE);
    DS_CLEANUP_FREE char *chain_path = ds_asprintf("%s/%s", folder, DS_ATTESTATION_CHAIN);
    DS_CLEANUP_BUF ds_buf leaf = {0};
    DS_CLEANUP_BUF ds_buf chain = {0};
    enum ds_class rc = check_absent(leaf_path, e);
    if (!rc)
        rc = check_absent(chain_path, e);
    if (!rc)
        rc = ds_cert_pem(f->leaf, &leaf, e);
    for (int i = 0; !rc && f->chain && i < sk_X509_num(f->chain); i++)
        rc = ds_cert_pem(sk_X509_value(f->chain, i), &chain, e);
    if (!rc)
        rc = ds_file_write(leaf_path, ds_buf_view(&leaf), 0644, e);
    if (!rc && chain.len)
        rc = ds_file_write(chain_path, ds_buf_view(&chain), 0644, e);
    return rc;
}

enum ds_class ds_attestation_verify_files(const ds_attestation_files *f, const char *maker_root, EVP_PKEY *key,
                                          int64_t at_utc, ds_attestation *ret, ds_err *e)
{
    STACK_OF(X509) *maker = NULL;
    enum ds_class rc = ds_cert_read_all(maker_root, &maker, e);
    if (rc)
        return ds_wrap(e, "maker's root");
    rc = ds_attestation_verify(
        &(ds_attestation_check){.leaf = f->leaf, .chain = f->chain, .maker = maker, .key = key, .at_utc = at_utc}, ret,
        e);
    sk_X509_pop_free(maker, X509_free);
    return rc;
}
