// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The way to a signer; see signer_access.h.
#include "src/cli/signer_access.h"

#include "src/signer/seal.h"

#include <stdlib.h>
#include <string.h>

static bool parse_fd(const char *text, int *ret)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    *ret = (int)v;
    return *text && !*end && v >= 0 && v < 1024;
}

bool ds_signer_access_take(ds_signer_access *a, int letter, const char *value)
{
    switch (letter) {
    case 'p':
    case 'P':
        a->file = value;
        *(letter == 'p' ? &a->pin : &a->passphrase) = true;
        return true;
    case 'd':
    case 'D':
        *(letter == 'd' ? &a->pin : &a->passphrase) = true;
        return parse_fd(value, &a->fd);
    case 'A':
        a->ask = a->passphrase = true;
        return true;
    default:
        return false;
    }
}

bool ds_signer_access_is_one(const ds_signer_access *a)
{
    return (a->file != NULL) + (a->fd >= 0) + a->ask <= 1;
}

enum ds_class ds_signer_access_check(ds_signer_access *a, const ds_station *s, ds_err *e)
{
    ds_seal seal = {.all = false};
    if (s->est.url && (a->pin || a->passphrase))
        return ds_fail(e, DS_USAGE, "a PIN or passphrase is given, and certificates come from an EST server");
    if (s->remote.address && (a->pin || a->passphrase))
        return ds_hint((ds_fail(e, DS_USAGE, "a PIN or passphrase is given, and the signer is elsewhere"), e),
                       "it is the signer's own computer that wants them");
    if (s->seal && a->pin)
        return ds_hint((ds_fail(e, DS_USAGE, "the station's PIN is sealed, and another one is given"), e),
                       "leave --pin-file and --pin-fd out; --passphrase-file gives the seal's passphrase");
    if (!s->seal && a->passphrase)
        return ds_fail(e, DS_USAGE, "a passphrase is given, and the station file names no seal");
    if (!s->seal || a->passphrase)
        return DS_OK;
    enum ds_class rc = ds_seal_read(s->seal, &seal, e);
    if (!rc)
        a->ask = ds_seal_wants_passphrase(&seal);
    ds_seal_free(&seal);
    return rc;
}

ds_signer_config ds_signer_access_config(const ds_signer_access *a, const ds_station *s,
                                         const ds_signer_profile *profiles, size_t count)
{
    ds_signer_config c = {
        .remote = s->remote.address ? &s->remote : NULL,
        .est = s->est.url ? &s->est : NULL,
        .key = s->signer_key,
        .module = s->signer_module,
        .token_serial = s->token_serial,
        .wait_ms = (int)s->token_wait_s * 1000,
        .certificate = s->signer_certificate,
        .log = s->signer_log,
        .log_key = s->signer_log_key,
        .quota = s->signer_quota,
        .pool_key = s->pool_key,
        .pin_fd = a->fd,
        .profiles = profiles,
        .profile_count = count,
        .pin_file = a->file ? a->file : s->pin_file,
        .seal = s->seal,
        .seal_key = s->seal_key,
        .seal_tpm = s->seal_tpm,
        .station = s->seal ? s->name : NULL,
    };
    if (c.remote || c.est)
        return c;
    bool ask = s->seal ? a->ask : strncmp(s->signer_key, "pkcs11:", 7) == 0;
    c.pin = a->fd >= 0 ? DS_PIN_FD : c.pin_file ? DS_PIN_FILE : ask ? DS_PIN_PROMPT : DS_PIN_NONE;
    return c;
}
