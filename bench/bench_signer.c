// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What bench/signer.py measures with. It starts itself as the signer, as devstamp does.
//
//   bench_signer limit MODULE TOKEN OBJECT PIN-FILE DEVICE SECONDS   bare C_Sign and bare CSR checks, one after the
//   other bench_signer run KEY MODULE PIN-FILE CERTIFICATE LOG DEVICE CALLERS REQUESTS   certificates through the
//   signer bench_signer requests DEVICE COUNT FOLDER                       certificate requests as PEM files
// MODULE and PIN-FILE "-": none. DEVICE: p256 or rsa2048. Each prints one line of JSON. Requests are made before the
// clock runs, at most CHUNK at a time.
#include "src/base/clock.h"
#include "src/base/secret.h"
#include "src/pki/dn.h"
#include "src/pki/request.h"
#include "src/pki/token_int.h"
#include "src/signer/signer.h"

#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 20000 };

static _Noreturn void die(const char *what, const ds_err *e)
{
    fprintf(stderr, "%s: %s\n", what, e ? e->text : "");
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// --- requests

typedef struct request {
    ds_buf csr;
    char serial[16];
    uint8_t number[16];
} request;

static enum ds_key_type device_type(const char *name)
{
    return strcmp(name, "rsa2048") == 0 ? DS_KEY_RSA_2048 : DS_KEY_ECDSA_P256;
}

static void make_request(enum ds_key_type type, size_t n, request *r)
{
    char subject[64];
    X509_NAME *name = NULL;
    EVP_PKEY *key = NULL;
    ds_err e = DS_ERR_INIT;
    snprintf(r->serial, sizeof r->serial, "%09zu", n);
    snprintf(subject, sizeof subject, "CN=%s,O=Bench", r->serial);
    ds_random(r->number, sizeof r->number);
    if (ds_key_make(type, &key, &e) || ds_dn_parse(subject, &name, &e) || ds_request_make(name, key, &r->csr, &e))
        die("request", &e);
    X509_NAME_free(name);
    EVP_PKEY_free(key);
}

typedef struct maker {
    request *requests;
    enum ds_key_type type;
    size_t first, count, step, offset;
} maker;

static void *make_some(void *arg)
{
    const maker *m = arg;
    for (size_t i = m->offset; i < m->count; i += m->step)
        make_request(m->type, m->first + i, &m->requests[i]);
    return NULL;
}

static void make_requests(enum ds_key_type type, size_t first, size_t count, request *ret)
{
    enum { MAKERS = 4 };
    pthread_t threads[MAKERS];
    maker m[MAKERS];
    for (size_t i = 0; i < MAKERS; i++) {
        m[i] = (maker){ret, type, first, count, MAKERS, i};
        pthread_create(&threads[i], NULL, make_some, &m[i]);
    }
    for (size_t i = 0; i < MAKERS; i++)
        pthread_join(threads[i], NULL);
}

static int write_requests(char **argv)
{
    size_t count = strtoul(argv[1], NULL, 10);
    request *requests = ds_alloc(count * sizeof *requests);
    make_requests(device_type(argv[0]), 1, count, requests);
    for (size_t i = 0; i < count; i++) {
        DS_CLEANUP_FREE char *path = ds_asprintf("%s/%zu.csr", argv[2], i);
        const unsigned char *p = requests[i].csr.ptr;
        X509_REQ *csr = d2i_X509_REQ(NULL, &p, (long)requests[i].csr.len);
        FILE *f = fopen(path, "w");
        if (!f || PEM_write_X509_REQ(f, csr) != 1 || fclose(f) != 0)
            die(path, NULL);
        X509_REQ_free(csr);
    }
    printf("{\"requests\": %zu}\n", count);
    return 0;
}

// --- the limit

static void sign_bare(const ds_token *t, const ds_token_key *key, bool rsa)
{
    static const uint8_t info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                   0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t digest[32] = {1}, input[sizeof info + 32], signature[512];
    CK_ULONG len = sizeof signature;
    CK_MECHANISM mechanism = {rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0};
    memcpy(input, info, sizeof info);
    memcpy(input + sizeof info, digest, 32);
    if (t->fn->C_SignInit(t->session, &mechanism, key->private_h) != CKR_OK ||
        t->fn->C_Sign(t->session, rsa ? input : digest, rsa ? sizeof input : 32, signature, &len) != CKR_OK)
        die("C_Sign", NULL);
}

static int measure_limit(char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_secret pin = {0};
    ds_token *t = NULL;
    ds_token_key key = {0};
    DS_CLEANUP_FREE char *uri = ds_asprintf("pkcs11:token=%s;object=%s", argv[1], argv[2]);
    const ds_token_access access = {.uri = uri, .module = argv[0], .pin = &pin};
    if (ds_secret_read_file(argv[3], 255, &pin, &e) || ds_token_open(&access, &t, &e) || ds_token_find(t, &key, &e))
        die("token", &e);
    bool rsa = EVP_PKEY_get_base_id(key.public_key) == EVP_PKEY_RSA;
    request r = {0};
    make_request(device_type(argv[4]), 1, &r);
    const unsigned char *p = r.csr.ptr;
    X509_REQ *csr = d2i_X509_REQ(NULL, &p, (long)r.csr.len);
    double span = strtod(argv[5], NULL), begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double signing = 0, last = begin, now = begin;
    size_t n = 0;
    for (; now - begin < span; n++) {
        sign_bare(t, &key, rsa);
        double between = seconds(CLOCK_MONOTONIC);
        signing += between - last;
        if (X509_REQ_verify(csr, X509_REQ_get0_pubkey(csr)) != 1)
            die("verify", NULL);
        last = now = seconds(CLOCK_MONOTONIC);
    }
    double all = now - begin;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"rate\": %.1f, \"sign_us\": %.1f, \"verify_us\": %.1f, \"cpu_us\": %.1f}\n", (double)n / all,
           signing / (double)n * 1e6, (all - signing) / (double)n * 1e6, cpu / (double)n * 1e6);
    return 0;
}

// --- through the signer

typedef struct line {
    ds_signer *signer;
    request *requests;
    size_t count;
    _Atomic size_t next, failures;
    int key_type;
    int64_t now;
} line;

static void *call(void *arg)
{
    line *l = arg;
    DS_CLEANUP_BUF ds_buf der = {0};
    for (size_t i = l->next++; i < l->count; i = l->next++) {
        const request *r = &l->requests[i];
        DS_CLEANUP_FREE char *subject = ds_asprintf("CN=%s,O=Bench", r->serial);
        const ds_sign_request req = {.csr = ds_buf_view(&r->csr),
                                     .serial = r->number,
                                     .not_before_utc = l->now - 3600,
                                     .not_after_utc = INT64_C(253402300799),
                                     .subject = subject,
                                     .key_type = l->key_type,
                                     .recipe = "bench",
                                     .device_serial = r->serial,
                                     .mac = "0123456789ab"};
        ds_err e = DS_ERR_INIT;
        ds_buf_clear(&der);
        if (ds_signer_sign(l->signer, &req, &der, &e) && l->failures++ == 0)
            fprintf(stderr, "%s\n", e.text);
    }
    return NULL;
}

static double run_callers(line *l, size_t callers)
{
    pthread_t *threads = ds_alloc(callers * sizeof *threads);
    double begin = seconds(CLOCK_MONOTONIC);
    for (size_t i = 0; i < callers; i++)
        pthread_create(&threads[i], NULL, call, l);
    for (size_t i = 0; i < callers; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return seconds(CLOCK_MONOTONIC) - begin;
}

// The processor time of the signer, our only child, so far.
static double cpu_of_signer(void)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    FILE *f = fopen(path, "r");
    int pid = 0;
    clockid_t clock;
    if (!f || fscanf(f, "%d", &pid) != 1 || clock_getcpuclockid((pid_t)pid, &clock) != 0)
        die("no signer", NULL);
    fclose(f);
    return seconds(clock);
}

static int measure_run(char **argv)
{
    enum ds_key_type type = device_type(argv[5]);
    size_t callers = strtoul(argv[6], NULL, 10), left = strtoul(argv[7], NULL, 10), total = left;
    const ds_signer_profile profile = {"bench", "CN={serial},O=Bench", "{counter:9}", (int)type, 0, "",
                                       NULL,    DS_ORIGIN_DEVICE};
    ds_signer_config cfg = {.key = argv[0],
                            .module = argv[1][0] == '-' ? NULL : argv[1],
                            .pin = argv[2][0] == '-' ? DS_PIN_NONE : DS_PIN_FILE,
                            .pin_file = argv[2],
                            .certificate = argv[3],
                            .log = argv[4],
                            .profiles = &profile,
                            .profile_count = 1,
                            .pin_fd = -1};
    ds_err e = DS_ERR_INIT;
    line l = {.key_type = (int)type, .now = ds_utc_now()};
    if (ds_signer_start(&cfg, &l.signer, &e))
        die("signer", &e);
    uint64_t before = ds_signer_get_status(l.signer)->log_entries;
    l.requests = ds_alloc(CHUNK * sizeof *l.requests);
    double wall = 0, cpu = 0, started = cpu_of_signer();
    while (left) {
        l.count = left < CHUNK ? left : CHUNK;
        make_requests(type, (size_t)before + total - left + 1, l.count, l.requests);
        l.next = 0;
        double ours = seconds(CLOCK_PROCESS_CPUTIME_ID);
        wall += run_callers(&l, callers);
        cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - ours;
        for (size_t i = 0; i < l.count; i++)
            ds_buf_free(&l.requests[i].csr);
        memset(l.requests, 0, l.count * sizeof *l.requests);
        left -= l.count;
    }
    uint64_t entries = ds_signer_get_status(l.signer)->log_entries - before;
    double child = cpu_of_signer() - started;
    ds_signer_stop(l.signer);
    printf("{\"rate\": %.1f, \"failures\": %zu, \"logged\": %llu, \"asking_cpu_us\": %.1f, \"signer_cpu_us\": %.1f}\n",
           (double)total / wall, (size_t)l.failures, (unsigned long long)entries, cpu / (double)total * 1e6,
           child / (double)total * 1e6);
    return l.failures != 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "signer") == 0)
        ds_signer_run(argc - 1, argv + 1);
    if (argc == 8 && strcmp(argv[1], "limit") == 0)
        return measure_limit(argv + 2);
    if (argc == 10 && strcmp(argv[1], "run") == 0)
        return measure_run(argv + 2);
    if (argc == 5 && strcmp(argv[1], "requests") == 0)
        return write_requests(argv + 2);
    fprintf(stderr, "see the comment at the top of bench_signer.c\n");
    return 2;
}
