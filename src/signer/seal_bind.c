// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a seal is tied to: the parts of a configuration, and the comparison. The Sub CA's and the quota's digests are
// those that other tools print (SHA-256 of DER, sha256sum), so that an officer can compare them with paper.
#include "src/signer/seal.h"

#include "src/base/file.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

// SHA-256 over a name of what is hashed, then fields, each behind its length.
typedef struct hasher {
    crypto_hash_sha256_state state;
} hasher;

static void begin(hasher *h, const char *what)
{
    (void)crypto_hash_sha256_init(&h->state);
    (void)crypto_hash_sha256_update(&h->state, (const uint8_t *)what, strlen(what) + 1);
}

static void add(hasher *h, const void *field, size_t len)
{
    uint8_t head[4];
    ds_put_le32(head, (uint32_t)len);
    (void)crypto_hash_sha256_update(&h->state, head, sizeof head);
    (void)crypto_hash_sha256_update(&h->state, field, len);
}

static void add_text(hasher *h, const char *text)
{
    add(h, text ? text : "", text ? strlen(text) : 0);
}

static void add_number(hasher *h, uint32_t number)
{
    uint8_t field[4];
    ds_put_le32(field, number);
    add(h, field, sizeof field);
}

static void end(hasher *h, uint8_t ret[32])
{
    (void)crypto_hash_sha256_final(&h->state, ret);
}

enum ds_class ds_seal_machine(const char *path, uint8_t ret[32], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    path = path ? path : "/etc/machine-id";
    enum ds_class rc = ds_file_read(path, 128, &text, e);
    while (text.len && isspace(text.ptr[text.len - 1]))
        text.len--;
    if (rc || text.len < 32)
        return ds_hint((ds_fail(e, DS_INPUT, "this computer has no identity in %s", path), e),
                       "make one: systemd-machine-id-setup");
    hasher h;
    begin(&h, "devstamp computer 1"); // never the identity itself, which programs should keep to themselves
    add(&h, text.ptr, text.len);
    end(&h, ret);
    return DS_OK;
}

static void set_text(ds_seal_part *p, const char *text)
{
    size_t len = 0;
    for (const char *c = text ? text : ""; *c && len < DS_SEAL_TEXT; c++)
        p->text[len++] = *c >= 0x20 && *c <= 0x7e ? *c : '?';
    p->text[len] = '\0';
}

static void describe_recipe(const ds_signer_profile *r, ds_seal_part *ret)
{
    static const uint8_t none[32];
    hasher h;
    begin(&h, "devstamp recipe 1");
    add(&h, r->digest ? r->digest : none, 32);
    add_text(&h, r->recipe);
    add_text(&h, r->subject);
    add_text(&h, r->serial_format);
    add_text(&h, r->subject_alt_uri);
    add_number(&h, (uint32_t)r->key_type);
    add_number(&h, r->days);
    *ret = (ds_seal_part){.kind = DS_SEAL_RECIPE};
    set_text(ret, r->recipe);
    end(&h, ret->digest);
}

static void describe_text(enum ds_seal_kind kind, const char *text, ds_seal_part *ret)
{
    hasher h;
    begin(&h, kind == DS_SEAL_TOKEN ? "devstamp token 1" : "devstamp station 1");
    add_text(&h, text);
    *ret = (ds_seal_part){.kind = kind};
    set_text(ret, text);
    end(&h, ret->digest);
}

// A log key in a file is named by a path that may be spelled in several ways: that there is one is what counts.
static void describe_key(const ds_signer_config *c, ds_seal_part *ret)
{
    static const char file[] = "file:";
    bool in_file = c->log_key && strncmp(c->log_key, file, strlen(file)) == 0;
    hasher h;
    begin(&h, "devstamp key 1");
    add_text(&h, c->key);
    add_text(&h, c->module);
    add_text(&h, in_file ? file : c->log_key);
    *ret = (ds_seal_part){.kind = DS_SEAL_KEY};
    set_text(ret, c->key);
    end(&h, ret->digest);
}

static void describe_digest(enum ds_seal_kind kind, const char *text, const uint8_t *digest, ds_seal_part *ret)
{
    *ret = (ds_seal_part){.kind = kind};
    set_text(ret, text);
    if (digest)
        memcpy(ret->digest, digest, sizeof ret->digest);
}

enum ds_class ds_seal_describe(const ds_seal_station *st, ds_seal_part *ret, size_t *ret_count, ds_err *e)
{
    const ds_signer_config *c = st->cfg;
    size_t n = 0;
    if (c->profile_count > DS_SEAL_PARTS - DS_SEAL_MACHINE)
        return ds_fail(e, DS_INPUT, "a seal holds %d recipes at most", DS_SEAL_PARTS - DS_SEAL_MACHINE);
    for (size_t i = 0; i < c->profile_count; i++)
        describe_recipe(&c->profiles[i], &ret[n++]);
    if (c->token_serial)
        describe_text(DS_SEAL_TOKEN, c->token_serial, &ret[n++]);
    describe_digest(DS_SEAL_CA, st->ca_subject, st->ca, &ret[n++]);
    describe_key(c, &ret[n++]);
    describe_digest(DS_SEAL_QUOTA, st->quota ? "quota file" : "no quota", st->quota, &ret[n++]);
    describe_text(DS_SEAL_STATION, c->station, &ret[n++]);
    describe_digest(DS_SEAL_MACHINE, st->machine_text, st->machine, &ret[n++]);
    *ret_count = n;
    return DS_OK;
}

static const ds_seal_part *find(const ds_seal *s, const ds_seal_part *here)
{
    const ds_seal_part *near = NULL; // of recipes: the one of that name
    for (size_t i = 0; i < s->part_count; i++) {
        const ds_seal_part *p = &s->parts[i];
        if (p->kind != here->kind)
            continue;
        if (memcmp(p->digest, here->digest, sizeof p->digest) == 0)
            return p;
        if (p->kind != DS_SEAL_RECIPE || strcmp(p->text, here->text) == 0)
            near = p;
    }
    return near;
}

bool ds_seal_holds(const ds_seal *s, const ds_seal_part *here)
{
    const ds_seal_part *p = find(s, here);
    return p && memcmp(p->digest, here->digest, sizeof p->digest) == 0;
}

static void explain(const ds_seal *s, const ds_seal_part *here, ds_err *e)
{
    const ds_seal_part *sealed = find(s, here);
    const char *was = sealed ? sealed->text : "", *is = here->text;
    switch (here->kind) {
    case DS_SEAL_RECIPE:
        if (sealed)
            (void)ds_fail(e, DS_POLICY,
                          "recipe %s is not as it was sealed: its file, or one that it names, has changed", is);
        else
            (void)ds_fail(e, DS_POLICY, "recipe %s is none of those it was sealed for", is);
        break;
    case DS_SEAL_TOKEN:
        (void)ds_fail(e, DS_POLICY, "it is for the token with serial number %s, not %s", was, is);
        break;
    case DS_SEAL_CA:
        (void)ds_fail(e, DS_POLICY, "it is for another Sub CA certificate (sealed: %.100s; here: %.100s)", was, is);
        break;
    case DS_SEAL_KEY:
        (void)ds_fail(
            e, DS_POLICY,
            "the key, its module or the log key is not the one it was sealed for (sealed: %.100s; here: %.100s)", was,
            is);
        break;
    case DS_SEAL_QUOTA:
        (void)ds_fail(e, DS_POLICY, "the quota is not as it was sealed (sealed: %s; here: %s)", was, is);
        break;
    case DS_SEAL_STATION:
        (void)ds_fail(e, DS_POLICY, "it is for station %s, and this is %s", was, is);
        break;
    case DS_SEAL_MACHINE:
        (void)ds_fail(e, DS_POLICY, "it is for another computer (%s)", was);
        break;
    }
}

enum ds_class ds_seal_compare(const ds_seal *s, const ds_seal_part *here, size_t count, ds_err *e)
{
    char also[160] = "";
    size_t others = 0, len = 0;
    bool recipe = false;
    const ds_seal_part *first = NULL;
    for (size_t i = 0; i < count; i++) {
        recipe = recipe || here[i].kind == DS_SEAL_RECIPE;
        if (ds_seal_holds(s, &here[i]))
            continue;
        if (!first)
            first = &here[i];
        else if (len + 40 < sizeof also)
            len += (size_t)snprintf(also + len, sizeof also - len, "%s%s",
                                    others++ ? ", " : " (also different: ", ds_seal_kind_name(here[i].kind));
    }
    if (!recipe)
        return ds_fail(e, DS_POLICY, "no recipe was named, and it is for some");
    if (!first)
        return DS_OK;
    ds_err why = DS_ERR_INIT;
    explain(s, first, &why);
    (void)ds_fail(e, DS_POLICY, "%s%s%s; no PIN was tried", why.text, also, others ? ")" : "");
    return ds_hint(e, "put back what the officer sealed, or let the officer make a new seal (devstamp seal create)");
}
