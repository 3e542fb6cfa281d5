// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A CA in a folder, a signer process for it, and devices that ask it: what the tests of the signer share. The program
// that includes this starts itself as the signer, as devstamp does.
#ifndef SIGNER_SUPPORT_H
#define SIGNER_SUPPORT_H

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
#include <openssl/core_names.h>
#include <openssl/param_build.h>
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

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define ACME "CN={serial},O=Acme Devices,serialNumber={serial}"
static const ds_signer_profile profiles[] = {
    {"lamp", ACME, "SN{counter:4}", DS_KEY_ECDSA_P256, 1, "", NULL, DS_ORIGIN_DEVICE},
    {"other", "CN={serial},O=Other Devices", "SN{counter:4}", DS_KEY_ECDSA_P256, 1, "", NULL, DS_ORIGIN_DEVICE},
    {"plug", ACME, "SN{counter:4}", DS_KEY_RSA_2048, 1, "urn:dev:{serial}", NULL, DS_ORIGIN_DEVICE}, // for two chips
    {"plug", ACME, "SN{counter:4}", DS_KEY_RSA_3072, 1, "", NULL, DS_ORIGIN_DEVICE},
    {"long", ACME, "SN{counter:4}", DS_KEY_ECDSA_P256, 9, "", NULL, DS_ORIGIN_DEVICE},
    {"ever", "CN={mac},O={product}", "{mac}", DS_KEY_ECDSA_P384, 0, "", NULL, DS_ORIGIN_DEVICE},
};

static inline ds_signer_config config(void)
{
    return (ds_signer_config){.key = sub_key,
                              .certificate = sub_pem,
                              .log = log_path,
                              .profiles = profiles,
                              .profile_count = sizeof profiles / sizeof *profiles,
                              .pin_fd = -1};
}

static inline ds_signer *started(void)
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

static inline void make_device_with(device *d, EVP_PKEY *key, enum ds_key_type type, const char *subject)
{
    X509_NAME *name = NULL;
    *d = (device){0};
    assert_int_equal(ds_dn_parse(subject, &name, NULL), DS_OK);
    assert_int_equal(ds_request_make(name, key, &d->csr, NULL), DS_OK);
    X509_NAME_free(name);
    ds_random(d->serial, sizeof d->serial);
    d->req = (ds_sign_request){.csr = ds_buf_view(&d->csr),
                               .serial = d->serial,
                               .not_before_utc = now - 3600,
                               .not_after_utc = now + 86400,
                               .subject = subject,
                               .key_type = (int)type,
                               .recipe = type == DS_KEY_ECDSA_P256 ? "lamp" : "plug",
                               .device_serial = "SN0042",
                               .mac = "0123456789ab"};
}

static inline void make_device_of(device *d, enum ds_key_type type, const char *subject)
{
    EVP_PKEY *key = NULL;
    assert_int_equal(ds_key_make(type, &key, NULL), DS_OK);
    make_device_with(d, key, type, subject);
    EVP_PKEY_free(key);
}

static inline void make_device(device *d)
{
    make_device_of(d, DS_KEY_ECDSA_P256, SUBJECT);
}

static inline void free_device(device *d)
{
    ds_buf_free(&d->csr);
}

// The signer of s: the one child of ours that runs.
static inline pid_t child_of(pid_t parent)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int pid = 0;
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    return (pid_t)pid;
}

static inline uint64_t entries_of_log(void)
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

static inline void expect_refusal(ds_signer *s, const ds_sign_request *req, enum ds_class cls, const char *words)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = ds_signer_sign(s, req, &der, &e);
    if (rc != cls || !strstr(e.text, words) || (strstr(e.text, "validity") && !strstr(e.hint, "certificate.days")))
        fail_msg("class %s, text \"%s\", expected %s, \"%s\"", ds_class_name(rc), e.text, ds_class_name(cls), words);
    assert_int_equal(der.len, 0);
}

#endif
