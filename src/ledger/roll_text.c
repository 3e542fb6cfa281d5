// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lines of a roll that are not entries; see roll.h. Each has one spelling.
#include "src/ledger/roll.h"

#include "src/base/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char block_lead[] = "{\"block\":";

uint64_t ds_roll_blocks(uint64_t count)
{
    return count / DS_ROLL_BLOCK + (count % DS_ROLL_BLOCK != 0);
}

unsigned ds_roll_block_count(uint64_t count, uint64_t block)
{
    uint64_t left = count - block * DS_ROLL_BLOCK;
    return left < DS_ROLL_BLOCK ? (unsigned)left : DS_ROLL_BLOCK;
}

static void hex_text(const uint8_t hash[32], char ret[65])
{
    ds_hex(hash, 32, ret);
}

enum ds_class ds_roll_head_write(const ds_roll_head *h, ds_buf *ret, ds_err *e)
{
    char root[65], created[21];
    json_error_t why;
    hex_text(h->root, root);
    ds_utc_format(h->created_utc, created);
    json_t *about = json_loads(h->about, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(about)) {
        json_decref(about);
        return ds_fail(e, DS_INPUT, "what the list says of itself is no JSON object");
    }
    json_t *o = json_pack("{s:o,s:I,s:s,s:s,s:s}", "about", about, "count", (json_int_t)h->count, "created", created,
                          "devstamp", ds_statement_name(h->kind), "root", root);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    size_t len = text ? strlen(text) : 0;
    bool good = len && len <= DS_STATEMENT_MAX;
    if (good)
        ds_buf_add(ret, text, len);
    free(text);
    return good ? DS_OK : ds_fail(e, DS_INPUT, "what the list says of itself is too long");
}

static bool take_number(const json_t *o, const char *key, uint64_t min, uint64_t max, uint64_t *ret)
{
    const json_t *n = json_object_get(o, key);
    json_int_t v = json_integer_value(n);
    *ret = (uint64_t)v;
    return json_is_integer(n) && v >= 0 && (uint64_t)v >= min && (uint64_t)v <= max;
}

static bool take_hash(const json_t *o, const char *key, uint8_t ret[32])
{
    const json_t *s = json_object_get(o, key);
    return json_is_string(s) && json_string_length(s) == 64 && ds_unhex(json_string_value(s), ret, 32);
}

static bool take_time(const json_t *o, const char *key, int64_t *ret)
{
    const char *text = json_string_value(json_object_get(o, key));
    char again[21], rest;
    struct tm t = {0};
    if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%c", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min,
                        &t.tm_sec, &rest) != 6)
        return false;
    t.tm_year -= 1900;
    t.tm_mon--;
    *ret = timegm(&t);
    ds_utc_format(*ret, again);
    return strcmp(text, again) == 0;
}

static bool take_about(const json_t *root, char ret[DS_ROLL_ABOUT_MAX])
{
    const json_t *about = json_object_get(root, "about");
    char *text = json_is_object(about) ? json_dumps(about, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    size_t len = text ? strlen(text) : DS_ROLL_ABOUT_MAX;
    bool good = len < DS_ROLL_ABOUT_MAX;
    if (good)
        memcpy(ret, text, len + 1);
    free(text);
    return good;
}

enum ds_class ds_roll_head_parse(ds_view text, ds_roll_head *ret, ds_err *e)
{
    json_error_t why;
    ds_roll_head h = {.count = 0};
    enum ds_class rc = ds_statement_check(text, &h.kind, e);
    if (rc)
        return rc;
    json_t *root = json_loadb((const char *)text.ptr, text.len, 0, &why);
    bool good = json_object_size(root) == 5 && take_number(root, "count", 1, DS_ROLL_COUNT_MAX, &h.count) &&
                take_hash(root, "root", h.root) && take_time(root, "created", &h.created_utc) &&
                take_about(root, h.about);
    json_decref(root);
    if (!good)
        return ds_fail(e, DS_INPUT, "its first line: something is missing, or not as it must be");
    *ret = h;
    return DS_OK;
}

void ds_roll_place_write(const ds_roll_place *p, const uint8_t root[32], ds_buf *ret)
{
    char hex[65];
    hex_text(root, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf(
        "{\"count\":%llu,\"first\":%llu,\"of\":%llu,\"part\":%llu,\"root\":\"%s\"}", (unsigned long long)p->count,
        (unsigned long long)p->first, (unsigned long long)p->of, (unsigned long long)p->part, hex);
    ds_buf_add(ret, text, strlen(text));
}

enum ds_class ds_roll_place_parse(ds_view line, const ds_roll_head *head, ds_roll_place *ret, ds_err *e)
{
    json_error_t why;
    ds_roll_place p = {.part = 0};
    uint8_t root[32];
    json_t *o = line.len <= 512 ? json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, &why) : NULL;
    bool good = take_number(o, "of", 1, DS_ROLL_PARTS_MAX, &p.of) && take_number(o, "part", 1, p.of, &p.part) &&
                take_number(o, "first", 0, head->count - 1, &p.first) &&
                take_number(o, "count", 1, head->count - p.first, &p.count) && take_hash(o, "root", root) &&
                memcmp(root, head->root, 32) == 0;
    json_decref(o);
    if (!good)
        return ds_fail(e, DS_INPUT, "its third line does not name a place in this list");
    *ret = p;
    return DS_OK;
}

bool ds_roll_is_block_line(ds_view line)
{
    return line.len >= sizeof block_lead - 1 && memcmp(line.ptr, block_lead, sizeof block_lead - 1) == 0;
}

void ds_roll_block_root(ds_hasher *h, const uint8_t (*leaf)[32], unsigned count, uint8_t ret[32])
{
    ds_merkle t = {.size = 0};
    for (unsigned i = 0; i < count; i++)
        ds_merkle_add(&t, h, leaf[i]);
    ds_merkle_root(&t, h, ret);
}

// As many hashes as the hex digits hold; cap + 1 where they are not that.
static size_t take_hashes(const json_t *s, uint8_t (*ret)[32], size_t cap)
{
    size_t len = json_string_length(s);
    const char *text = json_string_value(s);
    if (!text || len % 64 || len / 64 > cap)
        return cap + 1;
    for (size_t i = 0; i < len / 64; i++) {
        char one[65];
        memcpy(one, text + 64 * i, 64);
        one[64] = '\0';
        if (!ds_unhex(one, ret[i], 32))
            return cap + 1;
    }
    return len / 64;
}

bool ds_roll_block_parse(ds_view line, const ds_roll_head *head, ds_hasher *h, ds_roll_block *ret)
{
    enum { TEXT_MAX = 2 * 32 * (DS_ROLL_BLOCK + DS_MERKLE_PROOF_MAX) + 128 };
    json_error_t why;
    uint8_t proof[DS_MERKLE_PROOF_MAX][32];
    uint64_t blocks = ds_roll_blocks(head->count);
    json_t *o =
        line.len <= TEXT_MAX ? json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, &why) : NULL;
    bool good = take_number(o, "block", 0, blocks - 1, &ret->index);
    size_t leaves = take_hashes(json_object_get(o, "leaves"), ret->leaf, DS_ROLL_BLOCK);
    size_t proofs = take_hashes(json_object_get(o, "proof"), proof, DS_MERKLE_PROOF_MAX);
    json_decref(o);
    if (!good || proofs > DS_MERKLE_PROOF_MAX || leaves != ds_roll_block_count(head->count, ret->index))
        return false;
    ret->count = (unsigned)leaves;
    ds_roll_block_root(h, ret->leaf, ret->count, ret->root);
    const ds_merkle_claim claim = {ret->index, ret->root, blocks, head->root, proof, proofs};
    return ds_merkle_included(&claim, h);
}

static void add_hashes(ds_buf *b, const uint8_t (*hash)[32], size_t count)
{
    char hex[65];
    for (size_t i = 0; i < count; i++) {
        hex_text(hash[i], hex);
        ds_buf_add(b, hex, 64);
    }
}

void ds_roll_block_write(uint64_t index, const uint8_t (*leaf)[32], unsigned count, const ds_merkle_proof *proof,
                         ds_buf *ret)
{
    static const char leaves[] = ",\"leaves\":\"", path[] = "\",\"proof\":\"";
    DS_CLEANUP_FREE char *lead = ds_asprintf("%s%llu", block_lead, (unsigned long long)index);
    ds_buf_add(ret, lead, strlen(lead));
    ds_buf_add(ret, leaves, sizeof leaves - 1);
    add_hashes(ret, leaf, count);
    ds_buf_add(ret, path, sizeof path - 1);
    add_hashes(ret, proof->hash, proof->count);
    ds_buf_add(ret, "\"}", 2);
}
