// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Credentials for esp-mqtt; see credentials.h.
#include "agent/port/esp-idf/credentials.h"

#include <mbedtls/pem.h>
#include <mbedtls/platform_util.h>

#include <stdlib.h>
#include <string.h>

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----\n"
#define PEM_END "-----END CERTIFICATE-----\n"

enum { CA_MAX = DS_AGENT_CHAIN_MAX };

// Length of the DER element at the start of data; 0 where it is not a whole SEQUENCE.
static size_t der_len(const uint8_t *data, size_t len)
{
    if (len < 4 || data[0] != 0x30)
        return 0;
    size_t body = data[1], head = 2;
    if (body == 0x82) {
        body = (size_t)data[2] << 8 | data[3];
        head = 4;
    } else if (body == 0x81) {
        body = data[2];
        head = 3;
    }
    return body <= len - head ? head + body : 0;
}

// Base64 makes 4 of 3 bytes, and a line end after each 64.
static size_t pem_size(size_t der)
{
    return (der + 2) / 3 * 4 + der / 48 + 1 + sizeof PEM_BEGIN + sizeof PEM_END;
}

static bool append_pem(const uint8_t *der, size_t len, char *to, size_t size, size_t *used)
{
    size_t written = 0;
    if (mbedtls_pem_write_buffer(PEM_BEGIN, PEM_END, der, len, (unsigned char *)to + *used, size - *used, &written) !=
        0)
        return false;
    *used += written - 1; // its NUL gives way to the next certificate
    return true;
}

static ds_status make_chain(const uint8_t *chain, size_t len, char **ret)
{
    size_t size = 1, used = 0, one;
    for (size_t at = 0; at < len; at += one) {
        one = der_len(chain + at, len - at);
        if (one == 0)
            return DS_STATUS(ENDPOINT, CRYPTO);
        size += pem_size(one);
    }
    char *pem = calloc(1, size);
    if (pem == NULL)
        return DS_STATUS(ENDPOINT, NO_SPACE);
    for (size_t at = 0; at < len; at += one) {
        one = der_len(chain + at, len - at);
        if (!append_pem(chain + at, one, pem, size, &used)) {
            free(pem);
            return DS_STATUS(ENDPOINT, CRYPTO);
        }
    }
    *ret = pem;
    return DS_STATUS_OK;
}

// The recipe gives PEM, or one DER certificate.
static ds_status make_ca(ds_esp *p, char **ret)
{
    size_t len = 0;
    uint8_t *ca = malloc(CA_MAX + 1);
    if (ca == NULL)
        return DS_STATUS(ENDPOINT, NO_SPACE);
    ds_status s = ds_esp_value_get(p, DS_AREA_ENCRYPTED, DS_AGENT_NAMESPACE, "endpoint_ca", ca, CA_MAX, &len);
    if (DS_ESP_STATUS_IS(s, NOT_FOUND)) {
        p->port.log(p, "endpoint: no endpoint_ca in the stamp, the server could not be verified");
        s = DS_STATUS(ENDPOINT, NETWORK);
    }
    if (s == DS_STATUS_OK && len > 0 && ca[0] == 0x30) {
        s = make_chain(ca, len, ret);
        free(ca);
    } else if (s == DS_STATUS_OK) {
        ca[len] = 0;
        *ret = (char *)ca;
    } else {
        free(ca);
    }
    return s;
}

static ds_status copy_key(const ds_publish *m, ds_esp_credentials *c)
{
    c->key = malloc(m->key_len);
    if (c->key == NULL)
        return DS_STATUS(ENDPOINT, NO_SPACE);
    memcpy(c->key, m->key, m->key_len);
    c->key_len = m->key_len;
    return m->key_in_dsig ? ds_esp_dsig_context(c->key, c->key_len, &c->dsig) : DS_STATUS_OK;
}

ds_status ds_esp_credentials_make(ds_esp *p, const ds_publish *m, ds_esp_credentials *ret)
{
    ds_esp_credentials c = {0};
    ds_status s = make_ca(p, &c.ca);
    if (s == DS_STATUS_OK)
        s = make_chain(m->chain, m->chain_len, &c.chain);
    if (s == DS_STATUS_OK)
        s = copy_key(m, &c);
    if (s == DS_STATUS_OK)
        *ret = c;
    else
        ds_esp_credentials_free(&c);
    return s;
}

void ds_esp_credentials_free(ds_esp_credentials *c)
{
    if (c->key != NULL)
        mbedtls_platform_zeroize(c->key, c->key_len);
    free(c->dsig);
    free(c->key);
    free(c->chain);
    free(c->ca);
    *c = (ds_esp_credentials){0};
}

// A length of 0 says PEM.
void ds_esp_credentials_apply(const ds_esp_credentials *c, esp_mqtt_client_config_t *config)
{
    config->broker.verification.certificate = c->ca;
    config->credentials.authentication.certificate = c->chain;
    if (c->dsig != NULL) {
        config->credentials.authentication.ds_data = c->dsig;
        return;
    }
    config->credentials.authentication.key = (const char *)c->key;
    config->credentials.authentication.key_len = c->key_len;
}
