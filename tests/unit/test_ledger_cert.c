// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates: one way forward, one live certificate a device, one device a key.
#include "ledger_support.h"

static void test_reserve_again_gives_the_same(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert a = {0}, b = {0};
    assert_int_equal(reserve(w->l, d.id, &s, &a, &w->e), DS_OK);
    assert_int_equal(a.state, DS_LEDGER_RESERVED);
    assert_int_equal(a.csr.len, s.csr.len);
    assert_memory_equal(a.csr.ptr, s.csr.ptr, s.csr.len);
    assert_int_equal(a.certificate.len, 0);
    assert_string_equal(a.subject, "CN=lamp");
    assert_int_equal(a.not_after_utc, 1900000000);
    assert_in_range(a.serial[0], 1, 0x7F); // 16 bytes in DER, and positive
    reopen(w, false);
    assert_int_equal(reserve(w->l, d.id, &s, &b, &w->e), DS_OK);
    assert_int_equal(a.id, b.id);
    assert_memory_equal(a.serial, b.serial, 16);
    ds_ledger_cert_free(&a);
    ds_ledger_cert_free(&b);
    stamp_free(&s);
}

static void test_reserve_serials_differ(void **state)
{
    world *w = *state;
    ds_ledger_cert a = {0}, b = {0};
    stamp s = stamp_new("a"), t = stamp_new("b");
    assert_int_equal(reserve(w->l, device_n(w->l, 1).id, &s, &a, &w->e), DS_OK);
    assert_int_equal(reserve(w->l, device_n(w->l, 2).id, &t, &b, &w->e), DS_OK);
    assert_memory_not_equal(a.serial, b.serial, 16);
    ds_ledger_cert_free(&a);
    ds_ledger_cert_free(&b);
    stamp_free(&s);
    stamp_free(&t);
}

static void test_reserve_key_of_another_device_is_refused(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 1), b = device_n(w->l, 2);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0}, none = {.id = 77};
    int64_t owner = -1;
    assert_int_equal(ds_ledger_key_owner(w->l, s.digest, &owner, &w->e), DS_OK);
    assert_int_equal(owner, 0);
    assert_int_equal(reserve(w->l, a.id, &s, &c, &w->e), DS_OK);
    assert_int_equal(reserve(w->l, b.id, &s, &none, &w->e), DS_POLICY);
    assert_has(w->e.text, "020000000001");
    assert_int_equal(none.id, 77);
    assert_int_equal(ds_ledger_key_owner(w->l, s.digest, &owner, &w->e), DS_OK);
    assert_int_equal(owner, a.id);
    assert_int_equal(ds_ledger_cert_of(w->l, b.id, &none, &w->e), DS_INPUT);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_reserve_second_key_is_refused_until_revoked(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp first = stamp_new("a"), second = stamp_new("b");
    ds_ledger_cert a = {0}, b = {0};
    assert_int_equal(reserve(w->l, d.id, &first, &a, &w->e), DS_OK);
    assert_int_equal(reserve(w->l, d.id, &second, &b, &w->e), DS_POLICY);
    assert_has(w->e.hint, "revoke");
    assert_has(w->e.hint, "two devices show one address");
    assert_int_equal(ds_ledger_cert_revoke(w->l, a.id, "flash was replaced", &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_revoke(w->l, a.id, "again", &w->e), DS_OK);
    assert_int_equal(reserve(w->l, d.id, &first, &b, &w->e), DS_POLICY); // that key is spent
    assert_int_equal(reserve(w->l, d.id, &second, &b, &w->e), DS_OK);
    ds_ledger_cert_free(&a);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &a, &w->e), DS_OK);
    assert_int_equal(a.id, b.id);
    assert_int_equal(ds_ledger_cert_revoke(w->l, 99, "none", &w->e), DS_INPUT);
    ds_ledger_cert_free(&a);
    ds_ledger_cert_free(&b);
    stamp_free(&first);
    stamp_free(&second);
}

static enum ds_class reserve_as(world *w, int64_t device, const stamp *s, const char *subject, int64_t from, int64_t to,
                                ds_ledger_cert *ret)
{
    const ds_ledger_reserve r = {.device = device,
                                 .csr = ds_buf_view(&s->csr),
                                 .public_key_digest = s->digest,
                                 .subject = subject,
                                 .not_before_utc = from,
                                 .not_after_utc = to,
                                 .slot = "3"};
    ds_ledger_cert_free(ret);
    *ret = (ds_ledger_cert){0};
    w->e = (ds_err)DS_ERR_INIT;
    return ds_ledger_cert_reserve(w->l, &r, ret, &w->e);
}

static int64_t events(world *w)
{
    int64_t count = -1;
    uint8_t hash[32];
    assert_int_equal(ds_ledger_head(w->l, &count, hash, &w->e), DS_OK);
    return count;
}

static bool find_event(void *arg, int64_t at, const char *kind, const char *text)
{
    (void)at;
    lines *all = arg;
    all->len += (size_t)snprintf(all->text + all->len, sizeof all->text - all->len, "%s: %s\n", kind, text);
    return true;
}

static void test_reserve_follows_a_corrected_recipe(void **state)
{
    const int64_t year = 31536000, t = 1700000000, never = 253402300799;
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp"), again = s;
    ds_ledger_cert a = {0}, b = {0};
    again.csr = (ds_buf){0};
    ds_buf_add(&again.csr, s.csr.ptr, s.csr.len);
    again.csr.ptr[again.csr.len - 1] ^= 1; // ECDSA: each request is signed anew
    assert_int_equal(reserve_as(w, d.id, &s, "CN=wrong", t, t + year, &a), DS_OK);
    int64_t before = events(w);
    // A later run of the same recipe changes nothing.
    assert_int_equal(reserve_as(w, d.id, &again, "CN=wrong", t + 60, t + 60 + year, &b), DS_OK);
    assert_int_equal(b.not_before_utc, t);
    assert_int_equal(b.not_after_utc, t + year);
    assert_memory_equal(b.csr.ptr, s.csr.ptr, s.csr.len);
    assert_int_equal(events(w), before);
    // Another subject, another length, no end: each is taken, under the same serial number.
    assert_int_equal(reserve_as(w, d.id, &again, "CN=right", t + 60, t + 60 + year, &b), DS_OK);
    assert_string_equal(b.subject, "CN=right");
    assert_int_equal(b.not_before_utc, t + 60);
    assert_memory_equal(b.csr.ptr, again.csr.ptr, again.csr.len);
    assert_memory_equal(b.serial, a.serial, 16);
    assert_int_equal(b.id, a.id);
    assert_int_equal(reserve_as(w, d.id, &s, "CN=right", t, t + 2 * year, &b), DS_OK);
    assert_int_equal(b.not_after_utc, t + 2 * year);
    assert_int_equal(reserve_as(w, d.id, &s, "CN=right", t, never, &b), DS_OK);
    assert_int_equal(reserve_as(w, d.id, &s, "CN=right", t + 5, never, &b), DS_OK);
    assert_int_equal(b.not_before_utc, t);
    assert_int_equal(b.not_after_utc, never);
    assert_int_equal(events(w), before + 3);
    lines said = {0};
    assert_int_equal(ds_ledger_events(w->l, d.id, find_event, &said, &w->e), DS_OK);
    assert_has(said.text, " at slot 3: CN=wrong, now CN=right");
    ds_ledger_cert_free(&a);
    ds_ledger_cert_free(&b);
    ds_buf_free(&again.csr);
    stamp_free(&s);
}

static void test_reserve_another_subject_once_signed_is_refused(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    assert_int_equal(reserve_as(w, d.id, &s, "CN=lamp", 1, 2, &c), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(reserve_as(w, d.id, &s, "CN=other", 1, 2, &c), DS_POLICY);
    assert_has(w->e.text, "was signed as CN=lamp");
    assert_has(w->e.hint, "revoke");
    assert_int_equal(reserve_as(w, d.id, &s, "CN=lamp", 5, 500, &c), DS_OK);
    assert_int_equal(c.not_after_utc, 2);
    assert_int_equal(c.state, DS_LEDGER_SIGNED);
    lines said;
    check(w->l, &said);
    assert_null(strstr(said.text, "evidence")); // an event that names its slot vouches all the same
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_cert_of_tells_none_from_unreadable(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    ds_ledger_cert c = {.id = 77};
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_INPUT);
    tamper(w, w->pg ? "ALTER TABLE certificate RENAME TO elsewhere"
                    : "PRAGMA legacy_alter_table=ON; ALTER TABLE certificate RENAME TO elsewhere");
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_STORE);
    assert_int_equal(c.id, 77);
}

static void test_reserve_bad_input_is_refused(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    uint8_t csr[1] = {0x30}, digest[32] = {1};
    char longest[300];
    ds_ledger_cert c;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const ds_ledger_reserve good = {d.id, {csr, 1}, digest, "CN=x", 1, 2, NULL, NULL};
    ds_ledger_reserve r = good;
    r.csr.len = 0;
    assert_int_equal(ds_ledger_cert_reserve(w->l, &r, &c, &w->e), DS_INPUT);
    r = good;
    r.subject = "";
    assert_int_equal(ds_ledger_cert_reserve(w->l, &r, &c, &w->e), DS_INPUT);
    r.subject = longest;
    assert_int_equal(ds_ledger_cert_reserve(w->l, &r, &c, &w->e), DS_INPUT);
    r = good;
    r.not_after_utc = r.not_before_utc;
    assert_int_equal(ds_ledger_cert_reserve(w->l, &r, &c, &w->e), DS_INPUT);
    r = good;
    r.device = 55;
    assert_int_equal(ds_ledger_cert_reserve(w->l, &r, &c, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_cert_newest(w->l, d.id, &c, &w->e), DS_OK);
    assert_int_equal(c.state, 0);
}

static void test_signed_takes_only_what_was_reserved(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp"), other = stamp_new("other");
    ds_ledger_cert c = {0}, now = {0};
    uint8_t serial[16];
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    memcpy(serial, c.serial, 16);
    serial[15] ^= 1;
    ds_buf good = certify(c.serial, s.key), wrong_serial = certify(serial, s.key),
           wrong_key = certify(c.serial, other.key);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&wrong_serial), &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&wrong_key), &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&s.csr), &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, (ds_view){good.ptr, good.len - 1}, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, (ds_view){0}, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id + 1, ds_buf_view(&good), &w->e), DS_INPUT);
    ds_buf_add_u8(&good, 0); // one byte more than a certificate
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&good), &w->e), DS_INPUT);
    good.len--;
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &now, &w->e), DS_OK);
    assert_int_equal(now.state, DS_LEDGER_RESERVED);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&good), &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&good), &w->e), DS_OK);
    ds_buf second = certify(c.serial, s.key); // ECDSA: other bytes each time
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&second), &w->e), DS_POLICY);
    ds_ledger_cert_free(&now);
    assert_int_equal(reserve(w->l, d.id, &s, &now, &w->e), DS_OK);
    assert_int_equal(now.state, DS_LEDGER_SIGNED);
    assert_int_equal(now.certificate.len, good.len);
    assert_memory_equal(now.certificate.ptr, good.ptr, good.len);
    ds_buf *bufs[] = {&good, &wrong_serial, &wrong_key, &second};
    for (size_t i = 0; i < 4; i++)
        ds_buf_free(bufs[i]);
    ds_ledger_cert_free(&c);
    ds_ledger_cert_free(&now);
    stamp_free(&s);
    stamp_free(&other);
}

static enum ds_ledger_state state_of(world *w, int64_t device)
{
    ds_ledger_cert c = {0};
    assert_int_equal(ds_ledger_cert_of(w->l, device, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    return c.state;
}

static void test_states_only_go_forward(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t digest[32], wrong[32] = {0};
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, wrong, &w->e), DS_POLICY); // zeros are no fingerprint
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_registered(w->l, digest, 5, &w->e), DS_INPUT); // not known yet
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, wrong, &w->e), DS_POLICY);
    assert_int_equal(state_of(w, d.id), DS_LEDGER_SIGNED);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(state_of(w, d.id), DS_LEDGER_INSTALLED);
    assert_int_equal(ds_ledger_cert_registered(w->l, digest, 1750000001, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_registered(w->l, digest, 1750000002, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_OK);
    assert_int_equal(c.state, DS_LEDGER_REGISTERED);
    assert_int_equal(c.registered_utc, 1750000001);
    assert_memory_equal(c.fingerprint, digest, 32);
    int64_t id = c.id;
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_find(w->l, digest, &c, &w->e), DS_OK);
    assert_int_equal(c.id, id);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_find(w->l, wrong, &c, &w->e), DS_OK);
    assert_int_equal(c.state, 0);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_registered_makes_up_for_a_lost_echo(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t digest[32];
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_registered(w->l, digest, 1750000001, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_OK);
    assert_int_equal(c.state, DS_LEDGER_REGISTERED);
    assert_int_equal(c.installed_utc, 1750000001);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_revoked_goes_no_further(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t digest[32];
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_revoke(w->l, c.id, "scrapped", &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK); // known, and still revoked
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_cert_registered(w->l, digest, 5, &w->e), DS_POLICY);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &c, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_cert_newest(w->l, d.id, &c, &w->e), DS_OK);
    assert_true(c.revoked);
    assert_int_equal(c.state, DS_LEDGER_SIGNED);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_the_record_itself_refuses_a_step_back(void **state)
{
    world *w = *state;
    const char *const sqls[] = {
        "UPDATE certificate SET state = 3, registered_at = NULL",
        w->pg ? "UPDATE certificate SET der = '\\x00'" : "UPDATE certificate SET der = x'00'",
        w->pg ? "UPDATE certificate SET serial = decode(md5('x'), 'hex')"
              : "UPDATE certificate SET serial = zeroblob(16)",
        "DELETE FROM certificate",
        "DELETE FROM device",
        "DELETE FROM event",
        "UPDATE event SET text = 'nothing happened'",
        "UPDATE device SET serial = 'other'",
        "UPDATE device SET locked = 0",
        "UPDATE proof SET json = '{}'",
        w->pg ? "INSERT INTO certificate(id, device, state, serial, key_digest, csr, subject, not_before, not_after, "
                "reserved_at) SELECT 5, device, 1, decode(md5('y'), 'hex'), sha256('y'), csr, subject, 1, 2, 3 FROM "
                "certificate"
              : "INSERT INTO certificate(device, state, serial, key_digest, csr, subject, not_before, not_after, "
                "reserved_at) SELECT device, 1, randomblob(16), randomblob(32), csr, subject, 1, 2, 3 FROM certificate",
    };
    static const char *const words[] = {"never", "keeps", "forward", "certificate_one_live", "certificate.device"};
    whole_device(w->l, 1);
    for (size_t i = 0; i < sizeof sqls / sizeof *sqls; i++) {
        char *said = try_sql(w, sqls[i]);
        size_t n = 0;
        while (said && n < sizeof words / sizeof *words && !strstr(said, words[n]))
            n++;
        if (!said || n == sizeof words / sizeof *words)
            fail_msg("%s: was not refused: %s", sqls[i], said ? said : "");
        free(said);
    }
}

static enum ds_class add_revocation(void *arg, const ds_ledger_revocation *r, ds_err *e)
{
    lines *said = arg;
    char serial[33], line[160];
    (void)e;
    assert_true(r->certificate.len > 0 && r->revoked_utc > 1700000000);
    ds_hex(r->serial, sizeof r->serial, serial);
    snprintf(line, sizeof line, "%s %s", serial, r->reason);
    collect(said, line);
    return DS_OK;
}

static enum ds_class stop(void *arg, const ds_ledger_revocation *r, ds_err *e)
{
    (void)r;
    ++*(int *)arg;
    return ds_fail(e, DS_INPUT, "enough");
}

// Sign a certificate for a fresh key of the device and revoke it.
static void sign_and_revoke(world *w, int64_t device, const char *reason, char ret_serial[33])
{
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    assert_int_equal(reserve_as(w, device, &s, "CN=lamp", 1, 2, &c), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_revoke(w->l, c.id, reason, &w->e), DS_OK);
    ds_hex(c.serial, sizeof c.serial, ret_serial);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_revocations_come_each_with_its_own_reason(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1), other = device_n(w->l, 2);
    char first[33], second[33], third[33];
    sign_and_revoke(w, d.id, "superseded: one", first);
    sign_and_revoke(w, other.id, "keyCompromise: two", second);
    sign_and_revoke(w, d.id, "three", third);
    stamp s = stamp_new("lamp"); // given up before it was signed: no certificate, nothing to tell
    ds_ledger_cert c = {0};
    assert_int_equal(reserve_as(w, d.id, &s, "CN=lamp", 1, 2, &c), DS_OK);
    assert_int_equal(ds_ledger_cert_revoke(w->l, c.id, "four", &w->e), DS_OK);
    lines said = {0};
    assert_int_equal(ds_ledger_each_revocation(w->l, add_revocation, &said, &w->e), DS_OK);
    DS_CLEANUP_FREE char *wanted =
        ds_asprintf("%s superseded: one\n%s keyCompromise: two\n%s three\n", first, second, third);
    assert_string_equal(said.text, wanted);
    int calls = 0;
    assert_int_equal(ds_ledger_each_revocation(w->l, stop, &calls, &w->e), DS_INPUT);
    assert_int_equal(calls, 1);
    assert_int_equal(ds_ledger_each_revocation(w->l, stop, &calls, &w->e), DS_INPUT); // the walk can begin again
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reserve_again_gives_the_same),
        TEST(test_reserve_serials_differ),
        TEST(test_reserve_key_of_another_device_is_refused),
        TEST(test_reserve_second_key_is_refused_until_revoked),
        TEST(test_reserve_bad_input_is_refused),
        TEST(test_reserve_follows_a_corrected_recipe),
        TEST(test_reserve_another_subject_once_signed_is_refused),
        TEST(test_cert_of_tells_none_from_unreadable),
        TEST(test_signed_takes_only_what_was_reserved),
        TEST(test_states_only_go_forward),
        TEST(test_registered_makes_up_for_a_lost_echo),
        TEST(test_revoked_goes_no_further),
        TEST(test_the_record_itself_refuses_a_step_back),
        TEST(test_revocations_come_each_with_its_own_reason),
    };
    return cmocka_run_group_tests_name("ledger: certificates", tests, NULL, NULL);
}
