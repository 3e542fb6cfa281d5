// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening a seal: what its unlockers give is had from TPM, credential, key file and passphrase, in this order, so that
// a person is asked last. A wrong passphrase costs time and no try of any token.
#include "src/signer/seal_int.h"
#include "src/signer/seal_tpm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ds_class read_key_fd(int fd, ds_secret *ret, ds_err *e)
{
    enum ds_class rc = ds_secret_read_all(fd, DS_SEAL_KEY_MAX, ret, e);
    if (!rc && ret->len < DS_SEAL_KEY_MIN) {
        ds_secret_free(ret);
        rc = ds_hint((ds_fail(e, DS_POLICY, "fewer than %d bytes are no key", DS_SEAL_KEY_MIN), e),
                     "make one of random bytes: openssl rand -out FILE 32");
    }
    return rc;
}

enum ds_class ds_seal_read_key(const char *path, ds_secret *ret, ds_err *e)
{
    int fd = -1;
    enum ds_class rc = ds_secret_open_file(path, &fd, e);
    if (rc)
        return rc;
    rc = read_key_fd(fd, ret, e);
    close(fd);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

// The service manager made the file for us alone; its mode shows that in a way of its own (access lists).
enum ds_class ds_seal_read_credential(const char *name, ds_secret *ret, ds_err *e)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!name[0] || strchr(name, '/') || name[0] == '.')
        return ds_fail(e, DS_USAGE, "'%s' is no name of a credential", name);
    if (!folder || folder[0] != '/')
        return ds_hint((ds_fail(e, DS_POLICY, "this is no service with credentials"), e),
                       "start the utility by systemd with LoadCredentialEncrypted=%s (docs/seal.md)", name);
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return ds_hint((ds_fail_errno(e, DS_POLICY, errno, "%s", path), e),
                       "give the service LoadCredentialEncrypted=%s", name);
    enum ds_class rc = read_key_fd(fd, ret, e);
    close(fd);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

typedef struct reader {
    const ds_seal_access *from;
    int fd; // of the passphrase file, -1 before it is open
} reader;

static enum ds_class read_passphrase(reader *r, const char *label, ds_secret *ret, ds_err *e)
{
    const ds_seal_access *a = r->from;
    DS_CLEANUP_FREE char *prompt =
        label[0] ? ds_asprintf("Passphrase of the seal (%s): ", label) : ds_asprintf("Passphrase of the seal: ");
    enum ds_class rc = DS_OK;
    if (a->passphrase == DS_PIN_NONE)
        return ds_hint((ds_fail(e, DS_POLICY, "it was not given"), e), "add --passphrase to be asked for it");
    if (a->passphrase == DS_PIN_PROMPT)
        return ds_secret_prompt(prompt, DS_SEAL_PASSPHRASE_MAX, ret, e);
    if (a->passphrase == DS_PIN_FD)
        return ds_secret_read_line(a->passphrase_fd, DS_SEAL_PASSPHRASE_MAX, ret, e);
    if (r->fd < 0)
        rc = ds_secret_open_file(a->passphrase_file, &r->fd, e);
    if (rc)
        return rc;
    rc = ds_secret_read_line(r->fd, DS_SEAL_PASSPHRASE_MAX, ret, e);
    return rc ? ds_wrap(e, "%s", a->passphrase_file) : DS_OK;
}

// What one unlocker gives; not of a passphrase.
static enum ds_class share_of(const ds_seal_unlocker *u, const ds_seal_access *a, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret key = {0};
    if (u->by == DS_SEAL_TPM)
        return ds_seal_tpm_open(a->tpm, u, ret, e);
    enum ds_class rc = DS_OK;
    if (u->by == DS_SEAL_CREDENTIAL)
        rc = ds_seal_read_credential(u->label, &key, e);
    else if (a->key_file)
        rc = ds_seal_read_key(a->key_file, &key, e);
    else
        rc = ds_hint((ds_fail(e, DS_POLICY, "none was named"), e), "name it: signer.seal_key in the station file");
    if (!rc)
        rc = ds_seal_share_key(u, &key, ret, e);
    return rc ? ds_wrap(e, "%s", ds_seal_by_name(u->by)) : DS_OK;
}

// Why it does not open: the first reason whole, then the others.
static void gather(ds_err *all, const ds_err *one)
{
    if (!all->cls) {
        *all = *one;
        return;
    }
    size_t len = strlen(all->text);
    snprintf(all->text + len, sizeof all->text - len, "; %s", one->text);
}

static void wrong(enum ds_seal_by by, ds_err *all)
{
    ds_err one = DS_ERR_INIT;
    if (by == DS_SEAL_PASSPHRASE)
        (void)ds_hint((ds_fail(&one, DS_INPUT, "the passphrase is wrong"), &one),
                      "type it again; the token was not asked, and no try of its PIN was spent");
    else
        (void)ds_hint((ds_fail(&one, DS_INPUT, "%s: it is not the one that opens it", ds_seal_by_name(by)), &one),
                      "give the one the officer sealed with; the token was not asked");
    gather(all, &one);
}

// Without anybody's help.
static bool open_unattended(const ds_seal *s, const ds_seal_access *a, enum ds_seal_by by, ds_secret *ret, ds_err *why)
{
    for (size_t i = 0; i < s->unlocker_count; i++) {
        DS_CLEANUP_SECRET ds_secret share = {0};
        ds_err one = DS_ERR_INIT;
        if (s->unlockers[i].by != by)
            continue;
        if (share_of(&s->unlockers[i], a, &share, &one))
            gather(why, &one);
        else if (ds_seal_unwrap(&share, 1, false, s->wraps.ptr + i * SEAL_WRAP, ret))
            return true;
        else
            wrong(by, why);
    }
    return false;
}

static const ds_seal_unlocker *only_passphrase(const ds_seal *s, size_t *ret_count)
{
    const ds_seal_unlocker *last = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < s->unlocker_count; i++)
        if (s->unlockers[i].by == DS_SEAL_PASSPHRASE)
            last = &s->unlockers[i], (*ret_count)++;
    return last;
}

// One passphrase, tried as each operator's.
static bool open_by_passphrase(const ds_seal *s, reader *r, ds_secret *ret, ds_err *why)
{
    DS_CLEANUP_SECRET ds_secret passphrase = {0};
    ds_err one = DS_ERR_INIT;
    size_t count = 0;
    const ds_seal_unlocker *only = only_passphrase(s, &count);
    if (!only)
        return false;
    if (read_passphrase(r, count == 1 ? only->label : "", &passphrase, &one)) {
        (void)ds_wrap(&one, "passphrase");
        gather(why, &one);
        return false;
    }
    for (size_t i = 0; i < s->unlocker_count; i++) {
        DS_CLEANUP_SECRET ds_secret share = {0};
        if (s->unlockers[i].by != DS_SEAL_PASSPHRASE)
            continue;
        if (ds_seal_share_passphrase(&s->unlockers[i], &passphrase, &share, &one)) {
            gather(why, &one);
            return false;
        }
        if (ds_seal_unwrap(&share, 1, false, s->wraps.ptr + i * SEAL_WRAP, ret))
            return true;
    }
    wrong(DS_SEAL_PASSPHRASE, why);
    return false;
}

static enum ds_class open_any(const ds_seal *s, reader *r, ds_secret *ret, ds_err *e)
{
    ds_err why = DS_ERR_INIT, person = DS_ERR_INIT;
    if (open_unattended(s, r->from, DS_SEAL_TPM, ret, &why) ||
        open_unattended(s, r->from, DS_SEAL_CREDENTIAL, ret, &why) ||
        open_unattended(s, r->from, DS_SEAL_KEY_FILE, ret, &why) || open_by_passphrase(s, r, ret, &person))
        return DS_OK;
    // Who gave a passphrase wants to know of that first.
    bool given = r->from->passphrase != DS_PIN_NONE && person.cls;
    ds_err *first = given || !why.cls ? &person : &why, *then = first == &why ? &person : &why;
    if (then->cls)
        gather(first, then);
    if (e)
        *e = *first;
    return first->cls;
}

static enum ds_class gather_shares(const ds_seal *s, reader *r, ds_secret *shares, ds_err *e)
{
    for (int people = 0; people < 2; people++) // what needs nobody first: a prompt in vain helps nobody
        for (size_t i = 0; i < s->unlocker_count; i++) {
            const ds_seal_unlocker *u = &s->unlockers[i];
            DS_CLEANUP_SECRET ds_secret passphrase = {0};
            enum ds_class rc = DS_OK;
            if ((u->by == DS_SEAL_PASSPHRASE) != (people == 1))
                continue;
            if (!people)
                rc = share_of(u, r->from, &shares[i], e);
            else if (read_passphrase(r, u->label, &passphrase, e))
                rc = ds_wrap(e, "passphrase");
            else
                rc = ds_seal_share_passphrase(u, &passphrase, &shares[i], e);
            if (rc)
                return rc;
        }
    return DS_OK;
}

// All of them together: which one is wrong cannot be told, on purpose, as that would let each be guessed alone.
static enum ds_class open_all(const ds_seal *s, reader *r, ds_secret *ret, ds_err *e)
{
    ds_secret shares[DS_SEAL_UNLOCKERS] = {0};
    enum ds_class rc = gather_shares(s, r, shares, e);
    if (!rc && !ds_seal_unwrap(shares, s->unlocker_count, true, s->wraps.ptr, ret)) {
        size_t passphrases = 0;
        (void)only_passphrase(s, &passphrases);
        rc = ds_fail(e, DS_INPUT, "%s",
                     passphrases == s->unlocker_count ? "a passphrase is wrong"
                     : passphrases                    ? "the passphrase is wrong, or the key"
                                                      : "a key is not the one that opens it");
        (void)ds_hint(e,
                      "try again with what the officer sealed with, each in its place; the token was not asked, and no "
                      "try of its PIN was spent");
    }
    for (size_t i = 0; i < s->unlocker_count; i++)
        ds_secret_free(&shares[i]);
    return rc;
}

enum ds_class ds_seal_open(const ds_seal *s, const ds_seal_access *a, ds_secret *ret_pin, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret data_key = {0};
    reader r = {.from = a, .fd = -1};
    enum ds_class rc = s->all ? open_all(s, &r, &data_key, e) : open_any(s, &r, &data_key, e);
    if (r.fd >= 0)
        close(r.fd);
    return rc ? rc : ds_seal_take_secrets(s, &data_key, ret_pin, e);
}
