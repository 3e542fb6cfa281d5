// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Revocation lists in the registry: whom they shut out, and which lists are not taken.
#include "cloud_support.h"

#include "src/cloud/registry_import.h"
#include "src/pki/crl.h"

static ds_crl_entry entry_of(const party *d)
{
    ds_crl_entry e = {.revoked_utc = NOW};
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(d->cert), NULL);
    e.serial_len = (size_t)BN_bn2bin(n, e.serial);
    BN_free(n);
    return e;
}

typedef struct list {
    const party *ca, *key; // whose name, and who signs (NULL: the same)
    const party *revoked[4];
    uint64_t number;
    bool critical, unnumbered;
} list;

static ds_buf make_list(const list *l)
{
    ds_crl_entry entries[4];
    ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    size_t count = 0;
    for (; count < 4 && l->revoked[count]; count++)
        entries[count] = entry_of(l->revoked[count]);
    const ds_crl_spec spec = {.issuer = l->ca->cert,
                              .entries = entries,
                              .count = count,
                              .number = l->number,
                              .this_update_utc = NOW,
                              .next_update_utc = NOW + YEAR};
    X509_CRL *crl = NULL;
    assert_int_equal(ds_crl_build(&spec, &crl, &e), DS_OK);
    if (l->critical) { // a list of a part of the certificates says so like this
        X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, NULL, NID_issuing_distribution_point, "critical,onlyuser:TRUE");
        assert_non_null(x);
        X509_CRL_add_ext(crl, x, -1);
        X509_EXTENSION_free(x);
    }
    if (l->unnumbered)
        X509_EXTENSION_free(X509_CRL_delete_ext(crl, X509_CRL_get_ext_by_NID(crl, NID_crl_number, -1)));
    EVP_PKEY *key = l->key ? l->key->key : l->ca->key;
    assert_int_equal(ds_crl_sign(crl, key, key, &der, &e), DS_OK);
    X509_CRL_free(crl);
    return der;
}

static enum ds_class take(place *p, const list *l, ds_registry_crl_result *ret)
{
    DS_CLEANUP_BUF ds_buf der = make_list(l);
    p->e = DS_ERR_INIT;
    return ds_registry_import_crl(p->r, ds_buf_view(&der), NOW + 10, ret, &p->e);
}

static void test_crl_revokes_the_seen_and_the_unseen(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN2", &p->sub), good = make_device("SN3", &p->sub);
    ds_registry_client c;
    ds_registry_crl_result done;
    ds_registry_watch w;
    char names[NAMES_MAX] = "";
    bool more = false;
    list l = {.ca = &p->sub, .revoked = {&a, &b}, .number = 5};
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &good, "SN3", NOW, &c), DS_OK);
    assert_int_equal(ds_registry_watch_init(p->r, &w, &p->e), DS_OK);
    assert_int_equal(take(p, &l, &done), DS_OK);
    assert_int_equal(done.listed, 2);
    assert_int_equal(done.fresh, 2);
    assert_int_equal(done.devices, 1);
    assert_false(done.stale);
    assert_int_equal(ds_registry_watch_next(p->r, &w, 1000, gather_names, names, &more, &p->e), DS_OK);
    assert_string_equal(names, "SN1;");
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "is revoked");
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "revoked by its CA's list");
    assert_int_equal(admit_at(p, &good, "SN3", NOW, &c), DS_OK);
    assert_int_equal(take(p, &l, &done), DS_OK); // again changes nothing
    assert_int_equal(done.fresh + done.devices, 0);
    party *all[] = {&a, &b, &good};
    for (size_t i = 0; i < 3; i++)
        party_free(all[i]);
}

static void test_crl_that_is_older_forged_or_partial_is_refused(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), stranger = make_ca("Sub CA", NULL);
    ds_registry_client c;
    ds_registry_crl_result done;
    list newest = {.ca = &p->sub, .number = 300};
    list older = {.ca = &p->sub, .revoked = {&a}, .number = 299},
         forged = {.ca = &p->sub, .key = &stranger, .number = 301};
    list partial = {.ca = &p->sub, .number = 302, .critical = true};
    list unnumbered = {.ca = &p->sub, .number = 303, .unnumbered = true};
    list strange = {.ca = &stranger, .revoked = {&a}, .number = 304};
    assert_int_equal(take(p, &newest, &done), DS_OK);
    assert_int_equal(take(p, &older, &done), DS_POLICY);
    assert_has(p->e.text, "older");
    assert_int_equal(take(p, &forged, &done), DS_POLICY);
    assert_int_equal(take(p, &partial, &done), DS_INPUT);
    assert_int_equal(take(p, &unnumbered, &done), DS_INPUT);
    assert_int_equal(take(p, &strange, &done), DS_POLICY);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    DS_CLEANUP_BUF ds_buf der = make_list(&newest);
    for (size_t len = 0; len < der.len; len += 7)
        assert_int_not_equal(ds_registry_import_crl(p->r, (ds_view){der.ptr, len}, NOW, &done, &p->e), DS_OK);
    party_free(&a);
    party_free(&stranger);
}

// The root's list names a Sub CA: it is switched off, and with it all its devices.
static void test_crl_of_the_root_switches_a_ca_off(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub);
    ds_registry_client c;
    ds_registry_crl_result done;
    list l = {.ca = &p->root, .revoked = {&p->sub, &p->ops}, .number = 1}; // the root did not sign the services' CA
    party s = make_device("backend", &p->ops);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(take(p, &l, &done), DS_OK);
    assert_int_equal(done.cas, 1);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "inactive");
    assert_int_equal(admit_at(p, &s, "backend", NOW, &c), DS_OK);
    party_free(&a);
    party_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_crl_revokes_the_seen_and_the_unseen),
        PLACE(test_crl_that_is_older_forged_or_partial_is_refused),
        PLACE(test_crl_of_the_root_switches_a_ca_off),
    };
    return cmocka_run_group_tests_name("cloud: CRLs", tests, NULL, NULL);
}
