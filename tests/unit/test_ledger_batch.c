// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Batches between ledgers: carried once or often, in any order, edited, and in contradiction to what is there.
#include "roll_support.h"
#include "src/ledger/batch.h"
#include "src/ledger/walk.h"

typedef struct two {
    world *station; // and its folder
    char path[96], batch[3][128];
    ds_ledger *company;
    roll_key key;
    ds_err e;
} two;

static int two_new(void **state)
{
    two *t = ds_alloc(sizeof *t);
    void *w = NULL;
    world_in(&w, false); // only files are pushed
    t->station = w;
    t->key = roll_key_new();
    snprintf(t->path, sizeof t->path, "%s/company.db", t->station->folder);
    if (on_pg())
        pg_new_place(t->path, sizeof t->path);
    for (int i = 0; i < 3; i++)
        snprintf(t->batch[i], sizeof t->batch[i], "%s/batch%d", t->station->folder, i);
    assert_int_equal(ds_ledger_open(t->path, false, &t->company, &t->e), DS_OK);
    *state = t;
    return 0;
}

static int two_free(void **state)
{
    two *t = *state;
    static const char *const tails[] = {"", "-wal", "-shm", ".lock"};
    ds_ledger_close(t->company);
    for (size_t i = 0; i < 4 && !on_pg(); i++) {
        char name[160];
        snprintf(name, sizeof name, "%s%s", t->path, tails[i]);
        unlink(name);
    }
    for (int i = 0; i < 3; i++)
        unlink(t->batch[i]);
    EVP_PKEY_free(t->key.key);
    void *w = t->station;
    world_free(&w);
    free(t);
    return 0;
}

#define TWO(f) cmocka_unit_test_setup_teardown(f, two_new, two_free)

// What happened since the last push, or since event from; false: nothing.
static bool push(two *t, int batch, int64_t from)
{
    ds_roll_spool *s = NULL;
    ds_roll_head head = {.kind = DS_STATEMENT_BATCH};
    ds_batch_range range;
    uint64_t known = (uint64_t)from;
    ds_ledger *l = t->station->l;
    if (from < 0)
        assert_int_equal(ds_ledger_push_known(l, &known, &t->e), DS_OK);
    assert_int_equal(ds_roll_spool_new(t->batch[batch], &s, &t->e), DS_OK);
    if (ds_ledger_push(l, known, s, head.about, &range, &t->e))
        fail_msg("%s", t->e.text);
    bool any = range.to > range.from;
    if (any) {
        roll_write(&t->key, s, &head, t->batch[batch], 1);
        assert_int_equal(ds_ledger_pushed(l, &range, &t->e), DS_OK);
    }
    ds_roll_spool_free(s);
    return any;
}

static enum ds_class pull_by(two *t, const roll_key *key, int batch, ds_ledger_pulled *ret)
{
    ds_roll_files f;
    fault_list faults;
    const char *const paths[] = {t->batch[batch]};
    *ret = (ds_ledger_pulled){.events = 0};
    enum ds_class rc = survey(key, paths, 1, &faults, &f, &t->e);
    if (rc)
        return rc;
    rc = ds_ledger_pull(t->company, &f, ret, &t->e);
    ds_roll_files_free(&f);
    return rc;
}

static enum ds_class pull(two *t, int batch, ds_ledger_pulled *ret)
{
    return pull_by(t, &t->key, batch, ret);
}

static void good_pull(two *t, int batch, ds_ledger_pulled *ret)
{
    if (pull(t, batch, ret))
        fail_msg("%s", t->e.text);
}

typedef struct head {
    int64_t events;
    uint8_t hash[32];
} head;

static head head_of(ds_ledger *l)
{
    head h;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_ledger_head(l, &h.events, h.hash, &e), DS_OK);
    return h;
}

static void copy_station(void *arg, const ds_ledger_station *s)
{
    *(ds_ledger_station *)arg = *s;
}

static ds_ledger_station station_at(two *t)
{
    ds_ledger_station s = {.events = 0};
    assert_int_equal(ds_ledger_each_station(t->company, copy_station, &s, &t->e), DS_OK);
    return s;
}

static void assert_whole(two *t)
{
    lines all;
    if (check(t->company, &all))
        fail_msg("%s", all.text);
}

static ds_ledger_cert cert_at(ds_ledger *l, const char *serial)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_device d;
    ds_ledger_cert c = {0};
    assert_int_equal(ds_ledger_find(l, serial, &d, &e), DS_OK);
    assert_int_equal(ds_ledger_cert_newest(l, d.id, &c, &e), DS_OK);
    return c;
}

static void test_batch_brings_devices_and_is_whole(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    char secret[64];
    ds_ledger_device a = whole_device(t->station->l, 1), d;
    whole_device(t->station->l, 2);
    assert_int_equal(ds_ledger_device_pop(t->station->l, a.id, "ABCDEFGHJKLM", secret, &t->e), DS_OK);
    assert_int_equal(ds_ledger_event(t->station->l, 0, "fault", "bytes \xff\xfe that are no text", &t->e), DS_OK);
    assert_int_equal(ds_ledger_event(t->station->l, 0, "fault", "\\x00 is no number", &t->e), DS_OK);
    assert_true(push(t, 0, -1));
    good_pull(t, 0, &done);
    assert_int_equal(done.devices, 2);
    assert_int_equal(done.certificates, 2);
    assert_whole(t);
    ds_ledger_cert here = cert_at(t->company, "L-0001"), there = cert_at(t->station->l, "L-0001");
    assert_int_equal(here.state, DS_LEDGER_REGISTERED);
    assert_memory_equal(here.fingerprint, there.fingerprint, 32);
    assert_int_equal(here.registered_utc, there.registered_utc);
    assert_int_equal(here.signed_utc, there.signed_utc);
    ds_ledger_cert_free(&here);
    ds_ledger_cert_free(&there);
    assert_int_equal(ds_ledger_find(t->company, "L-0001", &d, &t->e), DS_OK);
    assert_string_equal(d.pop, ""); // the secret stays where it is
    assert_true(d.locked);
    head h = head_of(t->station->l);
    ds_ledger_station s = station_at(t);
    assert_int_equal(s.events, h.events);
    assert_int_equal(s.broken, 0);
    assert_memory_equal(s.head, h.hash, 32);
}

static void test_batch_twice_changes_nothing(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    whole_device(t->station->l, 1);
    assert_true(push(t, 0, -1));
    assert_false(push(t, 1, -1));
    good_pull(t, 0, &done);
    head before = head_of(t->company);
    good_pull(t, 0, &done);
    assert_int_equal(done.events + done.devices + done.certificates + done.advanced, 0);
    head after = head_of(t->company);
    assert_memory_equal(before.hash, after.hash, 32);
    assert_true(push(t, 1, 0)); // all of it again, in another batch
    good_pull(t, 1, &done);
    after = head_of(t->company);
    assert_memory_equal(before.hash, after.hash, 32);
}

// Three batches of one device's life: reserved; signed, then revoked; a new one.
static void live(two *t)
{
    ds_ledger *l = t->station->l;
    ds_ledger_device d = device_n(l, 1);
    char text[64];
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    assert_int_equal(ds_ledger_device_serial(l, d.id, "L-{counter:4}", text, &t->e), DS_OK);
    assert_int_equal(reserve(l, d.id, &s, &c, &t->e), DS_OK);
    assert_true(push(t, 0, -1));
    ds_buf der = certify(c.serial, s.key);
    assert_int_equal(ds_ledger_cert_signed(l, c.id, ds_buf_view(&der), &t->e), DS_OK);
    assert_true(push(t, 1, -1));
    assert_int_equal(ds_ledger_cert_revoke(l, c.id, "keyCompromise: lost", &t->e), DS_OK);
    whole_device(l, 1);
    assert_true(push(t, 2, -1));
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static enum ds_class first_reason(void *arg, const ds_ledger_revocation *r, ds_err *e)
{
    (void)e;
    snprintf(arg, 64, "%s", r->reason);
    return DS_OK;
}

static void test_batches_in_any_order_end_the_same(void **state)
{
    two *t = *state;
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
    ds_ledger_pulled done;
    live(t);
    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        char reason[64] = "";
        static const char *const tails[] = {"", "-wal", "-shm"};
        for (int i = 0; i < 3; i++) {
            good_pull(t, orders[o][i], &done);
            ds_ledger_station s = station_at(t);
            assert_int_equal(s.broken, 0);
        }
        ds_ledger_cert c = cert_at(t->company, "L-0001");
        assert_int_equal(c.state, DS_LEDGER_REGISTERED);
        assert_false(c.revoked);
        ds_ledger_cert_free(&c);
        assert_int_equal(ds_ledger_each_revocation(t->company, first_reason, reason, &t->e), DS_OK);
        assert_string_equal(reason, "keyCompromise: lost");
        head h = head_of(t->station->l);
        ds_ledger_station s = station_at(t);
        assert_int_equal(s.events, s.last);
        assert_memory_equal(s.head, h.hash, 32);
        assert_whole(t);
        ds_ledger_close(t->company);
        for (size_t i = 0; i < 3; i++) {
            char name[160];
            snprintf(name, sizeof name, "%s%s", t->path, tails[i]);
            unlink(name);
        }
        if (on_pg())
            pg_new_place(t->path, sizeof t->path);
        assert_int_equal(ds_ledger_open(t->path, false, &t->company, &t->e), DS_OK);
    }
}

static void test_batch_takes_no_state_back(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    whole_device(t->station->l, 1);
    assert_true(push(t, 0, -1));
    good_pull(t, 0, &done);
    ds_ledger_cert c = cert_at(t->company, "L-0001");
    assert_int_equal(ds_ledger_cert_revoke(t->company, c.id, "here", &t->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_true(push(t, 1, 0));
    good_pull(t, 1, &done);
    c = cert_at(t->company, "L-0001");
    assert_true(c.revoked);
    ds_ledger_cert_free(&c);
}

static void test_batch_of_a_stranger_is_refused(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    roll_key other = roll_key_new();
    whole_device(t->station->l, 1);
    assert_true(push(t, 0, -1));
    assert_int_equal(pull_by(t, &other, 0, &done), DS_POLICY);
    assert_has(t->e.text, "a key that was not named");
    EVP_PKEY_free(other.key);
}

static void test_edited_batch_is_refused(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    whole_device(t->station->l, 1);
    assert_true(push(t, 0, -1));
    text_lines all = lines_read(t->batch[0]);
    for (size_t i = 4; i < all.count; i++) {
        char *at = all.line[i] + strlen(all.line[i]) / 2, was = *at;
        *at = was == '1' ? '2' : '1';
        lines_write(&all, t->batch[1]);
        assert_int_equal(pull(t, 1, &done), DS_INPUT);
        *at = was;
    }
    lines_free(&all);
    head h = head_of(t->company);
    assert_int_equal(h.events, 0);
}

static void refused(two *t, const char *words)
{
    ds_ledger_pulled done;
    head before = head_of(t->company);
    assert_true(push(t, 0, 0));
    assert_int_equal(pull(t, 0, &done), DS_POLICY);
    assert_has(t->e.text, words);
    head after = head_of(t->company);
    assert_memory_equal(before.hash, after.hash, 32);
}

static void test_serial_of_another_device_is_refused_by_name(void **state)
{
    two *t = *state;
    whole_device(t->company, 2); // L-0001 there
    whole_device(t->station->l, 1);
    refused(t, "serial number 'L-0001' is of device 020000000002 (L-0001) here, and of 020000000001");
}

static void test_other_serial_of_a_device_is_refused(void **state)
{
    two *t = *state;
    char text[64];
    assert_int_equal(ds_ledger_device_serial(t->company, device_n(t->company, 1).id, "X", text, &t->e), DS_OK);
    whole_device(t->station->l, 1);
    refused(t, "device 020000000001 (X) has the serial number 'L-0001' in the batch");
}

static void test_second_live_certificate_is_refused(void **state)
{
    two *t = *state;
    whole_device(t->company, 1);
    whole_device(t->station->l, 1);
    refused(t, "device 020000000001 (L-0001): it has a live certificate here");
}

static void test_key_of_another_device_is_refused(void **state)
{
    two *t = *state;
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0}, d = {0};
    assert_int_equal(reserve(t->company, device_n(t->company, 9).id, &s, &c, &t->e), DS_OK);
    assert_int_equal(reserve(t->station->l, device_n(t->station->l, 1).id, &s, &d, &t->e), DS_OK);
    refused(t, "device 020000000009: its public key is another device's in the batch");
    ds_ledger_cert_free(&c);
    ds_ledger_cert_free(&d);
    stamp_free(&s);
}

static void test_chain_that_was_begun_anew_is_refused(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    whole_device(t->station->l, 1);
    assert_true(push(t, 0, -1));
    good_pull(t, 0, &done);
    tamper(t->station, "DROP TRIGGER event_fixed; UPDATE event SET text = 'other' WHERE id = 1");
    assert_true(push(t, 1, 0));
    assert_int_equal(pull(t, 1, &done), DS_INPUT); // its own chain does not hold
    assert_has(t->e.text, "its events make no chain");
    ds_ledger_close(t->station->l);
    unlink(t->station->path);
    assert_int_equal(ds_ledger_open(t->station->path, false, &t->station->l, &t->e), DS_OK);
    whole_device(t->station->l, 7);
    assert_int_equal(ds_ledger_event(t->station->l, 0, "fault", "later", &t->e), DS_OK);
    assert_true(push(t, 1, 0));
    assert_int_equal(pull(t, 1, &done), DS_POLICY);
}

// What was only reserved when the batch was pushed may be signed at the station since: no other signer is asked.
static void test_reservation_of_a_batch_is_not_taken_over(void **state)
{
    two *t = *state;
    ds_ledger_pulled done;
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    assert_int_equal(reserve(t->station->l, device_n(t->station->l, 1).id, &s, &c, &t->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_true(push(t, 0, -1));
    good_pull(t, 0, &done);
    ds_ledger_device d = device_n(t->company, 1);
    ds_ledger_reserve r = {.device = d.id,
                           .csr = ds_buf_view(&s.csr),
                           .public_key_digest = s.digest,
                           .subject = "CN=lamp",
                           .not_before_utc = 1700000000,
                           .not_after_utc = 1900000000};
    ds_ledger_cert none = {.id = 77};
    assert_int_equal(ds_ledger_cert_reserve(t->company, &r, &none, &t->e), DS_POLICY);
    assert_has(t->e.text, "came in a batch");
    r.not_after_utc = 1800000000; // a corrected recipe
    assert_int_equal(ds_ledger_cert_reserve(t->company, &r, &none, &t->e), DS_POLICY);
    assert_int_equal(none.id, 77);
    stamp_free(&s);
}

// A record that cannot be read is no record of nothing.
static void test_stations_that_cannot_be_read_are_told(void **state)
{
    two *t = *state;
    ds_ledger_station s;
    world company = {.pg = on_pg()};
    uint8_t fingerprint[32] = {1}, root[32];
    bool was = true;
    assert_int_equal(ds_ledger_each_station(t->company, copy_station, &s, &t->e), DS_OK); // none, yet
    assert_int_equal(ds_ledger_exported(t->company, "cloud", fingerprint, &was, root, &t->e), DS_OK);
    assert_false(was);
    const uint8_t list[1][32] = {{2}};
    assert_int_equal(ds_ledger_export_add(t->company, "cloud", root, list, 1, &t->e), DS_OK);
    snprintf(company.path, sizeof company.path, "%s", t->path);
    char *said = try_sql(&company, "ALTER TABLE batch_event RENAME COLUMN station TO other;"
                                   "ALTER TABLE manifest_export RENAME COLUMN root TO other");
    if (said)
        fail_msg("%s", said);
    assert_int_equal(ds_ledger_each_station(t->company, copy_station, &s, &t->e), DS_STORE);
    assert_int_equal(ds_ledger_exported(t->company, "cloud", fingerprint, &was, root, &t->e), DS_STORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO(test_batch_brings_devices_and_is_whole),
        TWO(test_batch_twice_changes_nothing),
        TWO(test_batches_in_any_order_end_the_same),
        TWO(test_batch_takes_no_state_back),
        TWO(test_batch_of_a_stranger_is_refused),
        TWO(test_edited_batch_is_refused),
        TWO(test_serial_of_another_device_is_refused_by_name),
        TWO(test_other_serial_of_a_device_is_refused),
        TWO(test_second_live_certificate_is_refused),
        TWO(test_key_of_another_device_is_refused),
        TWO(test_chain_that_was_begun_anew_is_refused),
        TWO(test_reservation_of_a_batch_is_not_taken_over),
        TWO(test_stations_that_cannot_be_read_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
