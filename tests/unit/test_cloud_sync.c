// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How registrations reach the ledger, and the ledger's revocations the registry.
#include "cloud_support.h"

static party line_device(place *p, unsigned n, const char *serial, enum ds_ledger_state upto)
{
    ds_ledger_device d = device_n(p->w->l, n);
    ds_ledger_cert c = {0};
    char given[64];
    recipe r = device_recipe(serial, &p->sub);
    party made = certify_party(&r);
    stamp s = {.key = made.key};
    key_digest(made.key, s.digest);
    ds_buf_add(&s.csr, "csr", 3);
    assert_int_equal(ds_ledger_device_serial(p->w->l, d.id, serial, given, &p->e), DS_OK);
    assert_int_equal(reserve(p->w->l, d.id, &s, &c, &p->e), DS_OK);
    BIGNUM *number = BN_bin2bn(c.serial, 16, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(made.cert));
    BN_free(number);
    X509_sign(made.cert, p->sub.key, EVP_sha256());
    unsigned char *der = NULL;
    int len = i2d_X509(made.cert, &der);
    ds_buf_clear(&made.der);
    ds_buf_add(&made.der, der, (size_t)len);
    OPENSSL_free(der);
    uint8_t digest[32];
    SHA256(made.der.ptr, made.der.len, digest);
    assert_int_equal(ds_ledger_cert_signed(p->w->l, c.id, ds_buf_view(&made.der), &p->e), DS_OK);
    if (upto >= DS_LEDGER_INSTALLED)
        assert_int_equal(ds_ledger_cert_installed(p->w->l, c.id, digest, &p->e), DS_OK);
    ds_ledger_cert_free(&c);
    ds_buf_free(&s.csr);
    return made;
}

static void test_sync_carries_registrations_and_revocations(void **state)
{
    place *p = *state;
    party a = line_device(p, 1, "SN1", DS_LEDGER_INSTALLED), b = line_device(p, 2, "SN2", DS_LEDGER_SIGNED);
    party unused = line_device(p, 3, "SN3", DS_LEDGER_INSTALLED), foreign = make_device("SN4", &p->sub);
    ds_registry_client c;
    ds_registry_sync_result done;
    ds_ledger_device d;
    ds_ledger_cert cert = {0};
    char said[NAMES_MAX] = "";
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW + 1, &c), DS_OK);
    assert_int_equal(admit_at(p, &foreign, "SN4", NOW + 2, &c), DS_OK);
    assert_int_equal(ds_registry_sync(p->r, p->w->l, gather_names, said, &done, &p->e), DS_OK);
    assert_int_equal(done.marked, 2);
    assert_int_equal(done.unknown, 1);
    assert_has(said, "device SN4");
    assert_int_equal(ds_ledger_find(p->w->l, "SN2", &d, &p->e), DS_OK);
    assert_int_equal(ds_ledger_cert_of(p->w->l, d.id, &cert, &p->e), DS_OK);
    assert_int_equal(cert.state, DS_LEDGER_REGISTERED);
    assert_int_equal(cert.registered_utc, NOW + 1);
    assert_int_equal(ds_ledger_cert_revoke(p->w->l, cert.id, "stolen", &p->e), DS_OK);
    ds_ledger_cert_free(&cert);
    assert_int_equal(ds_registry_sync(p->r, p->w->l, NULL, NULL, &done, &p->e), DS_OK);
    assert_int_equal(done.marked, 0);
    assert_int_equal(done.already, 1);
    assert_int_equal(done.revoked, 1);
    assert_int_equal(admit_at(p, &b, "SN2", NOW + 100, &c), DS_POLICY);
    assert_int_equal(ds_registry_sync(p->r, p->w->l, NULL, NULL, &done, &p->e), DS_OK);
    assert_int_equal(done.revoked, 0);
    assert_int_equal(ds_ledger_find(p->w->l, "SN3", &d, &p->e), DS_OK);
    assert_int_equal(ds_ledger_cert_of(p->w->l, d.id, &cert, &p->e), DS_OK);
    assert_int_equal(cert.state, DS_LEDGER_INSTALLED); // never connected
    ds_ledger_cert_free(&cert);
    party *all[] = {&a, &b, &unused, &foreign};
    for (size_t i = 0; i < 4; i++)
        party_free(all[i]);
}

static void count_unseen(void *arg, const uint8_t id[32], int64_t refused_utc)
{
    (void)id;
    assert_true(refused_utc > 0);
    ++*(unsigned *)arg;
}

// Revoked in the ledger while it lies in a drawer: its first connect is refused, and it stays out.
static void test_sync_refuses_what_was_revoked_before_its_first_connect(void **state)
{
    place *p = *state;
    party a = line_device(p, 1, "SN1", DS_LEDGER_INSTALLED), b = line_device(p, 2, "SN2", DS_LEDGER_INSTALLED);
    ds_registry_client c;
    ds_registry_sync_result done;
    ds_ledger_device d;
    ds_ledger_cert cert = {0};
    char said[NAMES_MAX] = "", id[65];
    unsigned unseen = 0;
    assert_int_equal(ds_ledger_find(p->w->l, "SN1", &d, &p->e), DS_OK);
    assert_int_equal(ds_ledger_cert_of(p->w->l, d.id, &cert, &p->e), DS_OK);
    assert_int_equal(ds_ledger_cert_revoke(p->w->l, cert.id, "stolen", &p->e), DS_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ds_registry_sync(p->r, p->w->l, gather_names, said, &done, &p->e), DS_OK);
        assert_int_equal(done.revoked, i == 0 ? 1 : 0);
        assert_int_equal(done.unknown, 0);
    }
    assert_has(said, "device SN1");
    assert_int_equal(ds_registry_each_unseen(p->r, count_unseen, &unseen, &p->e), DS_OK);
    assert_int_equal(unseen, 1);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "revoked");
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_OK);
    ds_hex(cert.fingerprint, 32, id);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_POLICY);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    ds_ledger_cert_free(&cert);
    party_free(&a);
    party_free(&b);
}

// A device that nobody has activated is no registration yet.
static void test_sync_leaves_pending_devices_alone(void **state)
{
    place *p = *state;
    party a = line_device(p, 1, "SN1", DS_LEDGER_INSTALLED);
    ds_registry_client c;
    ds_registry_sync_result done;
    uint8_t ca[32];
    const enum ds_registry_registration await = DS_REGISTRY_AWAIT;
    SHA256(p->sub.der.ptr, p->sub.der.len, ca);
    assert_int_equal(ds_registry_set_ca(p->r, ca, &(ds_registry_ca_change){.registration = &await}, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(ds_registry_sync(p->r, p->w->l, NULL, NULL, &done, &p->e), DS_OK);
    assert_int_equal(done.marked + done.already + done.unknown, 0);
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_ACTIVE, &p->e), DS_OK);
    assert_int_equal(ds_registry_sync(p->r, p->w->l, NULL, NULL, &done, &p->e), DS_OK);
    assert_int_equal(done.marked, 1);
    party_free(&a);
}

static void test_set_device_revokes_an_id_it_does_not_know(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub);
    ds_registry_client c;
    uint8_t digest[32];
    char id[65];
    SHA256(a.der.ptr, a.der.len, digest);
    ds_hex(digest, sizeof digest, id);
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_REVOKED, &p->e), DS_INPUT);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_INACTIVE, &p->e), DS_INPUT);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "revoked");
    party_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_sync_carries_registrations_and_revocations),
        PLACE(test_sync_refuses_what_was_revoked_before_its_first_connect),
        PLACE(test_sync_leaves_pending_devices_alone),
        PLACE(test_set_device_revokes_an_id_it_does_not_know),
    };
    return cmocka_run_group_tests_name("cloud: sync", tests, NULL, NULL);
}
