// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The live NVS partition on a fake NOR flash whose power fails at every word that is programmed and every sector erase,
// and once more while the partition is being repaired. Whatever the cut, each value is the old or the new one.
// DS_SEED and DS_NVS_OPS choose another and a longer workload.
#include "agent/port/posix/nvs_flash.h"
#include "src/esp/nvs_page.h"
#include "tests/unit/thorough.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 4u
#define SIZE (PAGES * DS_NVS_PAGE)

// What a word or sector is like that was being changed when power went.
// TEAR_TAIL: of a sector the end is erased, never header and bitmap; of a word as SOME_BITS.
enum tear { TEAR_NOT_DONE, TEAR_SOME_BITS, TEAR_DONE, TEAR_TAIL };
#define TEARS 4

typedef struct nor {
    uint8_t bytes[SIZE];
    uint64_t steps; // words programmed and sectors erased so far
    uint64_t cut;   // the step during which power goes; 0 = never
    enum tear tear;
    uint32_t noise;
    bool off;
    bool cut_erase; // power went during an erase
    uint32_t erases;
} nor;

static uint32_t next_noise(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static bool nor_read(void *ctx, uint32_t off, void *buf, uint32_t len)
{
    nor *f = ctx;
    assert_true(off <= SIZE && len <= SIZE - off);
    memcpy(buf, f->bytes + off, len);
    return !f->off;
}

// Power goes in this step?
static bool goes_off(nor *f)
{
    f->off = f->off || ++f->steps == f->cut;
    return f->off;
}

static bool nor_program(void *ctx, uint32_t off, const void *data, uint32_t len)
{
    nor *f = ctx;
    const uint8_t *src = data;
    assert_true(off % 4 == 0 && len % 4 == 0 && off <= SIZE && len <= SIZE - off);
    for (uint32_t i = 0; i < len && !f->off; i += 4) {
        uint32_t keep = 0;
        if (goes_off(f))
            keep = f->tear == TEAR_DONE ? 0 : f->tear == TEAR_NOT_DONE ? UINT32_MAX : next_noise(&f->noise);
        for (uint32_t k = 0; k < 4; k++) {
            uint8_t *at = f->bytes + off + i + k;
            assert_int_equal(src[i + k] & ~*at, 0); // no bit can be set by programming
            *at = (uint8_t)(*at & (src[i + k] | (uint8_t)(keep >> 8 * k)));
        }
    }
    return !f->off;
}

static bool nor_erase(void *ctx, uint32_t off, uint32_t len)
{
    nor *f = ctx;
    assert_true(off % DS_NVS_PAGE == 0 && len == DS_NVS_PAGE && off < SIZE);
    if (f->off)
        return false;
    f->erases++;
    bool cut = f->cut_erase = goes_off(f);
    if (cut && f->tear == TEAR_NOT_DONE)
        return false;
    for (uint32_t i = cut && f->tear == TEAR_TAIL ? 64 + next_noise(&f->noise) % 4032 / 4 * 4 : 0; i < len; i += 4)
        if (!cut || f->tear != TEAR_SOME_BITS || next_noise(&f->noise) % 2)
            memset(f->bytes + off + i, 0xFF, 4);
    return !cut;
}

static ds_nvs_flash_ops ops_of(nor *f)
{
    return (ds_nvs_flash_ops){f, nor_read, nor_program, nor_erase};
}

static void blank(nor *f)
{
    memset(f, 0, sizeof *f);
    memset(f->bytes, 0xFF, sizeof f->bytes);
    f->noise = 0x9E3779B9;
}

// One set of the workload, or the erase of what an earlier one set.
typedef struct op {
    bool erase;
    const char *name_space, *key;
    enum ds_nvs_type type;
    size_t len;
    uint8_t data[6000];
} op;

static const struct {
    const char *name_space, *key;
    enum ds_nvs_type type; // 0: changes from string to blob to number
} names[] = {
    {"stamp", "key", DS_NVS_BLOB_DATA},     {"stamp", "chain", DS_NVS_BLOB_DATA}, {"stamp", "serial", DS_NVS_STR},
    {"stamp", "fresh", DS_NVS_U8},          {"app", "count", DS_NVS_U32},         {"app", "offset", DS_NVS_I32},
    {"app", "fifteen_letters", DS_NVS_STR}, {"other", "big", DS_NVS_BLOB_DATA},   {"other", "changing", 0},
    {"other", "wide", DS_NVS_U64},
};

static size_t pick_len(enum ds_nvs_type type, uint32_t r)
{
    static const uint16_t edges[] = {0, 1, 31, 32, 33, 63, 64, 390, 410, 1000};
    if (type == DS_NVS_STR || (type == DS_NVS_BLOB_DATA && r % 4))
        return edges[r / 4 % 10] % (type == DS_NVS_STR ? 500u : 1001u);
    if (type == DS_NVS_BLOB_DATA)
        return 1200 + r / 4 % 3500;
    return type & 0x0F;
}

// A payload that looks like entries of the partition, as a hostile value could: it must never be taken for them.
static void forge_entries(op *o)
{
    for (size_t i = 0; i + DS_NVS_ENTRY <= o->len; i += DS_NVS_ENTRY) {
        ds_nvs_entry_init(o->data + i, 1, DS_NVS_U8, DS_NVS_CHUNK_NONE, "forged");
        ds_nvs_entry_set_number(o->data + i, i & 0xFF);
    }
}

static void make_op(op *o, uint32_t *seed)
{
    static const enum ds_nvs_type changing[] = {DS_NVS_STR, DS_NVS_BLOB_DATA, DS_NVS_U16};
    uint32_t r = next_noise(seed);
    size_t which = r % (sizeof names / sizeof *names);
    o->name_space = names[which].name_space;
    o->key = names[which].key;
    o->type = names[which].type ? names[which].type : changing[r / 64 % 3];
    o->len = pick_len(o->type, next_noise(seed));
    for (size_t i = 0; i < o->len; i++)
        o->data[i] = o->type == DS_NVS_STR ? (uint8_t)('a' + next_noise(seed) % 26) : (uint8_t)next_noise(seed);
    if (o->type == DS_NVS_BLOB_DATA && r % 128 < 64)
        forge_entries(o);
}

static void make_erase(op *o, unsigned long which)
{
    o->erase = true;
    o->name_space = names[which % (sizeof names / sizeof *names)].name_space;
    o->key = names[which % (sizeof names / sizeof *names)].key;
}

static enum ds_class do_op(ds_nvs_flash *n, const op *o, ds_err *e)
{
    return o->erase ? ds_nvs_flash_erase(n, o->name_space, o->key, e)
                    : ds_nvs_flash_set(n, o->name_space, o->key, o->type, (ds_view){o->data, o->len}, e);
}

// The values that should be there.
typedef struct model {
    op *values[sizeof names / sizeof *names];
} model;

static size_t slot_of(const char *key)
{
    size_t i = 0;
    while (strcmp(names[i].key, key))
        i++;
    return i;
}

static bool matches(const ds_nvs_items *items, const model *m)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const op *want = m->values[i];
        const ds_nvs_item *got = ds_nvs_find(items, names[i].name_space, names[i].key);
        count += want != NULL;
        if (!want || !got) {
            if (want || got)
                return false;
            continue;
        }
        uint64_t v = 0;
        for (size_t k = 0; k < want->len && want->len <= 8; k++)
            v |= (uint64_t)want->data[k] << 8 * k;
        if (want->type == DS_NVS_I32)
            v = (uint64_t)(int64_t)(int32_t)(uint32_t)v;
        bool number = want->type != DS_NVS_STR && want->type != DS_NVS_BLOB_DATA;
        if (got->type != want->type || (number && got->number != v))
            return false;
        if (!number && (got->data.len != want->len || (want->len && memcmp(got->data.ptr, want->data, want->len))))
            return false;
    }
    return items->count == count; // nothing doubled, nothing else
}

// A partition whose very first header was cut off has no readable page and holds nothing.
static bool parse_matches(const nor *f, const ds_nvs_keys *keys, const model *m)
{
    ds_nvs_items items = {0};
    ds_err e = DS_ERR_INIT;
    enum ds_class c = ds_nvs_parse((ds_view){f->bytes, SIZE}, keys, &items, &e);
    bool ok = (c == DS_OK || c == DS_INPUT) && matches(&items, m);
    ds_nvs_items_free(&items);
    return ok;
}

static bool live_matches(ds_nvs_flash *n, const model *m)
{
    ds_nvs_items items = {0};
    ds_err e = DS_ERR_INIT;
    bool ok = ds_nvs_flash_items(n, &items, &e) == DS_OK && matches(&items, m);
    ds_nvs_items_free(&items);
    return ok;
}

static enum ds_class run_op(nor *f, const ds_nvs_keys *keys, const op *o, ds_err *e)
{
    ds_nvs_flash *n = NULL;
    ds_nvs_flash_ops ops = ops_of(f);
    enum ds_class c = ds_nvs_flash_open(&ops, SIZE, keys, &n, e);
    if (!c && o)
        c = do_op(n, o, e);
    ds_nvs_flash_close(n);
    return c;
}

static void power_up(nor *f, uint64_t cut, enum tear tear)
{
    f->off = false;
    f->cut_erase = false;
    f->steps = 0;
    f->cut = cut;
    f->tear = tear;
}

typedef struct cut_case {
    const nor *start;
    const ds_nvs_keys *keys;
    const op *o;
    const model *before, *after;
} cut_case;

// A first cut at step at, a second one during the repair, then a whole mount and the operation once more. Says whether
// the first cut was during an erase.
static bool check_cut(const cut_case *k, uint64_t at, enum tear tear)
{
    static nor f;
    ds_err e = DS_ERR_INIT;
    f = *k->start;
    f.noise = (uint32_t)at * 2654435761u + 1;
    power_up(&f, at, tear);
    if (run_op(&f, k->keys, k->o, &e) == DS_OK && !f.off)
        fail_msg("step %lu was not reached", (unsigned long)at);
    bool in_erase = f.cut_erase;
    if (!parse_matches(&f, k->keys, k->before) && !parse_matches(&f, k->keys, k->after))
        fail_msg("cut at step %lu of %s: neither old nor new in flash", (unsigned long)at, k->o->key);

    static nor probe;
    probe = f;
    power_up(&probe, 0, TEAR_DONE);
    assert_int_equal(run_op(&probe, k->keys, NULL, &e), DS_OK);
    if (probe.steps) {
        power_up(&f, 1 + next_noise(&f.noise) % probe.steps, (enum tear)(next_noise(&f.noise) % TEARS));
        (void)!run_op(&f, k->keys, NULL, &e);
    }

    power_up(&f, 0, TEAR_DONE);
    ds_nvs_flash *n = NULL;
    ds_nvs_flash_ops ops = ops_of(&f);
    if (ds_nvs_flash_open(&ops, SIZE, k->keys, &n, &e))
        fail_msg("cut at step %lu of %s: %s", (unsigned long)at, k->o->key, e.text);
    if (!live_matches(n, k->before) && !live_matches(n, k->after))
        fail_msg("cut at step %lu of %s: neither old nor new after mount", (unsigned long)at, k->o->key);
    if (do_op(n, k->o, &e))
        fail_msg("cut at step %lu of %s: again: %s", (unsigned long)at, k->o->key, e.text);
    assert_true(live_matches(n, k->after));
    ds_nvs_flash_close(n);
    assert_true(parse_matches(&f, k->keys, k->after));
    return in_erase;
}

static unsigned long setting(const char *name, unsigned long fallback)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 0) : fallback;
}

static void cut_everywhere(const ds_nvs_keys *keys)
{
    uint32_t seed = (uint32_t)setting("DS_SEED", 20260) | 1;
    unsigned long count = setting("DS_NVS_OPS", 38);
    op *ops = ds_alloc(count * sizeof *ops);
    model before = {0}, after = {0};
    static nor f, start;
    uint64_t steps = 0;
    unsigned long full = 0;
    print_message("seed %u\n", seed);
    blank(&f);
    for (unsigned long i = 0; i < count; i++) {
        ds_err e = DS_ERR_INIT;
        if (i % 6 == 5)
            make_erase(&ops[i], i * 7);
        else
            make_op(&ops[i], &seed);
        after = before;
        after.values[slot_of(ops[i].key)] = ops[i].erase ? NULL : &ops[i];
        start = f;
        power_up(&f, 0, TEAR_DONE);
        enum ds_class c = run_op(&f, keys, &ops[i], &e);
        if (c) { // full: nothing has changed
            assert_int_equal(c, DS_STORE);
            assert_int_equal(e.code, ENOSPC);
            assert_true(parse_matches(&f, keys, &before));
            full++;
            continue;
        }
        assert_true(parse_matches(&f, keys, &after));
        uint64_t n = f.steps;
        for (uint64_t at = (uint64_t)stride_from((long)i, 5); at <= n; at += (uint64_t)stride(5)) {
            cut_case k = {&start, keys, &ops[i], &before, &after};
            unsigned tear = (unsigned)(at % TEARS);
            if (check_cut(&k, at, (enum tear)tear))
                for (unsigned other = 1; other < TEARS; other++)
                    check_cut(&k, at, (enum tear)((tear + other) % TEARS));
        }
        steps += n;
        before = after;
    }
    print_message("%lu cuts, %u erases, %lu of %lu refused as full\n", (unsigned long)steps, f.erases, full, count);
    assert_true(f.erases > 3 && steps > 2000);
    free(ops);
}

static void test_set_power_cut_at_every_word_plain(void **state)
{
    (void)state;
    cut_everywhere(NULL);
}

static void test_set_power_cut_at_every_word_encrypted(void **state)
{
    (void)state;
    ds_nvs_keys keys;
    for (unsigned i = 0; i < sizeof keys.bytes; i++)
        keys.bytes[i] = (uint8_t)(i * 5 + 1);
    cut_everywhere(&keys);
}

static void test_set_same_value_writes_nothing(void **state)
{
    (void)state;
    static nor f;
    ds_err e = DS_ERR_INIT;
    op *o = ds_alloc(sizeof *o);
    static const enum ds_nvs_type types[] = {DS_NVS_STR, DS_NVS_BLOB_DATA, DS_NVS_U32};
    for (size_t i = 0; i < 3; i++) {
        blank(&f);
        o->name_space = "ns";
        o->key = "k";
        o->type = types[i];
        o->len = types[i] == DS_NVS_BLOB_DATA ? 5000 : 4;
        memset(o->data, 'x', o->len);
        assert_int_equal(run_op(&f, NULL, o, &e), DS_OK);
        uint64_t steps = f.steps;
        assert_true(steps > 0);
        assert_int_equal(run_op(&f, NULL, o, &e), DS_OK);
        assert_true(f.steps == steps);
        o->data[o->len - 1] = 'y';
        assert_int_equal(run_op(&f, NULL, o, &e), DS_OK);
        assert_true(f.steps > steps);
    }
    free(o);
}

static void test_set_first_value_has_the_documented_bytes(void **state)
{
    (void)state;
    static nor f;
    ds_err e = DS_ERR_INIT;
    ds_nvs_flash *n = NULL;
    uint8_t want[32];
    blank(&f);
    ds_nvs_flash_ops ops = ops_of(&f);
    assert_int_equal(ds_nvs_flash_open(&ops, SIZE, NULL, &n, &e), DS_OK);
    assert_true(f.steps == 0); // a blank partition stays blank until it is used
    assert_int_equal(ds_nvs_flash_free_bytes(n), (PAGES - 1) * DS_NVS_ENTRIES * DS_NVS_ENTRY);
    assert_int_equal(ds_nvs_flash_set(n, "stamp", "serial", DS_NVS_STR, (ds_view){(const uint8_t *)"SN0042", 6}, &e),
                     DS_OK);
    assert_int_equal(ds_nvs_flash_free_bytes(n), ((PAGES - 1) * DS_NVS_ENTRIES - 3) * DS_NVS_ENTRY);
    ds_nvs_flash_close(n);
    assert_true(ds_unhex("feffffff00000000feffffffffffffffffffffffffffffffffffffff842dbab9", want, 32));
    assert_memory_equal(f.bytes, want, 32);
    assert_int_equal(f.bytes[32], 0xEA);
    assert_true(ds_unhex("000101ffe860316c7374616d70000000000000000000000001ffffffffffffff", want, 32));
    assert_memory_equal(f.bytes + 64, want, 32);
    assert_true(ds_unhex("012102ff74c8bdbe73657269616c000000000000000000000700ffffd33e8847", want, 32));
    assert_memory_equal(f.bytes + 96, want, 32);
}

static void test_open_built_partition_keeps_its_items(void **state)
{
    (void)state;
    static nor f;
    ds_err e = DS_ERR_INIT;
    ds_nvs_items items = {0}, back = {0};
    ds_buf built = {0};
    ds_nvs_flash *n = NULL;
    uint8_t blob[4500] = {7};
    ds_nvs_keys keys = {{1, 2, 3}};
    blank(&f);
    ds_nvs_add_number(&items, "ns", "number", DS_NVS_I16, (uint64_t)-3);
    ds_nvs_add_bytes(&items, "ns", "blob", DS_NVS_BLOB_DATA, (ds_view){blob, sizeof blob});
    assert_int_equal(ds_nvs_build(&items, SIZE, &keys, &built, &e), DS_OK);
    memcpy(f.bytes, built.ptr, SIZE);
    ds_nvs_flash_ops ops = ops_of(&f);
    assert_int_equal(ds_nvs_flash_open(&ops, SIZE, &keys, &n, &e), DS_OK);
    assert_true(f.steps == 0);
    assert_int_equal(ds_nvs_flash_items(n, &back, &e), DS_OK);
    assert_int_equal(back.count, 2);
    assert_true((int64_t)ds_nvs_find(&back, "ns", "number")->number == -3);
    assert_memory_equal(ds_nvs_find(&back, "ns", "blob")->data.ptr, blob, sizeof blob);
    ds_nvs_flash_close(n);
    ds_buf_free(&built);
    ds_nvs_items_free(&items);
    ds_nvs_items_free(&back);
}

static void test_set_failing_flash_is_reported_and_blocks(void **state)
{
    (void)state;
    static nor f;
    ds_err e = DS_ERR_INIT;
    ds_nvs_flash *n = NULL;
    ds_view one = {(const uint8_t *)"1", 1};
    blank(&f);
    ds_nvs_flash_ops ops = ops_of(&f);
    assert_int_equal(ds_nvs_flash_open(&ops, SIZE, NULL, &n, &e), DS_OK);
    power_up(&f, 20, TEAR_SOME_BITS);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_U8, one, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "NVS item \"ns.k\": writing NVS flash at 0x"));
    power_up(&f, 0, TEAR_DONE);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_U8, one, &e), DS_DEVICE);
    ds_nvs_flash_close(n);
    assert_int_equal(ds_nvs_flash_open(&ops, SIZE, NULL, &n, &e), DS_OK);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_U8, one, &e), DS_OK);
    ds_nvs_flash_close(n);
}

static void test_set_bad_arguments_are_refused(void **state)
{
    (void)state;
    static nor f;
    ds_err e = DS_ERR_INIT;
    ds_nvs_flash *n = NULL;
    static uint8_t big[20000];
    blank(&f);
    ds_nvs_flash_ops ops = ops_of(&f);
    assert_int_equal(ds_nvs_flash_open(&ops, 2 * DS_NVS_PAGE, NULL, &n, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_open(&ops, SIZE, NULL, &n, &e), DS_OK);
    assert_int_equal(ds_nvs_flash_set(n, "", "k", DS_NVS_U8, (ds_view){big, 1}, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "a_key_of_16_char", DS_NVS_U8, (ds_view){big, 1}, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_U32, (ds_view){big, 3}, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_STR, (ds_view){big, 3}, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_BLOB_IDX, (ds_view){big, 8}, &e), DS_INPUT);
    assert_int_equal(ds_nvs_flash_set(n, "ns", "k", DS_NVS_BLOB_DATA, (ds_view){big, sizeof big}, &e), DS_STORE);
    assert_int_equal(e.code, ENOSPC);
    ds_nvs_flash_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_power_cut_at_every_word_plain),
        cmocka_unit_test(test_set_power_cut_at_every_word_encrypted),
        cmocka_unit_test(test_set_same_value_writes_nothing),
        cmocka_unit_test(test_set_first_value_has_the_documented_bytes),
        cmocka_unit_test(test_open_built_partition_keeps_its_items),
        cmocka_unit_test(test_set_failing_flash_is_reported_and_blocks),
        cmocka_unit_test(test_set_bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
