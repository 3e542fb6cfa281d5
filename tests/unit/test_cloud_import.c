// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Issuance logs in the registry: whom they admit, what is refused as no continuation, whose head counts; and the
// isolation of a time by them.
#include "cloud_support.h"

#include "src/base/file.h"
#include "src/cloud/registry_import.h"
#include "src/pki/keytype.h"
#include "src/signer/log_head.h"
#include "src/signer/log_scan.h"

typedef struct diary {
    place *p;
    char path[160], head[192];
    ds_buf bytes;
    ds_hasher *h;
    ds_merkle tree;
} diary;

static void id_of(const party *d, uint8_t ret[32])
{
    SHA256(d->der.ptr, d->der.len, ret);
}

static void diary_begin(diary *l, place *p, const party *ca)
{
    ds_log_header header = {.begun_utc = NOW - 1000};
    uint8_t bytes[DS_LOG_HEADER];
    *l = (diary){.p = p, .h = ds_hasher_new()};
    snprintf(l->path, sizeof l->path, "%s.log", p->path);
    snprintf(l->head, sizeof l->head, "%s.head", l->path);
    id_of(ca, header.ca);
    ds_log_header_write(&header, bytes);
    ds_buf_add(&l->bytes, bytes, sizeof bytes);
}

static void diary_add(diary *l, const party *d, int64_t signed_utc)
{
    static const uint8_t zeros[32];
    size_t at = l->bytes.len;
    const ds_log_record record = {.number = l->tree.size + 1,
                                  .signed_utc = signed_utc,
                                  .serial = zeros,
                                  .key = zeros,
                                  .recipe = "lamp",
                                  .cert = ds_buf_view(&d->der)};
    ds_log_record_write(&record, l->h, &l->bytes);
    ds_merkle_add(&l->tree, l->h, l->bytes.ptr + l->bytes.len - DS_LOG_HASH);
    assert_true(l->bytes.len > at);
}

static void diary_write(const diary *l)
{
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_file_write(l->path, ds_buf_view(&l->bytes), 0600, &e), DS_OK);
}

static void diary_head(diary *l, const party *ca, EVP_PKEY *key)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_log_head head = {.size = l->tree.size};
    const ds_log_key both = {key, key};
    id_of(ca, head.ca);
    ds_merkle_root(&l->tree, l->h, head.root);
    assert_int_equal(ds_log_head_text(&head, key ? &both : NULL, &text, &l->p->e), DS_OK);
    assert_int_equal(ds_file_write(l->head, ds_buf_view(&text), 0600, &l->p->e), DS_OK);
}

static void diary_end(diary *l)
{
    unlink(l->path);
    unlink(l->head);
    ds_hasher_free(l->h);
    ds_buf_free(&l->bytes);
}

static enum ds_class take(diary *l, ds_registry_log_result *ret)
{
    l->p->e = DS_ERR_INIT;
    return ds_registry_import_log(l->p->r, l->path, NULL, ret, &l->p->e);
}

static void change_sub(place *p, const ds_registry_ca_change *c)
{
    uint8_t ca[32];
    id_of(&p->sub, ca);
    assert_int_equal(ds_registry_set_ca(p->r, ca, c, &p->e), DS_OK);
}

static const ds_registry_ca_change by_log = {.policy = &(const enum ds_registry_policy){DS_REGISTRY_LOGGED}};

static void free_all(party *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        party_free(&all[i]);
}

static void make_devices(place *p, party *ret, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "SN%zu", i);
        ret[i] = make_device(name, &p->sub);
    }
}

static bool admitted(place *p, const party *all, size_t i)
{
    ds_registry_client c;
    char name[32];
    snprintf(name, sizeof name, "SN%zu", i);
    enum ds_class rc = admit_at(p, &all[i], name, NOW, &c);
    assert_true(rc == DS_OK || rc == DS_POLICY);
    return rc == DS_OK;
}

static void test_log_admits_what_it_names_and_grows(void **state)
{
    place *p = *state;
    diary l;
    party d[3];
    ds_registry_log_result done;
    make_devices(p, d, 3);
    change_sub(p, &by_log);
    diary_begin(&l, p, &p->sub);
    diary_add(&l, &d[0], NOW);
    diary_write(&l);
    assert_false(admitted(p, d, 0));
    assert_has(p->e.text, "issuance log");
    assert_int_equal(take(&l, &done), DS_OK);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.fresh, 1);
    assert_true(admitted(p, d, 0));
    assert_false(admitted(p, d, 1));
    diary_add(&l, &d[1], NOW + 1);
    diary_write(&l);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(take(&l, &done), DS_OK);
        assert_int_equal(done.entries, 2);
        assert_int_equal(done.fresh, i == 0 ? 1 : 0);
    }
    assert_true(admitted(p, d, 1));
    assert_false(admitted(p, d, 2)); // signed by the same key, and in no log
    free_all(d, 3);
    diary_end(&l);
}

static void test_log_that_does_not_go_on_is_refused(void **state)
{
    place *p = *state;
    diary l, other;
    party d[4];
    ds_registry_log_result done;
    make_devices(p, d, 4);
    change_sub(p, &by_log);
    diary_begin(&l, p, &p->sub);
    diary_add(&l, &d[0], NOW);
    diary_add(&l, &d[1], NOW);
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    diary_begin(&other, p, &p->sub); // begun anew
    diary_add(&other, &d[2], NOW);
    diary_write(&other);
    assert_int_equal(take(&other, &done), DS_STORE);
    assert_has(p->e.text, "cut off");
    diary_add(&other, &d[1], NOW); // as long, with another first entry
    diary_add(&other, &d[3], NOW);
    diary_write(&other);
    assert_int_equal(take(&other, &done), DS_STORE);
    assert_has(p->e.text, "are not those of the last import");
    diary_add(&l, &d[3], NOW); // the right one, damaged behind what is known
    l.bytes.ptr[l.bytes.len - 60] ^= 1;
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_STORE);
    assert_false(admitted(p, d, 2));
    assert_false(admitted(p, d, 3));
    assert_true(admitted(p, d, 0));
    free_all(d, 4);
    diary_end(&other);
    diary_end(&l);
}

static void test_log_of_no_ca_of_devices_is_refused(void **state)
{
    place *p = *state;
    diary l;
    ds_registry_log_result done;
    party stranger = make_ca("Stranger", NULL);
    const party *cas[] = {&stranger, &p->ops, &p->root};
    for (size_t i = 0; i < 3; i++) {
        diary_begin(&l, p, cas[i]);
        diary_write(&l);
        assert_int_equal(take(&l, &done), DS_INPUT);
        diary_end(&l);
    }
    assert_int_equal(ds_registry_import_log(p->r, p->path, NULL, &done, &p->e), DS_STORE); // no log at all
    diary_begin(&l, p, &p->sub);
    diary_write(&l);
    diary_head(&l, &p->ops, NULL); // of another CA
    assert_int_equal(take(&l, &done), DS_INPUT);
    diary_end(&l);
    party_free(&stranger);
}

static void test_known_log_key_decides_how_far_a_log_is_taken(void **state)
{
    place *p = *state;
    diary l;
    party d[3];
    ds_registry_log_result done;
    uint8_t digest[32];
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    assert_int_equal(ds_public_key_digest(key, digest, &p->e), DS_OK);
    make_devices(p, d, 3);
    change_sub(p, &by_log);
    change_sub(p, &(ds_registry_ca_change){.log_key = digest});
    diary_begin(&l, p, &p->sub);
    diary_add(&l, &d[0], NOW);
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_POLICY);
    assert_has(p->e.text, "does not exist");
    diary_head(&l, &p->sub, NULL);
    assert_int_equal(take(&l, &done), DS_POLICY);
    assert_has(p->e.text, "not signed");
    diary_head(&l, &p->sub, other);
    assert_int_equal(take(&l, &done), DS_POLICY);
    assert_has(p->e.text, "another key");
    diary_head(&l, &p->sub, key);
    diary_add(&l, &d[1], NOW); // behind the head: the thief of the Sub CA key has not the log key
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.waiting, 1);
    assert_true(admitted(p, d, 0));
    assert_false(admitted(p, d, 1));
    diary_head(&l, &p->sub, key);
    diary_add(&l, &d[2], NOW);
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    assert_int_equal(done.entries, 2);
    assert_int_equal(done.fresh, 1);
    assert_true(admitted(p, d, 1));
    assert_false(admitted(p, d, 2));
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    free_all(d, 3);
    diary_end(&l);
}

static enum ds_class isolate(place *p, int64_t from, int64_t until, enum ds_registry_state state)
{
    ds_registry_isolation i = {.from_utc = from, .until_utc = until, .state = state};
    id_of(&p->sub, i.ca);
    p->e = DS_ERR_INIT;
    return ds_registry_isolate(p->r, &i, &p->e);
}

static void watch(place *p, ds_registry_watch *w, char names[NAMES_MAX])
{
    bool more = true;
    names[0] = '\0';
    while (more)
        assert_int_equal(ds_registry_watch_next(p->r, w, 5, gather_names, names, &more, &p->e), DS_OK);
}

// SN0 before the time, SN1 in it, SN2 in it and never connected, SN3 after it, SN4 not in the log; SN5 of another CA.
static void test_isolated_time_is_out_by_the_log(void **state)
{
    place *p = *state;
    diary l;
    party d[5], other_ca = make_ca("Other CA", NULL), far = make_device("SN5", &other_ca);
    ds_registry_log_result done;
    ds_registry_client c;
    ds_registry_watch w;
    uint8_t id[32];
    char names[NAMES_MAX];
    assert_int_equal(
        ds_registry_add_ca(p->r, ds_buf_view(&other_ca.der), DS_REGISTRY_DEVICES, DS_REGISTRY_AUTO, id, &p->e), DS_OK);
    make_devices(p, d, 5);
    diary_begin(&l, p, &p->sub);
    diary_add(&l, &d[0], NOW + 99);
    diary_add(&l, &d[1], NOW + 100);
    diary_add(&l, &d[2], NOW - 5000); // a clock put back: it counts as signed with the one before
    diary_add(&l, &d[3], NOW + 200);
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    for (size_t i = 0; i < 5; i++)
        assert_true(i == 2 || admitted(p, d, i)); // jitr
    assert_int_equal(admit_at(p, &far, "SN5", NOW, &c), DS_OK);
    assert_int_equal(ds_registry_watch_init(p->r, &w, &p->e), DS_OK);
    assert_int_equal(isolate(p, NOW + 100, NOW + 200, DS_REGISTRY_INACTIVE), DS_OK);
    watch(p, &w, names);
    assert_string_equal(names, "SN1;SN4;");
    static const bool in[] = {true, false, false, true, false};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(admitted(p, d, i), in[i]);
    assert_int_equal(admit_at(p, &far, "SN5", NOW, &c), DS_OK);
    assert_int_equal(isolate(p, NOW + 100, NOW + 201, DS_REGISTRY_ACTIVE), DS_INPUT); // not these times
    assert_int_equal(isolate(p, NOW + 100, NOW + 200, DS_REGISTRY_ACTIVE), DS_OK);
    for (size_t i = 0; i < 5; i++)
        assert_true(admitted(p, d, i));
    assert_int_equal(isolate(p, NOW + 200, DS_REGISTRY_FOR_EVER, DS_REGISTRY_REVOKED), DS_OK);
    assert_false(admitted(p, d, 3));
    assert_has(p->e.text, "revoked");
    assert_int_equal(isolate(p, NOW + 200, DS_REGISTRY_FOR_EVER, DS_REGISTRY_ACTIVE), DS_POLICY);
    assert_int_equal(isolate(p, NOW + 200, DS_REGISTRY_FOR_EVER, DS_REGISTRY_INACTIVE), DS_POLICY);
    assert_int_equal(isolate(p, NOW, NOW, DS_REGISTRY_INACTIVE), DS_INPUT);
    diary_add(&l, &d[4], NOW); // what was in no log is slipped in late: it counts as the last of them
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    assert_false(admitted(p, d, 4));
    free_all(d, 5);
    party_free(&far);
    party_free(&other_ca);
    diary_end(&l);
}

static void note_outcast(void *arg, const ds_registry_outcast *o)
{
    char *names = arg;
    size_t len = strlen(names);
    snprintf(names + len, NAMES_MAX - len, "%s%s;", o->name, o->registered ? "" : "?");
    assert_true(o->why && (!o->registered || o->registered_utc == NOW));
}

static void test_report_names_who_is_out(void **state)
{
    place *p = *state;
    diary l;
    party d[4];
    ds_registry_log_result done;
    ds_registry_report_result sum;
    char names[NAMES_MAX] = "";
    make_devices(p, d, 4);
    diary_begin(&l, p, &p->sub);
    for (size_t i = 0; i < 3; i++)
        diary_add(&l, &d[i], NOW + (int64_t)i);
    diary_write(&l);
    assert_int_equal(take(&l, &done), DS_OK);
    assert_true(admitted(p, d, 0) && admitted(p, d, 1) && admitted(p, d, 3));
    assert_int_equal(ds_registry_report(p->r, NULL, note_outcast, names, &sum, &p->e), DS_OK);
    assert_int_equal(sum.admitted, 3);
    assert_string_equal(names, "");
    assert_int_equal(isolate(p, NOW + 1, DS_REGISTRY_FOR_EVER, DS_REGISTRY_INACTIVE), DS_OK);
    assert_int_equal(ds_registry_report(p->r, NULL, note_outcast, names, &sum, &p->e), DS_OK);
    assert_string_equal(names, "SN1;SN3;SN2?;");
    assert_int_equal(sum.admitted, 1);
    assert_int_equal(sum.out, 2);
    assert_int_equal(sum.unseen, 1);
    free_all(d, 4);
    diary_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_log_admits_what_it_names_and_grows), PLACE(test_log_that_does_not_go_on_is_refused),
        PLACE(test_log_of_no_ca_of_devices_is_refused), PLACE(test_known_log_key_decides_how_far_a_log_is_taken),
        PLACE(test_isolated_time_is_out_by_the_log),    PLACE(test_report_names_who_is_out),
    };
    return cmocka_run_group_tests_name("cloud: logs", tests, NULL, NULL);
}
