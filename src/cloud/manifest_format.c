// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Manifests as others want them; see manifest.h. Sources: AWS IoT Core Developer Guide, "Bulk registration" (one JSON
// object a line, with the parameters of the provisioning template); Azure DPS REST, "Individual Enrollment - Run Bulk
// Operation" (at most 10 enrollments in one body) and "Registration ID"; RFC 4180 for CSV.
#include "src/cloud/manifest.h"

#include "src/pki/cert.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { AZURE_AT_ONCE = 10 };

enum ds_manifest_format ds_manifest_format_parse(const char *name)
{
    static const char *const names[DS_FORMATS] = {"aws", "azure", "csv", "json"};
    int f = 0;
    while (f < DS_FORMATS && strcmp(names[f], name) != 0)
        f++;
    return (enum ds_manifest_format)f;
}

// As text with its terminating zero; the caller frees.
static enum ds_class pem_of(ds_view der, char **ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf pem = {0};
    DS_CLEANUP_X509 X509 *x = NULL;
    enum ds_class rc = ds_cert_parse(der, &x, e);
    if (!rc)
        rc = ds_cert_pem(x, &pem, e);
    if (!rc)
        *ret = ds_asprintf("%.*s", (int)pem.len, (const char *)pem.ptr);
    return rc;
}

static enum ds_class put_json(FILE *out, json_t *o, ds_err *e)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    if (!text)
        return ds_fail(e, DS_INPUT, "a text of the device is not UTF-8");
    (void)fputs(text, out); // a failure stays with the stream
    free(text);
    return DS_OK;
}

static enum ds_class put_aws(ds_manifest_printer *p, const ds_listed *d, const char *pem, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf ca = {0};
    if (p->ca && !p->ca_pem) {
        if (ds_cert_pem(p->ca, &ca, e))
            return e ? e->cls : DS_INPUT;
        p->ca_pem = ds_asprintf("%.*s", (int)ca.len, (const char *)ca.ptr);
    }
    json_t *o = json_pack("{s:s,s:s,s:s,s:s}", "ThingName", d->serial, "SerialNumber", d->serial, "Product", d->product,
                          "CertificatePem", pem);
    if (o && p->ca_pem)
        json_object_set_new(o, "CACertificatePem", json_string(p->ca_pem));
    enum ds_class rc = put_json(p->out, o, e);
    (void)fputc('\n', p->out);
    return rc;
}

// A registration id: up to 128 of letters, digits, - . _ : and not . _ : at the end.
static bool is_registration_id(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && (isalnum((unsigned char)text[len - 1]) || text[len - 1] == '-');
}

static enum ds_class put_azure(ds_manifest_printer *p, const ds_listed *d, const char *pem, ds_err *e)
{
    if (!is_registration_id(d->serial))
        return ds_fail(e, DS_INPUT, "device %s: a registration id at Azure ends with a letter, a digit or '-'",
                       d->serial);
    (void)fputs(p->count % AZURE_AT_ONCE ? "," : "{\"enrollments\":[", p->out);
    enum ds_class rc = put_json(p->out,
                                json_pack("{s:s,s:s,s:s,s:{s:s,s:{s:{s:{s:s}}}}}", "registrationId", d->serial,
                                          "deviceId", d->serial, "provisioningStatus", "enabled", "attestation", "type",
                                          "x509", "x509", "clientCertificates", "primary", "certificate", pem),
                                e);
    if ((p->count + 1) % AZURE_AT_ONCE == 0)
        (void)fputs("],\"mode\":\"create\"}\n", p->out);
    return rc;
}

static void put_field(FILE *out, const char *text, char after)
{
    bool quoted = text[strcspn(text, ",\"\r\n")] != '\0';
    if (quoted)
        (void)fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            (void)fputc('"', out);
        (void)fputc(*c, out);
    }
    if (quoted)
        (void)fputc('"', out);
    (void)fputc(after, out);
}

static void put_csv(ds_manifest_printer *p, const ds_listed *d)
{
    char hex[65];
    DS_CLEANUP_FREE char *base64 = ds_alloc(d->certificate.len / 3 * 4 + 5);
    ds_hex(d->fingerprint, 32, hex);
    EVP_EncodeBlock((unsigned char *)base64, d->certificate.ptr, (int)d->certificate.len);
    if (p->count == 0)
        (void)fputs("serial,product,fingerprint,certificate\r\n", p->out);
    put_field(p->out, d->serial, ',');
    put_field(p->out, d->product, ',');
    put_field(p->out, hex, ',');
    (void)fprintf(p->out, "%s\r\n", base64);
}

static enum ds_class put_plain(ds_manifest_printer *p, const ds_listed *d, const char *pem, ds_err *e)
{
    char hex[65];
    ds_hex(d->fingerprint, 32, hex);
    (void)fputs(p->count ? ",\n" : "[\n", p->out);
    return put_json(p->out,
                    json_pack("{s:s,s:s,s:s,s:s}", "serial", d->serial, "product", d->product, "fingerprint", hex,
                              "certificate", pem),
                    e);
}

enum ds_class ds_manifest_print(ds_manifest_printer *p, const ds_listed *d, ds_err *e)
{
    DS_CLEANUP_FREE char *pem = NULL;
    enum ds_class rc = DS_OK;
    if (p->format != DS_FORMAT_CSV)
        rc = pem_of(ds_buf_view(&d->certificate), &pem, e);
    if (rc)
        return ds_wrap(e, "device %s", d->serial);
    switch (p->format) {
    case DS_FORMAT_AWS:
        rc = put_aws(p, d, pem, e);
        break;
    case DS_FORMAT_AZURE:
        rc = put_azure(p, d, pem, e);
        break;
    case DS_FORMAT_CSV:
        put_csv(p, d);
        break;
    case DS_FORMAT_JSON:
    case DS_FORMATS:
    default:
        rc = put_plain(p, d, pem, e);
    }
    p->count++;
    return rc;
}

enum ds_class ds_manifest_print_end(ds_manifest_printer *p, ds_err *e)
{
    free(p->ca_pem);
    p->ca_pem = NULL;
    if (p->format == DS_FORMAT_AZURE && p->count % AZURE_AT_ONCE)
        (void)fputs("],\"mode\":\"create\"}\n", p->out);
    if (p->format == DS_FORMAT_JSON)
        (void)fputs(p->count ? "\n]\n" : "[]\n", p->out);
    if (fflush(p->out) != 0 || ferror(p->out))
        return ds_fail_errno(e, DS_STORE, errno, "the list could not be written");
    return DS_OK;
}
