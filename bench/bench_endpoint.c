// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Devices for bench/endpoint.py and tests/faults/endpoint_flood.py: certificates made in bulk, and mutual-TLS MQTT
// connects with them as fast as a few processes can. One key serves all of them, which no real device would do; the
// server is not verified, so that the client costs less than what is measured.
//
//   bench_endpoint make CA_CERT CA_KEY OUT PREFIX FIRST COUNT    certificates PREFIX<n>, their key before them
//   bench_endpoint run ADDRESS PORT CHAIN FILE PROCESSES         connect once with each; prints one line:
//                                                                seconds admitted refused failed p50_us p99_us max_us
#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/file.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "bench_endpoint: %s\n", what);
    exit(1);
}

static X509 *read_cert(const char *path)
{
    FILE *f = fopen(path, "re");
    X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    if (!x)
        die(path);
    fclose(f);
    return x;
}

static void add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!ext || X509_add_ext(x, ext, -1) != 1)
        die("extension");
    X509_EXTENSION_free(ext);
}

static void add_one(ds_buf *out, X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *name)
{
    X509 *x = X509_new();
    uint8_t serial[16];
    RAND_bytes(serial, sizeof serial);
    serial[0] = (serial[0] & 0x7F) | 1;
    BIGNUM *n = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400L * 365);
    X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_UTF8, (const unsigned char *)name, -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(ca));
    X509_set_pubkey(x, key);
    add_ext(x, ca, NID_basic_constraints, "critical,CA:FALSE");
    add_ext(x, ca, NID_key_usage, "critical,digitalSignature");
    add_ext(x, ca, NID_ext_key_usage, "clientAuth");
    add_ext(x, ca, NID_subject_key_identifier, "hash");
    add_ext(x, ca, NID_authority_key_identifier, "keyid");
    unsigned char *der = NULL;
    if (X509_sign(x, ca_key, EVP_sha256()) <= 0)
        die("sign");
    int len = i2d_X509(x, &der);
    ds_buf_add_le32(out, (uint32_t)len);
    ds_buf_add(out, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(x);
}

static int make(char **argv)
{
    X509 *ca = read_cert(argv[0]);
    FILE *f = fopen(argv[1], "re");
    EVP_PKEY *ca_key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL, *key = EVP_EC_gen("P-256");
    if (!ca_key)
        die(argv[1]);
    fclose(f);
    ds_buf out = {0};
    ds_err e = DS_ERR_INIT;
    unsigned char *der = NULL;
    int len = i2d_PrivateKey(key, &der);
    ds_buf_add_le32(&out, (uint32_t)len);
    ds_buf_add(&out, der, (size_t)len);
    OPENSSL_free(der);
    long first = strtol(argv[4], NULL, 10), count = strtol(argv[5], NULL, 10);
    for (long i = first; i < first + count; i++) {
        char name[65];
        snprintf(name, sizeof name, "%s%07ld", argv[3], i);
        add_one(&out, ca, ca_key, key, name);
    }
    if (ds_file_write(argv[2], ds_buf_view(&out), 0600, &e))
        die(e.text);
    ds_buf_free(&out);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return 0;
}

// What all processes write and the first one reads.
typedef struct results {
    int go;
    size_t count;
    struct {
        uint32_t us;
        int32_t code; // of the CONNACK; -1: the connection ended before
    } of[];
} results;

typedef struct crowd {
    struct sockaddr_in to;
    SSL_CTX *ctx;
    EVP_PKEY *key;
    X509 **certs;
    size_t count;
} crowd;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int talk(SSL *s, X509 *cert)
{
    char name[65];
    uint8_t hello[96] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60}, answer[4];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    if (SSL_connect(s) != 1 || len <= 0)
        return -1;
    hello[1] = (uint8_t)(12 + len);
    hello[13] = (uint8_t)len;
    memcpy(hello + 14, name, (size_t)len);
    if (SSL_write(s, hello, 14 + len) <= 0)
        return -1;
    for (int got = 0, n; got < 4; got += n)
        if ((n = SSL_read(s, answer + got, 4 - got)) <= 0)
            return -1;
    return answer[3];
}

static int connect_once(const crowd *c, X509 *cert)
{
    int one = 1, code = -1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 30};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL *s = SSL_new(c->ctx);
    if (connect(fd, (const struct sockaddr *)&c->to, sizeof c->to) == 0 && SSL_use_certificate(s, cert) == 1 &&
        SSL_use_PrivateKey(s, c->key) == 1 && SSL_set_fd(s, fd) == 1)
        code = talk(s, cert);
    SSL_free(s);
    close(fd);
    return code;
}

static void work(const crowd *c, results *r, size_t first, size_t step)
{
    while (!__atomic_load_n(&r->go, __ATOMIC_ACQUIRE))
        usleep(100);
    for (size_t i = first; i < c->count; i += step) {
        int64_t begin = now_us();
        r->of[i].code = connect_once(c, c->certs[i]);
        r->of[i].us = (uint32_t)(now_us() - begin);
    }
}

static void read_crowd(const char *path, crowd *c)
{
    DS_CLEANUP_BUF ds_buf in = {0};
    ds_err e = DS_ERR_INIT;
    if (ds_file_read(path, (size_t)1 << 30, &in, &e))
        die(e.text);
    for (size_t at = 0; at + 4 <= in.len;) {
        const unsigned char *p = in.ptr + at + 4;
        long len = (long)ds_le32(in.ptr + at);
        at += 4 + (size_t)len;
        if (!c->key) {
            c->key = d2i_AutoPrivateKey(NULL, &p, len);
            continue;
        }
        if (c->count % 1024 == 0 && !(c->certs = realloc(c->certs, (c->count + 1024) * sizeof(X509 *))))
            die("memory");
        if (!(c->certs[c->count++] = d2i_X509(NULL, &p, len)))
            die("certificate");
    }
}

static int by_us(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print(const results *r, int64_t took_us)
{
    size_t admitted = 0, refused = 0, failed = 0, n = r->count;
    uint32_t *us = ds_alloc(n * sizeof *us);
    for (size_t i = 0; i < n; i++) {
        us[i] = r->of[i].us;
        admitted += r->of[i].code == 0;
        refused += r->of[i].code > 0;
        failed += r->of[i].code < 0;
    }
    qsort(us, n, sizeof *us, by_us);
    printf("%.3f %zu %zu %zu %u %u %u\n", (double)took_us / 1e6, admitted, refused, failed, us[n / 2], us[n * 99 / 100],
           us[n - 1]);
    free(us);
}

static int run(char **argv)
{
    crowd c = {.to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(argv[1], NULL, 10))}};
    size_t processes = (size_t)strtol(argv[4], NULL, 10);
    if (inet_pton(AF_INET, argv[0], &c.to.sin_addr) != 1 || processes == 0)
        die("address or processes");
    read_crowd(argv[3], &c);
    X509 *chain = read_cert(argv[2]);
    c.ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_add1_chain_cert(c.ctx, chain);
    SSL_CTX_set_session_cache_mode(c.ctx, SSL_SESS_CACHE_OFF);
    size_t size = sizeof(results) + (c.count + 1) * sizeof((results *)0)->of[0];
    results *r = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED || c.count == 0)
        die("no certificates, or no memory");
    r->count = c.count;
    for (size_t i = 0; i < processes; i++)
        if (fork() == 0) {
            work(&c, r, i, processes);
            _exit(0);
        }
    usleep(100000);
    int64_t begin = now_us();
    __atomic_store_n(&r->go, 1, __ATOMIC_RELEASE);
    while (wait(NULL) > 0)
        continue;
    print(r, now_us() - begin);
    munmap(r, size);
    for (size_t i = 0; i < c.count; i++)
        X509_free(c.certs[i]);
    free(c.certs);
    X509_free(chain);
    EVP_PKEY_free(c.key);
    SSL_CTX_free(c.ctx);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "make") == 0)
        return make(argv + 2);
    if (argc == 7 && strcmp(argv[1], "run") == 0)
        return run(argv + 2);
    fputs("usage: bench_endpoint make CA_CERT CA_KEY OUT PREFIX FIRST COUNT\n"
          "       bench_endpoint run ADDRESS PORT CHAIN FILE PROCESSES\n",
          stderr);
    return 2;
}
