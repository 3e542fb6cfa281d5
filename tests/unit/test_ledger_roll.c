// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Rolls: what was written is read again; whatever is done to a file is seen, and told by entry.
#include "roll_support.h"

#include <sys/stat.h>

#include <openssl/pem.h>

typedef struct bench {
    roll_key key;
    char folder[64], path[96];
    ds_err e;
} bench;

static int bench_new(void **state)
{
    bench *b = ds_alloc(sizeof *b);
    b->key = roll_key_new();
    snprintf(b->folder, sizeof b->folder, "/tmp/ds-roll-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->path, sizeof b->path, "%s/list", b->folder);
    *state = b;
    return 0;
}

static int bench_free(void **state)
{
    bench *b = *state;
    static const char *const tails[] = {"",   ".whole", ".copy", ".part-1-of-3", ".part-2-of-3", ".part-3-of-3",
                                        ".a", ".b"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        char name[160];
        snprintf(name, sizeof name, "%s%s", b->path, tails[i]);
        unlink(name);
    }
    assert_int_equal(rmdir(b->folder), 0); // no file under another name is left
    EVP_PKEY_free(b->key.key);
    free(b);
    return 0;
}

#define BENCH(f) cmocka_unit_test_setup_teardown(f, bench_new, bench_free)

static void make_named(bench *b, const char *name, unsigned count, unsigned parts)
{
    ds_roll_spool *s = NULL;
    ds_roll_head head = {.kind = DS_STATEMENT_DEVICES, .about = "{\"product\":\"lamp\"}"};
    assert_int_equal(ds_roll_spool_new(b->path, &s, &b->e), DS_OK);
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "{\"serial\":\"%s%04u\"}", name, i + 1);
        assert_int_equal(ds_roll_spool_add(s, (ds_view){(uint8_t *)text, (size_t)n}, &b->e), DS_OK);
    }
    roll_write(&b->key, s, &head, b->path, parts);
    ds_roll_spool_free(s);
}

static void make(bench *b, unsigned count, unsigned parts)
{
    make_named(b, "SN", count, parts);
}

// One file surveyed.
static uint64_t look(bench *b, const char *path, fault_list *faults)
{
    ds_roll_files f;
    const char *const paths[] = {path};
    if (survey(&b->key, paths, 1, faults, &f, &b->e))
        fail_msg("%s", b->e.text);
    uint64_t missing = f.missing;
    assert_int_equal(f.faults, faults->count);
    ds_roll_files_free(&f);
    return missing;
}

static void test_roll_of_any_length_is_whole(void **state)
{
    bench *b = *state;
    static const unsigned counts[] = {1, 2, 255, 256, 257, 511, 512, 513, 769, 1280, 1281, 1793, 2817, 3329};
    fault_list faults;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        make(b, counts[i], 1);
        assert_int_equal(look(b, b->path, &faults), 0);
        assert_int_equal(faults.count, 0);
    }
}

static void test_roll_blocks_give_entries_in_order(void **state)
{
    bench *b = *state;
    const ds_roll_options o = {{(const uint8_t(*)[32])b->key.id, 1}, NULL, NULL};
    ds_roll_reader *r = NULL;
    ds_roll_block *block = ds_alloc(sizeof *block);
    bool more = true;
    unsigned n = 0;
    make(b, 600, 1);
    assert_int_equal(ds_roll_open(b->path, &o, &r, &b->e), DS_OK);
    assert_int_equal(ds_roll_get_head(r)->count, 600);
    assert_string_equal(ds_roll_get_head(r)->about, "{\"product\":\"lamp\"}");
    while (!ds_roll_next(r, block, &more, &b->e) && more)
        for (unsigned i = 0; i < block->count; i++) {
            char text[64];
            int len = snprintf(text, sizeof text, "{\"serial\":\"SN%04u\"}", ++n);
            assert_int_equal(block->entry[i].len, len);
            assert_memory_equal(block->entry[i].ptr, text, (size_t)len);
        }
    assert_int_equal(n, 600);
    ds_roll_close(r);
    free(block);
}

// Line numbers here: 0 to 2 the head; 3 block 0; 4 to 259 entries 1 to 256; 260 block 1; 261 on entries 257 on.
typedef struct doing {
    const char *what;
    void (*change)(text_lines *t);
    struct {
        enum ds_roll_fault_kind kind;
        uint64_t first, count;
    } faults[4];
    size_t count;
    uint64_t missing;
} doing;

static void lose_one(text_lines *t)
{
    lines_remove(t, 8, 1);
}
static void lose_some(text_lines *t)
{
    lines_remove(t, 250, 5);
}
static void double_one(text_lines *t)
{
    lines_insert(t, 20, t->line[8]);
}
static void edit_one(text_lines *t)
{
    t->line[8][13] = '7';
}
static void edit_one_to_another(text_lines *t) // SN0005 becomes SN0105, which is there too
{
    t->line[8][14] = '1';
}
static void edit_two_and_lose_one(text_lines *t)
{
    t->line[8][13] = '7';
    t->line[9][13] = '7';
    lines_remove(t, 20, 1);
}
static void swap_neighbours(text_lines *t)
{
    char *one = t->line[8];
    t->line[8] = t->line[9];
    t->line[9] = one;
}
static void add_one(text_lines *t)
{
    lines_insert(t, 10, "{\"serial\":\"SN9999\"}");
}
static void add_many(text_lines *t)
{
    for (int i = 0; i < 3; i++)
        lines_insert(t, t->count, "{\"serial\":\"SN9999\"}");
}
static void cut(text_lines *t)
{
    lines_remove(t, 300, t->count - 300);
}
static void cut_in_a_line(text_lines *t)
{
    cut(t);
    t->line[299][5] = '\0';
}
static void cut_to_head(text_lines *t)
{
    lines_remove(t, 3, t->count - 3);
}
static void edit_leaves(text_lines *t)
{
    char *at = strstr(t->line[3], "leaves\":\"") + 9;
    *at = *at == '0' ? '1' : '0';
}
static void edit_proof(text_lines *t)
{
    char *at = strstr(t->line[260], "proof\":\"") + 8;
    *at = *at == '0' ? '1' : '0';
}
static void edit_place(text_lines *t)
{
    strstr(t->line[2], "\"count\":600")[9] = '5';
}
static void lose_block_line(text_lines *t)
{
    lines_remove(t, 260, 1);
}
static void swap_blocks(text_lines *t)
{
    text_lines u = {ds_alloc(t->count * sizeof(char *)), 0};
    for (int i = 0; i < 257; i++)
        u.line[u.count++] = t->line[3 + i];
    memmove(t->line + 3, t->line + 260, 257 * sizeof(char *));
    memcpy(t->line + 260, u.line, 257 * sizeof(char *));
    free(u.line);
}
static void add_long_line(text_lines *t)
{
    char *text = ds_alloc(DS_ROLL_ENTRY_MAX + 100);
    memset(text, 'x', DS_ROLL_ENTRY_MAX + 99);
    lines_insert(t, 10, text);
    free(text);
}
static void change_nothing(text_lines *t)
{
    (void)t;
}

static const doing doings[] = {
    {"nothing", change_nothing, {{0, 0, 0}}, 0, 0},
    {"lost", lose_one, {{DS_ROLL_LOST, 4, 1}}, 1, 1},
    {"some lost", lose_some, {{DS_ROLL_LOST, 246, 5}}, 1, 5},
    {"doubled", double_one, {{DS_ROLL_DOUBLED, 4, 1}}, 1, 0},
    {"edited", edit_one, {{DS_ROLL_EDITED, 4, 1}}, 1, 1},
    {"edited to another", edit_one_to_another, {{DS_ROLL_DOUBLED, 104, 1}, {DS_ROLL_LOST, 4, 1}}, 2, 1},
    {"two edited, one lost",
     edit_two_and_lose_one,
     {{DS_ROLL_EDITED, 4, 1}, {DS_ROLL_EDITED, 5, 1}, {DS_ROLL_LOST, 16, 1}},
     3,
     3},
    {"swapped", swap_neighbours, {{DS_ROLL_MOVED, 4, 1}}, 1, 0},
    {"added", add_one, {{DS_ROLL_STRANGE, 0, 1}}, 1, 0},
    {"added at the end", add_many, {{DS_ROLL_STRANGE, 0, 3}}, 1, 0},
    {"cut", cut, {{DS_ROLL_LOST, 295, 217}, {DS_ROLL_LOST, 512, 88}}, 2, 305},
    {"cut in a line",
     cut_in_a_line,
     {{DS_ROLL_EDITED, 294, 1}, {DS_ROLL_LOST, 295, 217}, {DS_ROLL_LOST, 512, 88}},
     3,
     306},
    {"nothing but a head", cut_to_head, {{DS_ROLL_LOST, 0, 600}}, 1, 600},
    {"hashes edited",
     edit_leaves,
     {{DS_ROLL_BLOCK_BAD, 0, 0}, {DS_ROLL_STRANGE, 0, 256}, {DS_ROLL_LOST, 0, 256}},
     3,
     256},
    {"proof edited",
     edit_proof,
     {{DS_ROLL_BLOCK_BAD, 0, 0}, {DS_ROLL_STRANGE, 0, 256}, {DS_ROLL_LOST, 256, 256}},
     3,
     256},
    {"place edited", edit_place, {{DS_ROLL_PLACE_BAD, 0, 0}}, 1, 0},
    {"block line lost", lose_block_line, {{DS_ROLL_STRANGE, 0, 256}, {DS_ROLL_LOST, 256, 256}}, 2, 256},
    {"blocks swapped", swap_blocks, {{DS_ROLL_MOVED, 0, 256}}, 1, 0},
    {"an endless line", add_long_line, {{DS_ROLL_STRANGE, 0, 1}}, 1, 0},
};

static void test_roll_every_change_is_told_by_entry(void **state)
{
    bench *b = *state;
    char copy[128];
    make(b, 600, 1);
    snprintf(copy, sizeof copy, "%s.copy", b->path);
    for (size_t i = 0; i < sizeof doings / sizeof *doings; i++) {
        const doing *d = &doings[i];
        text_lines t = lines_read(b->path);
        fault_list got;
        d->change(&t);
        lines_write(&t, copy);
        lines_free(&t);
        uint64_t missing = look(b, copy, &got);
        if (got.count != d->count || missing != d->missing)
            fail_msg("%s: %zu faults, %llu missing", d->what, got.count, (unsigned long long)missing);
        for (size_t k = 0; k < got.count; k++)
            if (got.f[k].kind != d->faults[k].kind ||
                (d->faults[k].count && (got.f[k].first != d->faults[k].first || got.f[k].count != d->faults[k].count)))
                fail_msg("%s: fault %zu is %d at %llu, %llu", d->what, k, (int)got.f[k].kind,
                         (unsigned long long)got.f[k].first, (unsigned long long)got.f[k].count);
    }
}

static void test_roll_edited_entry_says_who_it_claims_to_be(void **state)
{
    bench *b = *state;
    fault_list got;
    make(b, 10, 1);
    text_lines t = lines_read(b->path);
    free(t.line[6]);
    t.line[6] = ds_strdup("{\"serial\":\"EVIL\"}");
    lines_write(&t, b->path);
    lines_free(&t);
    assert_int_equal(look(b, b->path, &got), 1);
    assert_string_equal(got.f[0].serial, "EVIL");
}

static void test_roll_head_edited_or_foreign_is_refused(void **state)
{
    bench *b = *state;
    ds_roll_files f;
    fault_list got;
    const char *const paths[] = {b->path};
    roll_key other = roll_key_new();
    make(b, 300, 1);
    assert_int_equal(survey(&other, paths, 1, &got, &f, &b->e), DS_POLICY);
    assert_has(b->e.text, "a key that was not named");
    text_lines t = lines_read(b->path);
    strstr(t.line[0], "\"count\":300")[8] = '2';
    lines_write(&t, b->path);
    assert_int_equal(survey(&b->key, paths, 1, &got, &f, &b->e), DS_INPUT);
    assert_int_equal(got.f[0].kind, DS_ROLL_HEAD_BAD);
    free(t.line[0]);
    t.line[0] = ds_strdup("{ \"count\": 300 }");
    lines_write(&t, b->path);
    assert_int_equal(survey(&b->key, paths, 1, &got, &f, &b->e), DS_INPUT);
    lines_remove(&t, 1, t.count - 1);
    lines_write(&t, b->path);
    assert_int_equal(survey(&b->key, paths, 1, &got, &f, &b->e), DS_INPUT);
    lines_free(&t);
    EVP_PKEY_free(other.key);
}

static void test_roll_splits_and_joins_to_the_same_bytes(void **state)
{
    bench *b = *state;
    char part[3][128], whole[128];
    const char *const shuffled[] = {part[2], part[0], part[1], part[0]};
    ds_roll_files f;
    fault_list got;
    ds_buf one = {0}, two = {0};
    make(b, 1000, 3);
    for (int i = 0; i < 3; i++)
        snprintf(part[i], sizeof part[i], "%s.part-%d-of-3", b->path, i + 1);
    snprintf(whole, sizeof whole, "%s.whole", b->path);
    assert_int_equal(survey(&b->key, shuffled, 4, &got, &f, &b->e), DS_OK);
    assert_int_equal(got.count, 0);
    assert_int_equal(f.missing, 0);
    assert_int_equal(ds_roll_write_files(&f, whole, 1, &b->e), DS_OK);
    assert_int_equal(ds_roll_write_files(&f, b->path, 5, &b->e), DS_INPUT); // it has four blocks
    ds_roll_files_free(&f);
    assert_int_equal(look(b, whole, &got), 0);
    const char *const paths[] = {whole};
    assert_int_equal(ds_file_read(part[1], 1 << 20, &one, &b->e), DS_OK);
    assert_int_equal(survey(&b->key, paths, 1, &got, &f, &b->e), DS_OK);
    assert_int_equal(ds_roll_write_files(&f, b->path, 3, &b->e), DS_OK);
    ds_roll_files_free(&f);
    assert_int_equal(ds_file_read(part[1], 1 << 20, &two, &b->e), DS_OK);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.ptr, two.ptr, one.len);
    ds_buf_free(&one);
    ds_buf_free(&two);
}

static void test_roll_lost_part_is_told_and_copies_make_up(void **state)
{
    bench *b = *state;
    char part[3][128], copy[128];
    ds_roll_files f;
    fault_list got;
    make(b, 1000, 3);
    for (int i = 0; i < 3; i++)
        snprintf(part[i], sizeof part[i], "%s.part-%d-of-3", b->path, i + 1);
    snprintf(copy, sizeof copy, "%s.copy", b->path);
    const char *const two[] = {part[0], part[2]};
    assert_int_equal(survey(&b->key, two, 2, &got, &f, &b->e), DS_OK);
    assert_int_equal(f.missing, 256);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.f[0].kind, DS_ROLL_LOST);
    assert_int_equal(got.f[0].first, 256);
    ds_roll_files_free(&f);
    text_lines t = lines_read(part[1]); // a damaged copy beside a good one: told, and nothing is missing
    lines_remove(&t, 10, 3);
    lines_write(&t, copy);
    lines_free(&t);
    const char *const four[] = {part[0], copy, part[2], part[1]};
    assert_int_equal(survey(&b->key, four, 4, &got, &f, &b->e), DS_OK);
    assert_int_equal(f.missing, 0);
    assert_int_equal(f.faults, 1);
    ds_roll_files_free(&f);
}

static void test_roll_parts_of_different_lists_do_not_mix(void **state)
{
    bench *b = *state;
    char a[128], c[128];
    ds_roll_files f;
    fault_list got;
    snprintf(a, sizeof a, "%s.a", b->path);
    snprintf(c, sizeof c, "%s.b", b->path);
    make(b, 10, 1);
    assert_int_equal(rename(b->path, a), 0);
    make(b, 11, 1);
    assert_int_equal(rename(b->path, c), 0);
    const char *const both[] = {a, c};
    assert_int_equal(survey(&b->key, both, 2, &got, &f, &b->e), DS_INPUT);
    assert_has(b->e.text, "another list");
}

static long size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (long)st.st_size;
}

// Another list by the same key, put in the place of the one that was looked at.
static void test_roll_exchanged_after_the_survey_is_refused(void **state)
{
    bench *b = *state;
    ds_roll_files f;
    fault_list got;
    ds_roll_block *block = ds_alloc(sizeof *block);
    const char *const paths[] = {b->path};
    make(b, 10, 1);
    long size = size_of(b->path);
    assert_int_equal(survey(&b->key, paths, 1, &got, &f, &b->e), DS_OK);
    do // signatures are of different lengths
        make_named(b, "XX", 10, 1);
    while (size_of(b->path) != size);
    assert_int_equal(ds_roll_load(&f, 0, block, &b->e), DS_INPUT);
    assert_has(b->e.text, "was changed while it was read");
    ds_roll_files_free(&f);
    free(block);
}

static void test_roll_refuses_entries_it_cannot_hold(void **state)
{
    bench *b = *state;
    ds_roll_spool *s = NULL;
    assert_int_equal(ds_roll_spool_new(b->path, &s, &b->e), DS_OK);
    static const char *const bad[] = {"", "a\nb", "{\"block\":1}"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(ds_roll_spool_add(s, (ds_view){(const uint8_t *)bad[i], strlen(bad[i])}, &b->e), DS_INPUT);
    assert_int_equal(ds_roll_spool_count(s), 0);
    ds_roll_spool_free(s);
}

// docs/manifest.md's test vector: made once, and read ever since.
static void test_roll_test_vector_is_read(void **state)
{
    bench *b = *state;
    ds_roll_files f;
    fault_list got;
    static const char *const paths[] = {DS_TEST_DATA "/manifest/serials.list"};
    FILE *pem = fopen(DS_TEST_DATA "/manifest/key.pub", "re");
    assert_non_null(pem);
    roll_key k = {.key = PEM_read_PUBKEY(pem, NULL, NULL, NULL)};
    (void)fclose(pem);
    key_digest(k.key, k.id[0]);
    assert_int_equal(survey(&k, paths, 1, &got, &f, &b->e), DS_OK);
    assert_int_equal(f.faults, 0);
    assert_int_equal(f.head.kind, DS_STATEMENT_SERIALS);
    assert_int_equal(f.head.count, 3);
    ds_roll_files_free(&f);
    EVP_PKEY_free(k.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH(test_roll_of_any_length_is_whole),
        BENCH(test_roll_blocks_give_entries_in_order),
        BENCH(test_roll_every_change_is_told_by_entry),
        BENCH(test_roll_edited_entry_says_who_it_claims_to_be),
        BENCH(test_roll_head_edited_or_foreign_is_refused),
        BENCH(test_roll_splits_and_joins_to_the_same_bytes),
        BENCH(test_roll_lost_part_is_told_and_copies_make_up),
        BENCH(test_roll_parts_of_different_lists_do_not_mix),
        BENCH(test_roll_exchanged_after_the_survey_is_refused),
        BENCH(test_roll_refuses_entries_it_cannot_hold),
        BENCH(test_roll_test_vector_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
