// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The registry: who is admitted by a certificate's own bytes (no TLS in front that would refuse first), what is
// recorded, and how registrations reach the ledger. Certificates are made with OpenSSL directly.
#include "ledger_support.h"

#include "src/cloud/registry.h"

#include <openssl/x509v3.h>
#include <sys/stat.h>

#define NOW 1800000000
#define YEAR 31536000

typedef struct party {
    EVP_PKEY *key;
    X509 *cert;
    ds_buf der;
} party;

typedef struct recipe {
    const char *common, *second_common;
    const party *issuer; // NULL: itself
    const char *basic, *usage, *extended, *odd_critical;
    long start, end; // seconds around NOW
    const EVP_MD *md;
    const char *curve;
    unsigned rsa_bits;
    bool version1;
} recipe;

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    if (!value)
        return;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

static void extend_oddly(X509 *x, const char *oid)
{
    ASN1_OBJECT *obj = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, obj, 1, data);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(obj);
}

static void add_common(X509_NAME *name, const char *text)
{
    if (text)
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0);
}

static party certify_party(const recipe *r)
{
    party p = {.key = r->rsa_bits ? EVP_RSA_gen(r->rsa_bits) : EVP_EC_gen(r->curve ? r->curve : "P-256")};
    X509 *x = p.cert = X509_new();
    X509_set_version(x, r->version1 ? X509_VERSION_1 : X509_VERSION_3);
    BIGNUM *n = BN_new();
    BN_rand(n, 120, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY);
    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    ASN1_TIME_set(X509_getm_notBefore(x), NOW + (r->start ? r->start : -YEAR));
    ASN1_TIME_set(X509_getm_notAfter(x), NOW + (r->end ? r->end : YEAR));
    add_common(X509_get_subject_name(x), r->common);
    add_common(X509_get_subject_name(x), r->second_common);
    X509 *issuer = r->issuer ? r->issuer->cert : x;
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    X509_set_pubkey(x, p.key);
    if (!r->version1) {
        extend(x, issuer, NID_subject_key_identifier, "hash");
        if (r->issuer)
            extend(x, issuer, NID_authority_key_identifier, "keyid");
        extend(x, issuer, NID_basic_constraints, r->basic);
        extend(x, issuer, NID_key_usage, r->usage);
        extend(x, issuer, NID_ext_key_usage, r->extended);
        if (r->odd_critical)
            extend_oddly(x, r->odd_critical);
    }
    assert_true(X509_sign(x, r->issuer ? r->issuer->key : p.key, r->md ? r->md : EVP_sha256()) > 0);
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    ds_buf_add(&p.der, der, (size_t)len);
    OPENSSL_free(der);
    return p;
}

static void party_free(party *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
    ds_buf_free(&p->der);
}

static party make_ca(const char *common, const party *issuer)
{
    return certify_party(&(recipe){
        .common = common, .issuer = issuer, .basic = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"});
}

static recipe device_recipe(const char *common, const party *issuer)
{
    return (recipe){.common = common,
                    .issuer = issuer,
                    .basic = "critical,CA:FALSE",
                    .usage = "critical,digitalSignature",
                    .extended = "clientAuth"};
}

static party make_device(const char *common, const party *issuer)
{
    recipe r = device_recipe(common, issuer);
    return certify_party(&r);
}

typedef struct place {
    world *w; // a folder and a ledger
    char path[96];
    ds_registry *r;
    party root, sub, ops;
    ds_err e;
} place;

static int place_new(void **state)
{
    place *p = ds_alloc(sizeof *p);
    uint8_t id[32];
    world_new((void **)&p->w);
    snprintf(p->path, sizeof p->path, "%s/registry.db", p->w->folder);
    p->root = make_ca("Root", NULL);
    p->sub = make_ca("Sub CA", &p->root);
    p->ops = make_ca("Services CA", NULL);
    assert_int_equal(ds_registry_open(p->path, true, &p->r, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->root.der), DS_REGISTRY_ANCHOR, false, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->ops.der), DS_REGISTRY_SERVICES, false, id, &p->e), DS_OK);
    *state = p;
    return 0;
}

static int place_free(void **state)
{
    place *p = *state;
    static const char *const tails[] = {"", "-wal", "-shm"};
    ds_registry_close(p->r);
    for (size_t i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", p->path, tails[i]);
        unlink(name);
    }
    party_free(&p->root);
    party_free(&p->sub);
    party_free(&p->ops);
    world_free((void **)&p->w);
    free(p);
    return 0;
}

#define PLACE(f) cmocka_unit_test_setup_teardown(f, place_new, place_free)

static enum ds_class admit_at(place *p, const party *d, const char *id, int64_t now, ds_registry_client *ret)
{
    p->e = DS_ERR_INIT;
    return ds_registry_admit(p->r, ds_buf_view(&d->der), id, now, ret, &p->e);
}

static bool count_one(void *arg, const ds_registry_device *d)
{
    (void)d;
    ++*(unsigned *)arg;
    return true;
}

static unsigned registered(place *p)
{
    unsigned n = 0;
    assert_int_equal(ds_registry_each(p->r, count_one, &n, &p->e), DS_OK);
    return n;
}

static void test_admit_registers_once(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub);
    ds_registry_client c = {0};
    uint8_t id[32], ca[32];
    SHA256(d.der.ptr, d.der.len, id);
    SHA256(p->sub.der.ptr, p->sub.der.len, ca);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    assert_true(c.fresh && !c.service);
    assert_string_equal(c.name, "SN1");
    assert_memory_equal(c.id, id, 32);
    assert_memory_equal(c.ca, ca, 32);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 5, &c), DS_OK);
    assert_false(c.fresh);
    ds_registry_close(p->r);
    assert_int_equal(ds_registry_open(p->path, false, &p->r, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 500, &c), DS_OK);
    assert_false(c.fresh);
    assert_int_equal(registered(p), 1);
    party_free(&d);
}

static bool see_times(void *arg, const ds_registry_device *d)
{
    int64_t *want = arg;
    assert_int_equal(d->registered_utc, want[0]);
    assert_int_equal(d->last_seen_utc, want[1]);
    return true;
}

static void test_admit_keeps_times(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub);
    ds_registry_client c;
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 59, &c), DS_OK); // within the same minute: not written
    assert_int_equal(ds_registry_each(p->r, see_times, (int64_t[]){NOW, NOW}, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 60, &c), DS_OK);
    assert_int_equal(ds_registry_each(p->r, see_times, (int64_t[]){NOW, NOW + 60}, &p->e), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_other_profiles(void **state)
{
    place *p = *state;
    const recipe good = device_recipe("SN1", &p->sub);
    recipe r[16];
    static const char *const why[] = {"has expired",
                                      "not valid yet",
                                      "is a CA's",
                                      "not for client",
                                      "not for client",
                                      "may not sign",
                                      "weak",
                                      "weak",
                                      "weak",
                                      "version 3",
                                      "common name",
                                      "more than one",
                                      "unknown critical",
                                      "is a CA's",
                                      "topic level",
                                      "topic level"};
    for (size_t i = 0; i < 16; i++)
        r[i] = good;
    r[0].end = -1;
    r[1].start = 10;
    r[2].basic = "critical,CA:TRUE";
    r[3].extended = "serverAuth";
    r[4].extended = NULL;
    r[5].usage = "critical,keyAgreement";
    r[6].rsa_bits = 1024;
    r[7].curve = "secp160r1";
    r[8].md = EVP_sha1();
    r[9].version1 = true;
    r[10].common = NULL;
    r[11].second_common = "SN2";
    r[12].odd_critical = "1.3.6.1.4.1.99999.1";
    r[13].basic = NULL;
    r[13].usage = "critical,keyCertSign,digitalSignature";
    r[14].common = "a/b";
    r[15].common = "#";
    for (size_t i = 0; i < 16; i++) {
        ds_registry_client c;
        party d = certify_party(&r[i]);
        if (admit_at(p, &d, r[i].common ? r[i].common : "", NOW, &c) != DS_POLICY || !strstr(p->e.text, why[i]))
            fail_msg("case %zu: not '%s' but '%s'", i, why[i], p->e.text);
        party_free(&d);
    }
    assert_int_equal(registered(p), 0);
}

static void test_admit_takes_other_good_keys(void **state)
{
    place *p = *state;
    recipe r = device_recipe("SN1", &p->sub);
    ds_registry_client c;
    r.rsa_bits = 2048;
    r.basic = NULL; // RFC 5280 4.2.1.9: may be absent where it is no CA
    party d = certify_party(&r);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    party_free(&d);
    r = device_recipe("SN2", &p->sub);
    r.curve = "P-384";
    r.extended = "serverAuth,clientAuth";
    d = certify_party(&r);
    assert_int_equal(admit_at(p, &d, "SN2", NOW, &c), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_other_issuers(void **state)
{
    place *p = *state;
    party stranger = make_ca("Stranger", NULL), twin = make_ca("Sub CA", &p->root), below = make_ca("Below", &p->sub);
    const party *issuers[] = {&stranger, &twin, &below, &p->root, NULL};
    for (size_t i = 0; i < 5; i++) {
        ds_registry_client c;
        party d = make_device("SN1", issuers[i]);
        assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
        party_free(&d);
    }
    assert_int_equal(registered(p), 0);
    party_free(&stranger);
    party_free(&twin);
    party_free(&below);
}

// The right name and the right key identifier, signed by another key: only the signature tells.
static void test_admit_checks_the_signature_itself(void **state)
{
    place *p = *state;
    party thief = p->sub;
    ds_registry_client c;
    thief.key = EVP_EC_gen("P-256");
    party d = make_device("SN1", &thief);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "did not sign");
    party_free(&d);
    EVP_PKEY_free(thief.key);
    d = make_device("SN1", &p->sub);
    for (size_t at = 0; at < d.der.len; at += 7) { // any changed byte is noticed
        d.der.ptr[at] ^= 0x20;
        assert_int_not_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
        d.der.ptr[at] ^= 0x20;
    }
    assert_int_equal(registered(p), 0);
    for (size_t len = 0; len < d.der.len; len += 5)
        assert_int_equal(ds_registry_admit(p->r, (ds_view){d.der.ptr, len}, "SN1", NOW, &c, &p->e), DS_POLICY);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_an_expired_ca(void **state)
{
    place *p = *state;
    recipe r = {.common = "Old CA", .basic = "critical,CA:TRUE", .usage = "critical,keyCertSign", .end = -10};
    party old = certify_party(&r);
    party d = make_device("SN1", &old);
    ds_registry_client c;
    uint8_t id[32];
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&old.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "CA's certificate has expired");
    assert_int_equal(admit_at(p, &d, "SN1", NOW - 20, &c), DS_OK);
    party_free(&d);
    party_free(&old);
}

static void test_admit_by_client_id_and_one_certificate_a_name(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN1", &p->sub);
    ds_registry_client c;
    static const char *const wrong[] = {"", "sn1", "SN1 ", "SN11", "SN"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(admit_at(p, &a, wrong[i], NOW, &c), DS_POLICY);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_INACTIVE, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(admit_at(p, &b, "SN1", NOW, &c), DS_OK);
    char id[65];
    uint8_t digest[32];
    SHA256(a.der.ptr, a.der.len, digest);
    ds_hex(digest, 32, id);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_POLICY); // b has the name now
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_POLICY);
    assert_int_equal(ds_registry_set_device(p->r, "SN9", DS_REGISTRY_ACTIVE, &p->e), DS_INPUT);
    party_free(&a);
    party_free(&b);
}

static void test_service_is_admitted_and_not_recorded(void **state)
{
    place *p = *state;
    party s = make_device("backend", &p->ops);
    ds_registry_client c = {0};
    assert_int_equal(admit_at(p, &s, "backend", NOW, &c), DS_OK);
    assert_true(c.service && !c.fresh);
    assert_int_equal(registered(p), 0);
    party_free(&s);
}

static void test_ca_roles_and_switches(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub), leaf_as_ca = make_device("x", &p->sub);
    ds_registry_client c;
    uint8_t id[32], unknown[32] = {0};
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&leaf_as_ca.der), DS_REGISTRY_DEVICES, true, id, &p->e),
                     DS_INPUT);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_SERVICES, true, id, &p->e),
                     DS_POLICY);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, false, id, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "does not register by itself");
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_ca(p->r, id, false, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "inactive");
    assert_int_equal(ds_registry_set_ca(p->r, unknown, true, &p->e), DS_INPUT);
    party_free(&d);
    party_free(&leaf_as_ca);
}

enum { NAMES_MAX = 256 };

static void gather_names(void *arg, const char *name)
{
    char *names = arg;
    size_t len = strlen(names);
    snprintf(names + len, NAMES_MAX - len, "%s;", name);
}

static void test_changes_by_others_are_seen(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN2", &p->sub);
    ds_registry_client c;
    ds_registry *other;
    bool changed = true;
    char names[NAMES_MAX] = "";
    uint8_t ca[32];
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_OK);
    assert_int_equal(ds_registry_changed(p->r, &changed, &p->e), DS_OK);
    assert_false(changed); // our own writing is no news
    assert_int_equal(ds_registry_open(p->path, false, &other, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_device(other, "SN2", DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(ds_registry_changed(p->r, &changed, &p->e), DS_OK);
    assert_true(changed);
    assert_int_equal(ds_registry_changed(p->r, &changed, &p->e), DS_OK);
    assert_false(changed);
    assert_int_equal(ds_registry_each_refused(p->r, gather_names, names, &p->e), DS_OK);
    assert_string_equal(names, "SN2;");
    SHA256(p->sub.der.ptr, p->sub.der.len, ca);
    assert_int_equal(ds_registry_set_ca(other, ca, false, &p->e), DS_OK);
    names[0] = '\0';
    assert_int_equal(ds_registry_each_refused(p->r, gather_names, names, &p->e), DS_OK);
    assert_string_equal(names, "SN1;SN2;");
    ds_registry_close(other);
    party_free(&a);
    party_free(&b);
}

static void test_open_needs_a_registry(void **state)
{
    place *p = *state;
    ds_registry *none = NULL;
    struct stat st;
    char missing[128];
    snprintf(missing, sizeof missing, "%s.missing", p->path);
    assert_int_equal(ds_registry_open(missing, false, &none, &p->e), DS_STORE);
    assert_has(p->e.hint, "registry init");
    assert_int_equal(access(missing, F_OK), -1);
    assert_int_equal(ds_registry_open(p->w->path, false, &none, &p->e), DS_STORE); // a ledger is no registry
    assert_has(p->e.text, "is no registry");
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

// A device made on the line: its certificate in the ledger, issued by the registered CA.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_admit_registers_once),
        PLACE(test_admit_keeps_times),
        PLACE(test_admit_refuses_other_profiles),
        PLACE(test_admit_takes_other_good_keys),
        PLACE(test_admit_refuses_other_issuers),
        PLACE(test_admit_checks_the_signature_itself),
        PLACE(test_admit_refuses_an_expired_ca),
        PLACE(test_admit_by_client_id_and_one_certificate_a_name),
        PLACE(test_service_is_admitted_and_not_recorded),
        PLACE(test_ca_roles_and_switches),
        PLACE(test_changes_by_others_are_seen),
        PLACE(test_open_needs_a_registry),
        PLACE(test_sync_carries_registrations_and_revocations),
    };
    return cmocka_run_group_tests_name("cloud: registry", tests, NULL, NULL);
}
