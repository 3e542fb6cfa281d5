// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Making a seal: a random data key under which the PIN is, wrapped for each unlocker or for all of them together.
#include "src/signer/seal_int.h"
#include "src/signer/seal_tpm.h"

#include <stdio.h>
#include <string.h>

typedef struct making {
    ds_seal seal;
    ds_buf tpm_public[DS_SEAL_UNLOCKERS], tpm_area[DS_SEAL_UNLOCKERS];
    ds_secret shares[DS_SEAL_UNLOCKERS];
    ds_secret data_key;
} making;

static void making_free(making *m)
{
    for (size_t i = 0; i < DS_SEAL_UNLOCKERS; i++) {
        ds_buf_free(&m->tpm_public[i]);
        ds_buf_free(&m->tpm_area[i]);
        ds_secret_free(&m->shares[i]);
    }
    ds_secret_free(&m->data_key);
}

static bool printable(const char *text, size_t max)
{
    size_t len = 0;
    for (; text[len]; len++)
        if (text[len] < 0x20 || text[len] > 0x7e)
            return false;
    return len <= max;
}

static enum ds_class check(const ds_seal_plan *plan, ds_err *e)
{
    if (plan->unlocker_count < 1 || plan->unlocker_count > DS_SEAL_UNLOCKERS)
        return ds_hint((ds_fail(e, DS_USAGE, "a seal needs 1..%d unlockers", DS_SEAL_UNLOCKERS), e),
                       "say who may open it: --by passphrase, key-file=PATH, credential=NAME or tpm");
    if (plan->part_count > DS_SEAL_PARTS || !plan->pin->len || plan->pin->len > UINT8_MAX)
        return ds_fail(e, DS_USAGE, "the PIN, or what the seal is tied to, does not fit");
    size_t key_files = 0;
    for (size_t i = 0; i < plan->unlocker_count; i++)
        key_files += plan->unlockers[i].by == DS_SEAL_KEY_FILE;
    if (plan->all && key_files > 1)
        return ds_fail(e, DS_USAGE, "a station names one key file, and more are needed together");
    for (size_t i = 0; i < plan->unlocker_count; i++) {
        const ds_seal_new *n = &plan->unlockers[i];
        size_t least = n->by == DS_SEAL_PASSPHRASE ? DS_SEAL_PASSPHRASE_MIN : DS_SEAL_KEY_MIN;
        if (!printable(n->label, DS_SEAL_LABEL))
            return ds_fail(e, DS_USAGE, "a label has %d bytes at most, of printable ASCII", DS_SEAL_LABEL);
        if (n->by != DS_SEAL_TPM && n->secret->len < least)
            return ds_fail(e, DS_POLICY, "a %s of fewer than %zu bytes protects nothing", ds_seal_by_name(n->by),
                           least);
        if (n->by == DS_SEAL_PASSPHRASE && (n->passes < 1 || n->passes > DS_SEAL_PASSES_MAX ||
                                            n->memory_kib < DS_SEAL_MEMORY_MIN || n->memory_kib > DS_SEAL_MEMORY_MAX))
            return ds_fail(e, DS_USAGE, "a passphrase costs 1..%d passes over 1..%d MiB", DS_SEAL_PASSES_MAX,
                           DS_SEAL_MEMORY_MAX / 1024);
        if (n->pcrs >> DS_SEAL_PCRS)
            return ds_fail(e, DS_USAGE, "PCRs are 0..%d", DS_SEAL_PCRS - 1);
    }
    return DS_OK;
}

static enum ds_class make_share(making *m, size_t i, const ds_seal_new *n, ds_err *e)
{
    ds_seal_unlocker *u = &m->seal.unlockers[i];
    *u = (ds_seal_unlocker){.by = n->by};
    snprintf(u->label, sizeof u->label, "%s", n->label);
    if (n->by == DS_SEAL_TPM) {
        u->pcrs = n->pcrs;
        return ds_seal_tpm_make(n->tpm, u, &m->tpm_public[i], &m->tpm_area[i], &m->shares[i], e);
    }
    ds_random(u->salt, sizeof u->salt);
    if (n->by != DS_SEAL_PASSPHRASE)
        return ds_seal_share_key(u, n->secret, &m->shares[i], e);
    u->passes = n->passes;
    u->memory_kib = n->memory_kib;
    return ds_seal_share_passphrase(u, n->secret, &m->shares[i], e);
}

static enum ds_class put_wraps(const making *m, ds_buf *out, ds_err *e)
{
    uint8_t wrap[SEAL_WRAP];
    const ds_seal *s = &m->seal;
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < (s->all ? 1 : s->unlocker_count); i++) {
        rc = s->all ? ds_seal_wrap(m->shares, s->unlocker_count, true, &m->data_key, wrap, e)
                    : ds_seal_wrap(&m->shares[i], 1, false, &m->data_key, wrap, e);
        if (!rc)
            ds_buf_add(out, wrap, sizeof wrap);
    }
    return rc;
}

static enum ds_class make(making *m, const ds_seal_plan *plan, ds_buf *out, ds_err *e)
{
    m->seal.created_utc = plan->created_utc;
    m->seal.all = plan->all;
    m->seal.part_count = plan->part_count;
    memcpy(m->seal.parts, plan->parts, plan->part_count * sizeof *plan->parts);
    m->seal.unlocker_count = plan->unlocker_count;
    enum ds_class rc = ds_secret_new(&m->data_key, SEAL_KEY, e);
    if (!rc)
        ds_random(m->data_key.ptr, SEAL_KEY);
    for (size_t i = 0; !rc && i < plan->unlocker_count; i++)
        rc = make_share(m, i, &plan->unlockers[i], e);
    if (rc)
        return rc;
    ds_seal_put_head(&m->seal, out);
    rc = put_wraps(m, out, e);
    if (!rc)
        rc = ds_seal_put_secrets(&m->data_key, plan->pin, out, e);
    if (!rc)
        ds_seal_put_digest(out);
    return rc;
}

enum ds_class ds_seal_make(const ds_seal_plan *plan, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    ds_seal again = {.all = false};
    making m = {.seal = {.all = false}};
    enum ds_class rc = check(plan, e);
    if (!rc)
        rc = make(&m, plan, &out, e);
    making_free(&m);
    if (!rc && ds_seal_parse(ds_buf_view(&out), &again, NULL)) // parts that are not whole, for instance
        rc = ds_fail(e, DS_INTERNAL, "what was made is no seal");
    ds_seal_free(&again);
    if (!rc)
        ds_buf_add(ret, out.ptr, out.len);
    return rc;
}
