// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Private keys in PEM files; see keyfile.h. Source: RFC 7468, RFC 5958.
#include "src/pki/keyfile.h"

#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PEM_MAX = 16384 };

// Key files have no passphrase: what protects a CA key in earnest is a token. Answers instead of asking on the
// terminal.
static int no_passphrase(char *buf, int size, int rw, void *arg)
{
    (void)buf, (void)size, (void)rw, (void)arg;
    return -1;
}

static enum ds_class slurp(int fd, ds_secret *ret, ds_err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ds_fail_errno(e, DS_INPUT, errno, "key file");
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PEM_MAX)
        return ds_fail(e, DS_INPUT, "not a key file");
    if (st.st_mode & 077)
        return ds_hint((ds_fail(e, DS_POLICY, "others than its owner may use this private key"), e), "chmod 600 it");
    size_t got = 0;
    enum ds_class rc = ds_secret_new(ret, (size_t)st.st_size, e);
    if (!rc)
        rc = ds_fd_read_full(fd, ret->ptr, ret->len, &got, e);
    if (!rc && got != ret->len)
        rc = ds_fail(e, DS_INPUT, "the file changed while it was read");
    return rc;
}

static enum ds_class parse(const ds_secret *pem, EVP_PKEY **ret, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(pem->ptr, (int)pem->len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    if (!key)
        return ds_ossl_fail(e, DS_INPUT, "not an unencrypted private key in PEM");
    if (ds_key_type_of(key) == DS_KEY_NONE) {
        EVP_PKEY_free(key);
        return ds_fail(e, DS_INPUT, "the key is of a type that is not used here");
    }
    *ret = key;
    return DS_OK;
}

enum ds_class ds_key_file_read(const char *path, EVP_PKEY **ret, ds_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "key %s", path);
    DS_CLEANUP_SECRET ds_secret pem = {0};
    enum ds_class rc = slurp(fd, &pem, e);
    close(fd);
    if (!rc)
        rc = parse(&pem, ret, e);
    return rc ? ds_wrap(e, "key %s", path) : DS_OK;
}

enum ds_class ds_key_file_write(const char *path, EVP_PKEY *key, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new(BIO_s_secmem());
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "encode key");
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST)
        return ds_hint((ds_fail(e, DS_POLICY, "key %s exists already", path), e),
                       "it is never overwritten; move it away");
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "key %s", path);
    enum ds_class rc = ds_fd_write_all(fd, pem, (size_t)len, e);
    if (!rc && fsync(fd) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "sync");
    close(fd);
    if (rc) {
        (void)unlink(path);
        return ds_wrap(e, "key %s", path);
    }
    return DS_OK;
}
