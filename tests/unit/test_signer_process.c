// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer process, for real: this program starts itself as the signer, as devstamp does. File keys; the token is in
// the end-to-end tests.
#include "signer_support.h"

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
    assert_int_equal(info.not_before_utc, now - 3600);
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
    assert_memory_not_equal(ds_signer_get_status(s)->log_root, before.log_root, 32);
    assert_int_equal(ds_signer_get_status(s)->log_entries, before.log_entries + 1);
    assert_int_equal(ds_signer_sign(s, &d.req, &again, &e), DS_OK);
    uint64_t entries = ds_signer_get_status(s)->log_entries;
    uint8_t head[32];
    memcpy(head, ds_signer_get_status(s)->log_root, sizeof head);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), entries);
    s = started();
    assert_int_equal(ds_signer_get_status(s)->log_entries, entries);
    assert_memory_equal(ds_signer_get_status(s)->log_root, head, 32);
    assert_int_equal(ds_signer_sign(s, &d.req, &later, &e), DS_OK);
    assert_int_equal(first.len, again.len);
    assert_memory_equal(first.ptr, again.ptr, first.len);
    assert_int_equal(first.len, later.len);
    assert_memory_equal(first.ptr, later.ptr, first.len);
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), entries);
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
    other.req.recipe = "other";
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
    _Atomic unsigned signed_so_far;
} killer;

static void *kill_now_and_then(void *arg)
{
    killer *k = arg;
    unsigned span_us = 60000, seen = 0;
    while (!k->stop) {
        k->seed = k->seed * 1103515245U + 12345U;
        usleep(5000 + (k->seed >> 16) * 16U % span_us);
        // on a busy machine a start takes longer than any fixed span: without progress the next kill comes later
        span_us = k->signed_so_far != seen || span_us > 2000000 ? 60000 : span_us + span_us / 4;
        seen = k->signed_so_far;
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
    killer k = {getpid(), false, seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)now, 0, 0};
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
        k.signed_so_far++;
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

// No head lies beside the log yet, so that only who was answered knows what it held.
static void test_signer_started_again_over_a_shorter_log_is_refused(void **state)
{
    (void)state;
    ds_signer *s = started();
    DS_CLEANUP_BUF ds_buf der = {0};
    device d[3];
    struct stat before = {0};
    ds_err e = DS_ERR_INIT;
    for (int i = 0; i < 3; i++)
        make_device(&d[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(log_path, &before), 0);
        assert_int_equal(ds_signer_sign(s, &d[i].req, &der, &e), DS_OK);
    }
    assert_int_equal(kill(child_of(getpid()), SIGKILL), 0);
    assert_int_equal(truncate(log_path, before.st_size), 0);
    enum ds_class rc = DS_TOKEN;
    for (int i = 0; i < 10 && rc == DS_TOKEN; i++) // the end may still be unseen
        rc = ds_signer_sign(s, &d[2].req, &der, &e);
    assert_int_equal(rc, DS_POLICY);
    assert_non_null(strstr(e.text, "its end was cut off"));
    ds_signer_stop(s);
    for (int i = 0; i < 3; i++)
        free_device(&d[i]);
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
        cmocka_unit_test(test_signer_start_says_what_is_wrong),
        cmocka_unit_test(test_signer_killed_at_any_time_loses_and_doubles_nothing),
        cmocka_unit_test(test_signer_threads_share_it),
        cmocka_unit_test(test_signer_started_again_over_a_shorter_log_is_refused),
        cmocka_unit_test(test_signer_that_is_silent_fails_all_callers_within_one_timeout),
        cmocka_unit_test(test_signer_with_pin_by_descriptor_does_not_start_again),
        cmocka_unit_test(test_signer_pin_descriptor_that_was_not_given_is_refused_and_stays),
        cmocka_unit_test(test_signer_child_is_caged_and_holds_no_stray_descriptor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
