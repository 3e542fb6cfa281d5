// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's PIN out of a seal: nothing is opened before everything it is tied to was found as it was sealed.
#include "src/signer/issuer.h"
#include "src/signer/seal.h"

#include <unistd.h>

static enum ds_class compare(const ds_signer_config *cfg, const ds_seal *s, const ds_issuer *i, ds_err *e)
{
    uint8_t machine[32];
    ds_seal_part here[DS_SEAL_PARTS];
    size_t count = 0;
    ds_signer_config mine = *cfg;
    mine.profiles = i->profiles.profile;
    mine.profile_count = i->profiles.count;
    const ds_seal_station st = {.cfg = &mine,
                                .ca_subject = i->info.subject,
                                .ca = i->info.fingerprint,
                                .quota = i->quota ? ds_quota_digest(i->quota) : NULL,
                                .machine = machine,
                                .machine_text = "this one"};
    enum ds_class rc = ds_seal_machine(NULL, machine, e);
    if (!rc)
        rc = ds_seal_describe(&st, here, &count, e);
    return rc ? rc : ds_seal_compare(s, here, count, e);
}

static enum ds_class open_it(const ds_signer_config *cfg, const ds_seal *s, ds_secret *ret, ds_err *e)
{
    const ds_seal_access access = {.passphrase = cfg->pin,
                                   .passphrase_file = cfg->pin_file,
                                   .passphrase_fd = cfg->pin_fd,
                                   .key_file = cfg->seal_key,
                                   .tpm = cfg->seal_tpm};
    return ds_seal_open(s, &access, ret, e);
}

enum ds_class ds_issuer_unseal(const ds_signer_config *cfg, const char *note, ds_issuer *i, ds_err *e)
{
    ds_seal s = {.all = false};
    bool token = false;
    enum ds_class rc = ds_key_uri_check(cfg->key, &token, e);
    if (!rc && !token)
        rc = ds_hint((ds_fail(e, DS_USAGE, "a seal holds a token's PIN, and the key is in a file"), e),
                     "leave signer.seal out, or put the key into a token");
    if (!rc)
        rc = ds_seal_read(cfg->seal, &s, e);
    if (!rc) {
        rc = compare(cfg, &s, i, e);
        if (!rc)
            rc = open_it(cfg, &s, &i->pin.secret, e);
        if (rc)
            (void)ds_wrap(e, "seal %s", cfg->seal);
    }
    if (cfg->pin == DS_PIN_FD)
        close(cfg->pin_fd);
    if (!rc && !i->token_serial)
        i->token_serial = ds_strdup(ds_seal_token(&s));
    if (!rc) {
        ds_pin_note_set(&i->pin.note, note, cfg->seal, &s.st);
        i->pin.note.seal = true;
    }
    ds_seal_free(&s);
    return rc;
}
