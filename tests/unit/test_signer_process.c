// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer process, for real: this program starts itself as the signer, as devstamp does. File keys; the token is in
// the end-to-end tests.
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/key.h"
#include "src/pki/request.h"
#include "src/signer/ceremony.h"
#include "src/signer/child.h"
#include "src/signer/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SUBJECT "CN=SN0042,O=Acme Devices,serialNumber=SN0042"

static char folder[64], root_key[96], sub_key[96], sub_pem[96], log_path[96];
static int64_t now;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    now = ds_utc_now();
    snprintf(folder, sizeof folder, "/tmp/ds-signer.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(root_key, sizeof root_key, "file:%s/root.key", folder);
    snprintf(sub_key, sizeof sub_key, "file:%s/subca.key", folder);
    snprintf(sub_pem, sizeof sub_pem, "%s/subca.pem", folder);
    snprintf(log_path, sizeof log_path, "%s/issued.log", folder);
    const ds_ca_request req = {
        .folder = folder,
        .root_key = root_key,
        .sub_key = sub_key,
        .root_key_type = DS_KEY_ECDSA_P384,
        .sub_key_type = DS_KEY_ECDSA_P256,
        .root_subject = "CN=Test Root",
        .sub_subject = "CN=Test Sub CA",
        .not_before_utc = now - 3600,
        .not_after_utc = now + 10 * 86400,
    };
    const ds_signer_config access = {.pin_fd = -1};
    ds_ceremony_result made = {0};
    ds_err e = DS_ERR_INIT;
    if (ds_ceremony_make_ca(&access, &req, &made, &e))
        fail_msg("%s", e.text);
    assert_true(made.root.len > 0 && made.certificate.len > 0);
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static ds_signer_config config(void)
{
    return (ds_signer_config){.key = sub_key, .certificate = sub_pem, .log = log_path, .pin_fd = -1};
}

static ds_signer *started(void)
{
    ds_signer *s = NULL;
    ds_err e = DS_ERR_INIT;
    const ds_signer_config cfg = config();
    if (ds_signer_start(&cfg, &s, &e))
        fail_msg("%s", e.text);
    return s;
}

// A fresh device: its request and the certificate's serial number.
typedef struct device {
    ds_buf csr;
    uint8_t serial[16];
    ds_sign_request req;
} device;

static void make_device_with(device *d, EVP_PKEY *key, enum ds_key_type type, const char *subject)
{
    X509_NAME *name = NULL;
    *d = (device){0};
    assert_int_equal(ds_dn_parse(subject, &name, NULL), DS_OK);
    assert_int_equal(ds_request_make(name, key, &d->csr, NULL), DS_OK);
    X509_NAME_free(name);
    ds_random(d->serial, sizeof d->serial);
    d->req = (ds_sign_request){ds_buf_view(&d->csr), d->serial, now, now + 86400, subject, (int)type, NULL};
}

static void make_device_of(device *d, enum ds_key_type type, const char *subject)
{
    EVP_PKEY *key = NULL;
    assert_int_equal(ds_key_make(type, &key, NULL), DS_OK);
    make_device_with(d, key, type, subject);
    EVP_PKEY_free(key);
}

static void make_device(device *d)
{
    make_device_of(d, DS_KEY_ECDSA_P256, SUBJECT);
}

static void free_device(device *d)
{
    ds_buf_free(&d->csr);
}

// The signer of s: the one child of ours that runs.
static pid_t child_of(pid_t parent)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int pid = 0;
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    return (pid_t)pid;
}

static uint64_t entries_of_log(void)
{
    X509 *ca = NULL;
    ds_cert_info info;
    ds_log_file *l = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_cert_read(sub_pem, &ca, NULL), DS_OK);
    assert_int_equal(ds_cert_describe(ca, &info, NULL), DS_OK);
    X509_free(ca);
    if (ds_log_open(log_path, info.fingerprint, &l, &e))
        fail_msg("%s", e.text);
    uint64_t n = ds_log_entries(l);
    ds_log_close(l);
    return n;
}

static void test_signer_certificate_has_the_profile(void **state)
{
    (void)state;
    ds_signer *s = started();
    const ds_signer_status *status = ds_signer_get_status(s);
    assert_string_equal(status->ca_subject, "CN=Test Sub CA");
    device d;
    make_device_of(&d, DS_KEY_RSA_2048, SUBJECT);
    d.req.subject_alt_uri = "urn:dev:SN0042";
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    if (ds_signer_sign(s, &d.req, &der, &e))
        fail_msg("%s", e.text);
    X509 *cert = NULL, *ca = NULL;
    ds_cert_info info;
    uint8_t serial[16];
    assert_int_equal(ds_cert_parse(ds_buf_view(&der), &cert, &e), DS_OK);
    assert_int_equal(ds_cert_parse(ds_buf_view(&status->ca_certificate), &ca, &e), DS_OK);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(ca)), 1);
    assert_int_equal(ds_cert_describe(cert, &info, &e), DS_OK);
    assert_string_equal(info.subject, SUBJECT);
    assert_string_equal(info.issuer, "CN=Test Sub CA");
    ds_cert_serial(d.serial, serial);
    assert_memory_equal(info.serial, serial + (16 - info.serial_len), info.serial_len);
    assert_int_equal(info.not_before_utc, now);
    assert_int_equal(info.not_after_utc, now + 86400);
    assert_int_equal(info.key_usage, KU_DIGITAL_SIGNATURE);
    assert_true(info.client_auth);
    assert_false(info.server_auth);
    assert_false(info.ca);
    X509_free(cert);
    X509_free(ca);
    free_device(&d);
    ds_signer_stop(s);
}

static void test_signer_same_request_gives_the_same_certificate(void **state)
{
    (void)state;
    ds_signer *s = started();
    const ds_signer_status before = *ds_signer_get_status(s);
    device d;
    make_device(&d);
    DS_CLEANUP_BUF ds_buf first = {0};
    DS_CLEANUP_BUF ds_buf again = {0};
    DS_CLEANUP_BUF ds_buf later = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_signer_sign(s, &d.req, &first, &e), DS_OK);
    assert_memory_not_equal(ds_signer_get_status(s)->log_head, before.log_head, 32);
    assert_int_equal(ds_signer_get_status(s)->log_entries, before.log_entries + 1);
    assert_int_equal(ds_signer_sign(s, &d.req, &again, &e), DS_OK);
    uint64_t entries = ds_signer_get_status(s)->log_entries;
    uint8_t head[32];
    memcpy(head, ds_signer_get_status(s)->log_head, sizeof head);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), entries);
    s = started();
    assert_int_equal(ds_signer_get_status(s)->log_entries, entries);
    assert_memory_equal(ds_signer_get_status(s)->log_head, head, 32);
    assert_int_equal(ds_signer_sign(s, &d.req, &later, &e), DS_OK);
    assert_int_equal(first.len, again.len);
    assert_memory_equal(first.ptr, again.ptr, first.len);
    assert_int_equal(first.len, later.len);
    assert_memory_equal(first.ptr, later.ptr, first.len);
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), entries);
}

static void expect_refusal(ds_signer *s, const ds_sign_request *req, enum ds_class cls, const char *words)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = ds_signer_sign(s, req, &der, &e);
    if (rc != cls || !strstr(e.text, words) || (strstr(e.text, "validity") && !strstr(e.hint, "certificate.days")))
        fail_msg("class %s, text \"%s\", expected %s, \"%s\"", ds_class_name(rc), e.text, ds_class_name(cls), words);
    assert_int_equal(der.len, 0);
}

static void test_signer_refuses_conflicts_with_its_log(void **state)
{
    (void)state;
    ds_signer *s = started();
    device d, other;
    make_device(&d);
    make_device(&other);
    DS_CLEANUP_BUF ds_buf der = {0};
    assert_int_equal(ds_signer_sign(s, &d.req, &der, NULL), DS_OK);
    char hex[33], words[80];
    uint8_t serial[16], second[16] = {5, 5, 5};
    ds_cert_serial(d.serial, serial);
    ds_hex(serial, 16, hex);
    snprintf(words, sizeof words, "certified before, with serial number %s", hex);
    ds_sign_request req = d.req;
    req.serial = second;
    expect_refusal(s, &req, DS_POLICY, words);
    req = other.req;
    req.serial = d.serial;
    expect_refusal(s, &req, DS_POLICY, "given to another public key");
    free_device(&d);
    free_device(&other);
    ds_signer_stop(s);
}

// The same key and serial number, another subject, as after a recipe was corrected: one key has one certificate.
static void test_signer_names_the_subject_it_signed(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    DS_CLEANUP_BUF ds_buf der = {0};
    DS_CLEANUP_BUF ds_buf again = {0};
    device d, other;
    make_device_with(&d, key, DS_KEY_ECDSA_P256, SUBJECT);
    make_device_with(&other, key, DS_KEY_ECDSA_P256, "CN=SN0042,O=Other Devices");
    other.req.serial = d.serial;
    ds_signer *s = started();
    assert_int_equal(ds_signer_sign(s, &d.req, &der, NULL), DS_OK);
    expect_refusal(s, &other.req, DS_POLICY, "certified before as \"" SUBJECT "\", serial number ");
    d.req.not_after_utc += 86400; // asked for what it signed, it gives that, whatever validity is demanded now
    assert_int_equal(ds_signer_sign(s, &d.req, &again, NULL), DS_OK);
    assert_int_equal(again.len, der.len);
    assert_memory_equal(again.ptr, der.ptr, der.len);
    ds_signer_stop(s);
    free_device(&d);
    free_device(&other);
    EVP_PKEY_free(key);
}

static void test_signer_refuses_what_is_not_demanded(void **state)
{
    (void)state;
    ds_signer *s = started();
    uint64_t before = ds_signer_get_status(s)->log_entries;
    device d;
    make_device(&d);
    ds_sign_request req = d.req;
    req.subject = "CN=SN0043,O=Acme Devices,serialNumber=SN0043";
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req.subject = "CN=sn0042,O=Acme Devices,serialNumber=SN0042"; // OpenSSL's own comparison would let this through
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req.subject = "O=Acme Devices,CN=SN0042,serialNumber=SN0042";
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req = d.req;
    req.key_type = DS_KEY_RSA_2048;
    expect_refusal(s, &req, DS_POLICY, "key is ECDSA P-256, but RSA-2048");
    req.key_type = 77;
    expect_refusal(s, &req, DS_INPUT, "key type 77");
    req = d.req;
    req.not_after_utc = now + 11 * 86400;
    expect_refusal(s, &req, DS_POLICY, "not within the Sub CA's");
    req = d.req;
    req.not_before_utc = now - 7200;
    expect_refusal(s, &req, DS_POLICY, "not within the Sub CA's");
    static const int64_t no_span[][2] = {{5, 5}, {INT64_MAX, 5}, {-1, 5}, {0, DS_NO_EXPIRY + 1}, {0, INT64_MIN}};
    for (size_t i = 0; i < sizeof no_span / sizeof *no_span; i++) {
        req.not_before_utc = no_span[i][0];
        req.not_after_utc = no_span[i][1];
        expect_refusal(s, &req, DS_POLICY, "not a span of time between 1970 and 9999");
    }
    req = d.req;
    req.subject_alt_uri = "urn:with space";
    expect_refusal(s, &req, DS_INPUT, "alternative name");
    d.csr.ptr[d.csr.len - 1] ^= 1;
    expect_refusal(s, &d.req, DS_INPUT, "");
    req = d.req;
    req.csr.len = 0;
    expect_refusal(s, &req, DS_INPUT, "no certificate request");
    uint8_t *huge = calloc(1, 60000);
    req.csr = (ds_view){huge, 60000};
    expect_refusal(s, &req, DS_INPUT, "no certificate request");
    free(huge);
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), before);
}

static void test_signer_start_says_what_is_wrong(void **state)
{
    (void)state;
    ds_signer *s = NULL, *running = started();
    ds_err e = DS_ERR_INIT;
    ds_signer_config cfg = config();
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_STORE);
    assert_non_null(strstr(e.text, "held by another signer"));
    ds_signer_stop(running);
    cfg.key = root_key;
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "belongs to another key"));
    cfg = config();
    cfg.key = "file:/nowhere/at/all.key";
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_INPUT);
    cfg.key = "somewhere";
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_USAGE);
    cfg.key = "pkcs11:token=x;object=y?pin-value=1234";
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_POLICY);
    cfg = config();
    cfg.certificate = "/nowhere/at/all.pem";
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_INPUT);
    assert_null(s);
}

typedef struct killer {
    pid_t parent;
    _Atomic bool stop;
    unsigned seed, killed;
} killer;

static void *kill_now_and_then(void *arg)
{
    killer *k = arg;
    while (!k->stop) {
        k->seed = k->seed * 1103515245U + 12345U;
        usleep(5000 + (k->seed >> 16) % 60000);
        DS_CLEANUP_FREE char *path = ds_asprintf("/proc/%d/task/%d/children", (int)k->parent, (int)k->parent);
        FILE *f = fopen(path, "r");
        int pid = 0;
        if (f && fscanf(f, "%d", &pid) == 1 && kill((pid_t)pid, SIGKILL) == 0)
            k->killed++;
        if (f)
            fclose(f);
    }
    return NULL;
}

static void test_signer_killed_at_any_time_loses_and_doubles_nothing(void **state)
{
    (void)state;
    enum { DEVICES = 100 };
    ds_signer *s = started();
    uint64_t before = ds_signer_get_status(s)->log_entries;
    const char *seed = getenv("DS_SEED");
    killer k = {getpid(), false, seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)now, 0};
    print_message("seed %u\n", k.seed);
    pthread_t thread;
    pthread_create(&thread, NULL, kill_now_and_then, &k);
    static device devices[DEVICES];
    static ds_buf certs[DEVICES];
    unsigned failures = 0;
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = DS_OK;
    for (int i = 0; i < DEVICES; i++) {
        make_device(&devices[i]);
        while ((rc = ds_signer_sign(s, &devices[i].req, &certs[i], &e)) == DS_TOKEN && failures < 10000)
            failures++;
        if (rc)
            break;
    }
    k.stop = true;
    pthread_join(thread, NULL);
    print_message("%u kills, %u calls failed\n", k.killed, failures);
    if (rc)
        fail_msg("%s", e.text);
    assert_true(k.killed > 0 && failures > 0);
    for (int i = 0; i < DEVICES; i++) { // whatever was handed out is what the log gives again
        DS_CLEANUP_BUF ds_buf again = {0};
        if ((rc = ds_signer_sign(s, &devices[i].req, &again, &e)) == DS_TOKEN) // the last kill may still be unseen
            rc = ds_signer_sign(s, &devices[i].req, &again, &e);
        assert_int_equal(rc, DS_OK);
        assert_int_equal(again.len, certs[i].len);
        assert_memory_equal(again.ptr, certs[i].ptr, again.len);
        ds_buf_free(&certs[i]);
        free_device(&devices[i]);
    }
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), before + DEVICES);
}

typedef struct worker {
    ds_signer *s;
    device d;
    ds_buf der;
    enum ds_class rc;
    ds_err e;
} worker;

static void *sign_in_thread(void *arg)
{
    worker *w = arg;
    w->rc = ds_signer_sign(w->s, &w->d.req, &w->der, &w->e);
    return NULL;
}

static void test_signer_threads_share_it(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    ds_signer *s = started();
    worker w[THREADS] = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        w[i].s = s;
        make_device(&w[i].d);
        pthread_create(&threads[i], NULL, sign_in_thread, &w[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].rc, DS_OK);
        X509 *cert = NULL;
        ds_csr_info csr;
        ds_cert_info info;
        assert_int_equal(ds_cert_parse(ds_buf_view(&w[i].der), &cert, NULL), DS_OK);
        assert_int_equal(ds_cert_describe(cert, &info, NULL), DS_OK);
        assert_int_equal(ds_csr_check(w[i].d.req.csr, &csr, NULL), DS_OK);
        assert_memory_equal(info.public_key_digest, csr.public_key_digest, 32); // nobody's answer went to another
        X509_free(cert);
        ds_buf_free(&w[i].der);
        free_device(&w[i].d);
    }
    ds_signer_stop(s);
}

// A child that is stopped is to its parent what one behind a token that hangs is.
static void test_signer_that_is_silent_fails_all_callers_within_one_timeout(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    ds_signer *s = started();
    worker w[THREADS] = {0};
    pthread_t threads[THREADS];
    pid_t silent = child_of(getpid());
    assert_int_equal(kill(silent, SIGSTOP), 0);
    int64_t begin = ds_now_ms();
    for (int i = 0; i < THREADS; i++) {
        w[i].s = s;
        make_device(&w[i].d);
        pthread_create(&threads[i], NULL, sign_in_thread, &w[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].rc, DS_TOKEN);
        assert_string_equal(w[i].e.text, "the token gave no answer within 20 s");
        assert_string_equal(w[i].e.text, w[0].e.text);
        assert_non_null(strstr(w[i].e.hint, "unplug"));
    }
    assert_true(ds_now_ms() - begin < 25000);
    assert_int_equal(kill(silent, 0), -1); // ended and waited for
    begin = ds_now_ms();
    expect_refusal(s, &w[0].d.req, DS_TOKEN, "the token gave no answer within 20 s");
    assert_true(ds_now_ms() - begin < 1000); // no new try before the pause is over
    while (ds_now_ms() - begin < 10500)
        ds_sleep_ms(100);
    assert_int_equal(ds_signer_sign(s, &w[0].d.req, &w[0].der, &w[0].e), DS_OK);
    for (int i = 0; i < THREADS; i++) {
        free_device(&w[i].d);
        ds_buf_free(&w[i].der);
    }
    ds_signer_stop(s);
}

static void test_signer_with_pin_by_descriptor_does_not_start_again(void **state)
{
    (void)state;
    int pipe_fd[2];
    assert_int_equal(pipe(pipe_fd), 0);
    assert_int_equal(write(pipe_fd[1], "1234\n", 5), 5);
    ds_signer_config cfg = config();
    cfg.pin = DS_PIN_FD;
    cfg.pin_fd = pipe_fd[0];
    ds_signer *s = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_OK);
    assert_int_equal(fcntl(pipe_fd[0], F_GETFD), -1); // the child alone has it
    close(pipe_fd[1]);
    assert_int_equal(kill(child_of(getpid()), SIGKILL), 0);
    device d;
    make_device(&d);
    expect_refusal(s, &d.req, DS_TOKEN, "");
    expect_refusal(s, &d.req, DS_TOKEN, "its PIN cannot be had again by itself");
    free_device(&d);
    ds_signer_stop(s);
}

// A wrong number must not take one of the utility's own files away from it.
static void test_signer_pin_descriptor_that_was_not_given_is_refused_and_stays(void **state)
{
    (void)state;
    int own = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ds_signer_config cfg = config();
    cfg.pin = DS_PIN_FD;
    cfg.pin_fd = own;
    ds_signer *s = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_USAGE);
    assert_non_null(strstr(e.text, "was not given to this program"));
    assert_int_equal(fcntl(own, F_GETFD), FD_CLOEXEC);
    close(own);
    cfg.pin_fd = own;
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_USAGE);
    assert_null(s);
}

// What the running child has open, may do and shows.
static void test_signer_child_is_caged_and_holds_no_stray_descriptor(void **state)
{
    (void)state;
    int stray = dup(0); // without close-on-exec
    ds_signer *s = started();
    pid_t pid = child_of(getpid());
    DS_CLEANUP_FREE char *status = ds_asprintf("/proc/%d/status", (int)pid);
    FILE *f = fopen(status, "r");
    assert_non_null(f);
    char line[256];
    int seccomp = -1, no_new_privs = -1;
    while (fgets(line, sizeof line, f)) {
        (void)sscanf(line, "Seccomp: %d", &seccomp);
        (void)sscanf(line, "NoNewPrivs: %d", &no_new_privs);
    }
    fclose(f);
    assert_int_equal(seccomp, 2);
    assert_int_equal(no_new_privs, 1);
    DS_CLEANUP_FREE char *fds = ds_asprintf("/proc/%d/fd", (int)pid);
    DIR *dir = opendir(fds); // only root may look into a process that is not dumpable
    if (dir) {
        unsigned count = 0;
        while (readdir(dir))
            count++;
        closedir(dir);
        assert_int_equal(count, 2 + 3 + 2); // "." and "..", standard three, socket, log
    } else {
        assert_int_equal(errno, EACCES);
    }
    close(stray);
    ds_signer_stop(s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "signer") == 0)
        ds_signer_run(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signer_certificate_has_the_profile),
        cmocka_unit_test(test_signer_same_request_gives_the_same_certificate),
        cmocka_unit_test(test_signer_refuses_conflicts_with_its_log),
        cmocka_unit_test(test_signer_names_the_subject_it_signed),
        cmocka_unit_test(test_signer_refuses_what_is_not_demanded),
        cmocka_unit_test(test_signer_start_says_what_is_wrong),
        cmocka_unit_test(test_signer_killed_at_any_time_loses_and_doubles_nothing),
        cmocka_unit_test(test_signer_threads_share_it),
        cmocka_unit_test(test_signer_that_is_silent_fails_all_callers_within_one_timeout),
        cmocka_unit_test(test_signer_with_pin_by_descriptor_does_not_start_again),
        cmocka_unit_test(test_signer_pin_descriptor_that_was_not_given_is_refused_and_stays),
        cmocka_unit_test(test_signer_child_is_caged_and_holds_no_stray_descriptor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
