// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's end and the CA; see fake_station.h.
#include "tests/unit/fake_station.h"

#include <mbedtls/ecp.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

// Over fake_provision's values, computed apart from this code by Python's hashlib.
const uint8_t fake_stamp_digest[32] = {0x1f, 0xed, 0x6a, 0x0c, 0x3e, 0xb0, 0xf6, 0xa2, 0xc0, 0x56, 0x67,
                                       0x23, 0xf5, 0x50, 0xda, 0x35, 0x85, 0x26, 0xe2, 0xce, 0x42, 0x71,
                                       0x5f, 0xe4, 0xc2, 0xce, 0xd1, 0x5f, 0x9e, 0x05, 0xf7, 0xca};

static mbedtls_pk_context root_key, sub_key;

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < len * 8; i++) {
        uint32_t bit = (uint32_t)(data[i / 8] >> i % 8 & 1);
        crc = (crc & 1) != bit ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return crc ^ 0xFFFFFFFF;
}

size_t fake_frame(const uint8_t *message, size_t len, uint8_t *to)
{
    uint8_t *body = malloc(len + 7);
    memcpy(body, "DS\1", 3);
    memcpy(body + 3, message, len);
    uint32_t crc = crc32_of(body, len + 3);
    for (size_t i = 0; i < 4; i++)
        body[len + 3 + i] = (uint8_t)(crc >> 8 * i);
    size_t n = 0;
    to[n++] = 0xC0;
    for (size_t i = 0; i < len + 7; i++) {
        if (body[i] == 0xC0 || body[i] == 0xDB) {
            to[n++] = 0xDB;
            to[n++] = body[i] == 0xC0 ? 0xDC : 0xDD;
        } else {
            to[n++] = body[i];
        }
    }
    to[n++] = 0xC0;
    free(body);
    return n;
}

void fake_send_raw(fake_port *f, const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t n = len < sizeof f->in ? len : sizeof f->in;
        memcpy(f->in, data, n);
        f->in_len = n;
        f->in_at = 0;
        while (f->in_at < f->in_len)
            ds_agent_poll(&f->agent, 0);
        data += n;
        len -= n;
    }
}

static Devstamp__Response *decode(const uint8_t *data, size_t len)
{
    if (len < 7 || memcmp(data, "DS\1", 3) != 0)
        return NULL;
    uint32_t crc = 0;
    for (size_t i = 0; i < 4; i++)
        crc |= (uint32_t)data[len - 4 + i] << 8 * i;
    return crc == crc32_of(data, len - 4) ? devstamp__response__unpack(NULL, len - 7, data + 3) : NULL;
}

// The last answer in what the device wrote from some point on.
static Devstamp__Response *read_answer(const fake_port *f, fake_station *st, size_t from, uint32_t id)
{
    static uint8_t frame[FAKE_CONSOLE];
    Devstamp__Response *answer = NULL;
    size_t len = 0;
    st->progress = 0;
    for (size_t i = from; i < f->out_len; i++) {
        uint8_t c = f->out[i];
        if (c == 0xDB && i + 1 < f->out_len)
            c = f->out[++i] == 0xDC ? 0xC0 : 0xDB;
        else if (c == 0xC0) {
            Devstamp__Response *r = decode(frame, len);
            len = 0;
            if (r != NULL && r->id == id && r->body_case != DEVSTAMP__RESPONSE__BODY_PROGRESS) {
                fake_free(answer);
                answer = r;
            } else {
                st->progress += r != NULL && r->body_case == DEVSTAMP__RESPONSE__BODY_PROGRESS;
                fake_free(r);
            }
            continue;
        }
        frame[len++] = c;
    }
    return answer;
}

Devstamp__Response *fake_call(fake_port *f, fake_station *st, Devstamp__Request *q)
{
    static uint8_t message[20000], frame[40020];
    q->id = ++st->id;
    size_t len = devstamp__request__pack(q, message);
    if (f->out_len > sizeof f->out / 2)
        f->out_len = 0;
    size_t from = f->out_len;
    fake_send_raw(f, frame, fake_frame(message, len, frame));
    return read_answer(f, st, from, q->id);
}

void fake_free(Devstamp__Response *r)
{
    devstamp__response__free_unpacked(r, NULL);
}

int fake_status(fake_port *f, fake_station *st, Devstamp__Request *q)
{
    Devstamp__Response *r = fake_call(f, st, q);
    int code = r != NULL ? (int)DS_STATUS_CODE(r->status) : -1;
    fake_free(r);
    return code;
}

static int ca_random(void *ctx, unsigned char *buf, size_t len)
{
    uint64_t *seed = ctx;
    for (size_t i = 0; i < len; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        buf[i] = (uint8_t)(*seed >> 33);
    }
    return 0;
}

static void make_ca_key(mbedtls_pk_context *pk, uint64_t seed)
{
    mbedtls_pk_init(pk);
    if (mbedtls_pk_setup(pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) != 0 ||
        mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*pk), ca_random, &seed) != 0)
        abort();
}

static void issue(mbedtls_pk_context *subject_key, const char *subject, mbedtls_pk_context *issuer_key,
                  const char *issuer, bool ca, fake_cert *ret)
{
    mbedtls_x509write_cert w;
    mbedtls_mpi serial;
    uint64_t seed = 7;
    mbedtls_x509write_crt_init(&w);
    mbedtls_mpi_init(&serial);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, subject_key);
    mbedtls_x509write_crt_set_issuer_key(&w, issuer_key);
    static uint8_t der[1500];
    // Long past: a device without a clock must not look at dates.
    if (mbedtls_mpi_lset(&serial, 0x1234) != 0 || mbedtls_x509write_crt_set_serial(&w, &serial) != 0 ||
        mbedtls_x509write_crt_set_validity(&w, "20010101000000", "20020101000000") != 0 ||
        mbedtls_x509write_crt_set_subject_name(&w, subject) != 0 ||
        mbedtls_x509write_crt_set_issuer_name(&w, issuer) != 0 ||
        mbedtls_x509write_crt_set_basic_constraints(&w, ca, ca ? 1 : -1) != 0)
        abort();
    int len = mbedtls_x509write_crt_der(&w, der, sizeof der, ca_random, &seed);
    if (len <= 0)
        abort();
    memcpy(ret->der, der + sizeof der - len, (size_t)len);
    ret->len = (size_t)len;
    mbedtls_mpi_free(&serial);
    mbedtls_x509write_crt_free(&w);
}

void fake_station_init(fake_station *st)
{
    memset(st, 0, sizeof *st);
    static bool made;
    if (!made) {
        make_ca_key(&root_key, 11);
        make_ca_key(&sub_key, 22);
    }
    made = true;
    issue(&root_key, "CN=Root", &root_key, "CN=Root", true, &st->root);
    issue(&sub_key, "CN=Sub CA", &root_key, "CN=Root", true, &st->sub);
}

void fake_issue(const fake_station *st, const uint8_t *spki, size_t len, fake_cert *ret)
{
    (void)st;
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    if (mbedtls_pk_parse_public_key(&pk, spki, len) != 0)
        abort();
    issue(&pk, "CN=SN0042", &sub_key, "CN=Sub CA", false, ret);
    mbedtls_pk_free(&pk);
}

int fake_make_key(fake_port *f, fake_station *st, int type, bool replace, bool *ret_made)
{
    Devstamp__MakeKey m = DEVSTAMP__MAKE_KEY__INIT;
    m.type = (Devstamp__KeyType)type;
    m.replace = replace;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_MAKE_KEY;
    q.make_key = &m;
    Devstamp__Response *r = fake_call(f, st, &q);
    int code = r != NULL ? (int)DS_STATUS_CODE(r->status) : -1;
    if (code == 0) {
        st->public_key_len = r->key->public_key.len;
        memcpy(st->public_key, r->key->public_key.data, st->public_key_len);
        if (ret_made != NULL)
            *ret_made = r->key->made;
    }
    fake_free(r);
    return code;
}

int fake_write_chain(fake_port *f, fake_station *st, const fake_cert *own)
{
    uint8_t own_copy[1500];
    memcpy(own_copy, own->der, own->len);
    ProtobufCBinaryData list[] = {{own->len, own_copy}, {st->sub.len, st->sub.der}};
    Devstamp__WriteChain w = DEVSTAMP__WRITE_CHAIN__INIT;
    w.certificate = list;
    w.n_certificate = 2;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_WRITE_CHAIN;
    q.write_chain = &w;
    return fake_status(f, st, &q);
}

int fake_write_value(fake_port *f, fake_station *st, const char *name_space, const char *key, int type,
                     const void *data, size_t len)
{
    char ns[32], k[32];
    uint8_t copy[5000];
    snprintf(ns, sizeof ns, "%s", name_space);
    snprintf(k, sizeof k, "%s", key);
    memcpy(copy, data, len);
    Devstamp__WriteValue w;
    devstamp__write_value__init(&w);
    w.name_space = ns;
    w.key = k;
    w.type = (Devstamp__ValueType)type;
    w.data = (ProtobufCBinaryData){len, copy};
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_WRITE_VALUE;
    q.write_value = &w;
    return fake_status(f, st, &q);
}

int fake_finish(fake_port *f, fake_station *st, uint32_t count, const uint8_t digest[32])
{
    uint8_t copy[32];
    memcpy(copy, digest, 32);
    Devstamp__FinishStamp w = DEVSTAMP__FINISH_STAMP__INIT;
    w.count = count;
    w.digest = (ProtobufCBinaryData){32, copy};
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_FINISH_STAMP;
    q.finish_stamp = &w;
    return fake_status(f, st, &q);
}

int fake_stage(fake_port *f, fake_station *st)
{
    Devstamp__Hello h = DEVSTAMP__HELLO__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &h;
    Devstamp__Response *r = fake_call(f, st, &q);
    int stage = r != NULL && r->status == 0 ? (int)r->hello->stage : -1;
    fake_free(r);
    return stage;
}

Devstamp__Response *fake_report(fake_port *f, fake_station *st, uint8_t *nonce, size_t len)
{
    Devstamp__Report m = DEVSTAMP__REPORT__INIT;
    m.nonce = (ProtobufCBinaryData){len, nonce};
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_REPORT;
    q.report = &m;
    return fake_call(f, st, &q);
}

static int make_csr(fake_port *f, fake_station *st)
{
    char subject[] = "CN=SN0042,O=Example,serialNumber=42";
    Devstamp__MakeCsr m;
    devstamp__make_csr__init(&m);
    m.subject = subject;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_MAKE_CSR;
    q.make_csr = &m;
    Devstamp__Response *r = fake_call(f, st, &q);
    int code = r != NULL ? (int)DS_STATUS_CODE(r->status) : -1;
    if (code == 0 && !fake_contains(r->csr->csr.data, r->csr->csr.len, st->public_key, st->public_key_len))
        abort(); // the request is for another key than the one reported
    fake_free(r);
    return code;
}

static int write_values(fake_port *f, fake_station *st)
{
    static const struct {
        const char *name_space, *key;
        int type;
        const char *data;
        size_t len;
    } values[FAKE_STAMP_COUNT] = {
        {"stamp", "serial", DS_VALUE_STRING, "SN0042", 6},
        {"cfg", "rate", DS_VALUE_U32, "\x00\xc2\x01\x00", 4},
        {"stamp", "endpoint", DS_VALUE_STRING, "mqtts://localhost:8883", 22},
        {"stamp", "pop", DS_VALUE_BLOB, "\xC0\xDB\x00\x01\x02\x03\x04\x05", 8},
        {"cfg", "name", DS_VALUE_STRING, "line \xc3\xa9", 7},
        {"stamp", "close_dl", DS_VALUE_U8, "\x01", 1},
    };
    int code = 0;
    for (size_t i = 0; i < FAKE_STAMP_COUNT && code == 0; i++)
        code =
            fake_write_value(f, st, values[i].name_space, values[i].key, values[i].type, values[i].data, values[i].len);
    return code;
}

int fake_provision(fake_port *f, fake_station *st)
{
    if (fake_stage(f, st) < 0)
        return -1;
    int code = fake_make_key(f, st, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, NULL);
    if (code == 0)
        code = make_csr(f, st);
    if (code != 0)
        return code;
    if (st->device.len == 0)
        fake_issue(st, st->public_key, st->public_key_len, &st->device);
    code = fake_write_chain(f, st, &st->device);
    if (code == 0)
        code = write_values(f, st);
    if (code == 0)
        code = fake_finish(f, st, FAKE_STAMP_COUNT, fake_stamp_digest);
    return code;
}
