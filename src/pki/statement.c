// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signed statements; see statement.h.
#include "src/pki/statement.h"

#include <jansson.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static const char lead[] = "devstamp statement";

const char *ds_statement_name(enum ds_statement_kind kind)
{
    static const char *const names[DS_STATEMENT_KINDS] = {"device manifest 1", "serial number list 1",
                                                          "ledger batch 1"};
    return (unsigned)kind < DS_STATEMENT_KINDS ? names[kind] : "";
}

// An object in its one spelling; the caller drops it. NULL otherwise.
static json_t *load(ds_view text, size_t max)
{
    json_error_t why;
    json_t *root = text.len <= max ? json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why) : NULL;
    char *again = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    bool same = again && json_is_object(root) && strlen(again) == text.len && memcmp(again, text.ptr, text.len) == 0;
    free(again);
    if (same)
        return root;
    json_decref(root);
    return NULL;
}

enum ds_class ds_statement_check(ds_view text, enum ds_statement_kind *ret, ds_err *e)
{
    json_t *root = load(text, DS_STATEMENT_MAX);
    if (!root)
        return ds_fail(e, DS_INPUT, "its first line is no statement, or not in its one spelling");
    const char *name = json_string_value(json_object_get(root, "devstamp"));
    int kind = 0;
    while (kind < DS_STATEMENT_KINDS && !(name && strcmp(ds_statement_name((enum ds_statement_kind)kind), name) == 0))
        kind++;
    json_decref(root);
    if (kind == DS_STATEMENT_KINDS)
        return ds_hint((ds_fail(e, DS_INPUT, "its first line is a statement of another kind or format"), e),
                       "a newer devstamp may know it");
    *ret = (enum ds_statement_kind)kind;
    return DS_OK;
}

void ds_statement_message(ds_view text, ds_buf *ret)
{
    ds_buf_add(ret, lead, sizeof lead);
    ds_buf_add(ret, text.ptr, text.len);
}

static void add_hex(ds_buf *b, const uint8_t *bytes, size_t len)
{
    char two[3];
    for (size_t i = 0; i < len; i++) {
        ds_hex(bytes + i, 1, two);
        ds_buf_add(b, two, 2);
    }
}

static void add_text(ds_buf *b, const char *text)
{
    ds_buf_add(b, text, strlen(text));
}

void ds_statement_signature_write(const ds_statement_signature *s, ds_buf *ret)
{
    add_text(ret, "{\"key\":\"");
    add_hex(ret, s->key, s->key_len);
    add_text(ret, "\",\"signature\":\"");
    add_hex(ret, s->signature, s->signature_len);
    add_text(ret, "\"}");
}

// At most cap bytes as hex digits; their number, 0 where it is none.
static size_t take_hex(const json_t *o, const char *key, uint8_t *ret, size_t cap)
{
    const json_t *s = json_object_get(o, key);
    size_t len = json_string_length(s);
    if (!s || len % 2 || len / 2 > cap || !ds_unhex(json_string_value(s), ret, len / 2))
        return 0;
    return len / 2;
}

enum ds_class ds_statement_signature_parse(ds_view line, ds_statement_signature *ret, ds_err *e)
{
    ds_statement_signature s = {.key_len = 0};
    json_t *root = load(line, 2 * (DS_STATEMENT_KEY_MAX + DS_STATEMENT_SIGNATURE_MAX) + 64);
    s.key_len = take_hex(root, "key", s.key, sizeof s.key);
    s.signature_len = take_hex(root, "signature", s.signature, sizeof s.signature);
    bool good = json_object_size(root) == 2 && s.key_len && s.signature_len;
    json_decref(root);
    if (!good)
        return ds_fail(e, DS_INPUT, "its second line is no signature");
    SHA256(s.key, s.key_len, s.key_id);
    *ret = s;
    return DS_OK;
}

static enum ds_class holds(ds_view text, const ds_statement_signature *s, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf message = {0};
    const unsigned char *p = s->key;
    DS_CLEANUP_PKEY EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)s->key_len);
    if (!key || p != s->key + s->key_len || ds_key_type_of(key) == DS_KEY_NONE)
        return ds_fail(e, DS_INPUT, "the key beside its signature is none of ours");
    ds_statement_message(text, &message);
    if (!ds_key_verify(key, ds_buf_view(&message), (ds_view){s->signature, s->signature_len}))
        return ds_fail(e, DS_INPUT, "its signature does not hold: its first line was changed");
    return DS_OK;
}

enum ds_class ds_statement_verify(ds_view text, const ds_statement_signature *s, const ds_statement_keys *keys,
                                  ds_err *e)
{
    char id[65];
    bool known = false;
    for (size_t i = 0; i < keys->count && !known; i++)
        known = memcmp(keys->id[i], s->key_id, 32) == 0;
    if (known)
        return holds(text, s, e);
    ds_hex(s->key_id, 32, id);
    ds_fail(e, DS_POLICY, "it is signed by a key that was not named: sha256:%s", id);
    return ds_hint(e, "do not use it; ask its sender, on another way, which key is theirs");
}
