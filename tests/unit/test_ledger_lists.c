// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Serial numbers from lists, each claimed once; the walk by fingerprints; what was exported.
#include "ledger_support.h"
#include "src/ledger/lists.h"
#include "src/ledger/walk.h"

#include <pthread.h>

typedef struct list {
    const char *prefix;
    unsigned next, count;
} list;

static enum ds_class give(void *arg, char ret[64], ds_err *e)
{
    list *l = arg;
    (void)e;
    if (l->next == l->count)
        ret[0] = '\0';
    else
        snprintf(ret, 64, "%s%u", l->prefix, ++l->next);
    return DS_OK;
}

static enum ds_class add(world *w, const char *product, const char *prefix, unsigned count, uint8_t name,
                         uint64_t *ret_added)
{
    uint8_t root[32] = {name};
    list l = {prefix, 0, count};
    const ds_ledger_serials s = {product, root, give, &l};
    *ret_added = 99;
    return ds_ledger_serials_add(w->l, &s, ret_added, &w->e);
}

static void test_listed_serials_are_claimed_in_order_and_once(void **state)
{
    world *w = *state;
    uint64_t added, all, used;
    char serial[64];
    assert_int_equal(add(w, "lamp", "A", 2, 1, &added), DS_OK);
    assert_int_equal(added, 2);
    assert_int_equal(add(w, "lamp", "A", 2, 1, &added), DS_OK); // the same list
    assert_int_equal(added, 0);
    for (unsigned i = 1; i <= 2; i++) {
        char want[8];
        snprintf(want, sizeof want, "A%u", i);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, i).id, "{list}", serial, &w->e), DS_OK);
            assert_string_equal(serial, want);
        }
    }
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 3).id, "{list}", serial, &w->e), DS_POLICY);
    assert_has(w->e.text, "used up: all 2");
    assert_int_equal(add(w, "lamp", "B", 1, 2, &added), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 3).id, "{list}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "B1");
    assert_int_equal(ds_ledger_serials_count(w->l, "lamp", &all, &used, &w->e), DS_OK);
    assert_int_equal(all, 3);
    assert_int_equal(used, 3);
}

static void test_listed_serials_are_of_their_product(void **state)
{
    world *w = *state;
    uint64_t added;
    char serial[64];
    assert_int_equal(add(w, "fan", "F", 1, 1, &added), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 1).id, "{list}", serial, &w->e), DS_POLICY);
    assert_has(w->e.text, "no serial numbers were imported for product 'lamp'");
}

static void test_list_with_a_known_serial_imports_nothing(void **state)
{
    world *w = *state;
    uint64_t added;
    char serial[64];
    assert_int_equal(add(w, "lamp", "A", 3, 1, &added), DS_OK);
    assert_int_equal(add(w, "fan", "A", 5, 2, &added), DS_POLICY);
    assert_has(w->e.text, "'A1'");
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 1).id, "L{counter}", serial, &w->e), DS_OK);
    assert_int_equal(add(w, "lamp", "L", 1, 3, &added), DS_POLICY);
    assert_has(w->e.text, "'L1' is a device's already");
    assert_int_equal(add(w, "lamp", "x/", 1, 4, &added), DS_INPUT);
    assert_int_equal(add(w, "lamp", "L", 0, 5, &added), DS_OK);
}

static void test_listed_serial_that_became_a_devices_is_passed_over(void **state)
{
    world *w = *state;
    uint64_t added;
    char serial[64];
    assert_int_equal(add(w, "lamp", "L", 3, 1, &added), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 1).id, "L{counter}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "L1");
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 2).id, "{list}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "L2");
}

enum { THREADS = 4, EACH = 15 };
typedef struct racer {
    world *w;
    int64_t device[EACH];
    char serial[EACH][64];
    enum ds_class rc;
} racer;

static void *race(void *arg)
{
    racer *r = arg;
    ds_err e = DS_ERR_INIT;
    for (int i = 0; i < EACH && !r->rc; i++)
        r->rc = ds_ledger_device_serial(r->w->l, r->device[i], "{list}", r->serial[i], &e);
    return NULL;
}

static void test_listed_serials_are_claimed_once_by_racing_slots(void **state)
{
    world *w = *state;
    racer r[THREADS] = {{.w = w}};
    pthread_t thread[THREADS];
    uint64_t added;
    unsigned seen[THREADS * EACH + 1] = {0};
    assert_int_equal(add(w, "lamp", "R", THREADS * EACH, 1, &added), DS_OK);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < EACH; i++)
            r[t].w = w, r[t].device[i] = device_n(w->l, t * 100 + i).id;
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&thread[t], NULL, race, &r[t]), 0);
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(r[t].rc, DS_OK);
        for (unsigned i = 0; i < EACH; i++)
            assert_int_equal(seen[strtoul(r[t].serial[i] + 1, NULL, 10)]++, 0);
    }
}

typedef struct walked {
    uint8_t last[32];
    unsigned count;
} walked;

static enum ds_class count_one(void *arg, const ds_ledger_entry *x, ds_err *e)
{
    walked *k = arg;
    uint8_t digest[32];
    SHA256(x->certificate.ptr, x->certificate.len, digest);
    assert_memory_equal(digest, x->fingerprint, 32);
    assert_true(k->count == 0 || memcmp(k->last, x->fingerprint, 32) < 0);
    assert_string_equal(x->product, "lamp");
    memcpy(k->last, x->fingerprint, 32);
    k->count++;
    (void)e;
    return DS_OK;
}

static void test_walk_goes_by_fingerprint_within_its_bounds(void **state)
{
    world *w = *state;
    ds_ledger_cert c = {0};
    walked all = {.count = 0}, k = {.count = 0};
    assert_int_equal(ds_ledger_walk(w->l, NULL, NULL, count_one, &k, &w->e), DS_OK);
    assert_int_equal(k.count, 0);
    for (unsigned i = 0; i < 5; i++)
        whole_device(w->l, i);
    stamp s = stamp_new("lamp"); // reserved, and not signed: not told
    assert_int_equal(reserve(w->l, device_n(w->l, 9).id, &s, &c, &w->e), DS_OK);
    assert_int_equal(ds_ledger_walk(w->l, NULL, NULL, count_one, &all, &w->e), DS_OK);
    assert_int_equal(all.count, 5);
    assert_int_equal(ds_ledger_walk(w->l, NULL, all.last, count_one, &k, &w->e), DS_OK);
    assert_int_equal(k.count, 4);
    k = (walked){.count = 0};
    assert_int_equal(ds_ledger_walk(w->l, all.last, NULL, count_one, &k, &w->e), DS_OK);
    assert_int_equal(k.count, 0);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_export_is_remembered_by_name(void **state)
{
    world *w = *state;
    const uint8_t one[1][32] = {{1}}, root[32] = {7}, other[32] = {8};
    uint8_t got[32];
    bool known = true;
    assert_int_equal(ds_ledger_exported(w->l, "aws", one[0], &known, got, &w->e), DS_OK);
    assert_false(known);
    assert_int_equal(ds_ledger_export_add(w->l, "aws", root, one, 1, &w->e), DS_OK);
    assert_int_equal(ds_ledger_export_add(w->l, "aws", other, one, 1, &w->e), DS_OK);
    assert_int_equal(ds_ledger_exported(w->l, "aws", one[0], &known, got, &w->e), DS_OK);
    assert_true(known);
    assert_memory_equal(got, root, 32);
    assert_int_equal(ds_ledger_exported(w->l, "azure", one[0], &known, got, &w->e), DS_OK);
    assert_false(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_listed_serials_are_claimed_in_order_and_once),
        TEST(test_listed_serials_are_of_their_product),
        TEST(test_list_with_a_known_serial_imports_nothing),
        TEST(test_listed_serial_that_became_a_devices_is_passed_over),
        TEST(test_listed_serials_are_claimed_once_by_racing_slots),
        TEST(test_walk_goes_by_fingerprint_within_its_bounds),
        TEST(test_export_is_remembered_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
