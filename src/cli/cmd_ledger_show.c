// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ledger show: one device, in plain words or as JSON; and the texts the verb's other parts share.
#include "src/cli/cli.h"
#include "src/cli/cmd_ledger.h"
#include "src/base/clock.h"
#include "src/base/secret.h"
#include "src/esp/chip.h"
#include "src/pki/cert.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ds_ledger_time_text(int64_t utc, char ret[21])
{
    if (!utc)
        return "-";
    ds_utc_format(utc, ret);
    return ret;
}

const char *ds_ledger_chip_text(uint16_t chip_id)
{
    const ds_chip *chip = ds_platform_by_id(chip_id);
    return chip ? chip->title : "unknown";
}

bool ds_ledger_can_lock(const ds_ledger_device *d)
{
    return d->chip_id != DS_LEDGER_CHIP_WITHOUT_LOCK;
}

const char *ds_ledger_cert_text(const ds_ledger_cert *c)
{
    return c->revoked ? "revoked" : ds_ledger_state_name(c->state);
}

// Length of the UTF-8 sequence at p (RFC 3629), 0 where it is malformed, overlong or a surrogate.
static size_t utf8_len(const unsigned char *p)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xF0 && p[0] < 0xF8 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 0;
    if (!n || p[0] >= 0xF8)
        return 0;
    uint32_t v = p[0] & (0x7FU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3F);
    }
    bool surrogate = v >= 0xD800 && v <= 0xDFFF;
    return v < least[n] || v > 0x10FFFF || surrogate || (v >= 0x80 && v < 0xA0) ? 0 : n;
}

char *ds_ledger_clean_text(const char *text)
{
    char *clean = ds_strdup(text);
    for (size_t i = 0; clean[i];) {
        size_t n = utf8_len((const unsigned char *)clean + i);
        if (n == 0 || (n == 1 && ((unsigned char)clean[i] < 0x20 || clean[i] == 0x7F))) {
            clean[i] = '?';
            n = 1;
        }
        i += n;
    }
    return clean;
}

static void set_text(json_t *o, const char *key, const char *text)
{
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(text);
    json_object_set_new(o, key, clean[0] ? json_string(clean) : json_null());
}

static void set_time(json_t *o, const char *key, int64_t utc)
{
    char text[21];
    json_object_set_new(o, key, utc ? json_string(ds_ledger_time_text(utc, text)) : json_null());
}

void ds_ledger_serial_text(const ds_ledger_cert *c, char ret[41])
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_cert_info info;
    ret[0] = '\0';
    if (!c->elsewhere)
        ds_hex(c->serial, sizeof c->serial, ret);
    else if (c->certificate.len && !ds_cert_parse(ds_buf_view(&c->certificate), &cert, NULL) &&
             !ds_cert_describe(cert, &info, NULL))
        ds_hex(info.serial, info.serial_len, ret);
}

static json_t *cert_json(const ds_ledger_cert *c)
{
    char hex[65];
    json_t *o = json_object();
    json_object_set_new(o, "state", json_string(ds_ledger_cert_text(c)));
    ds_ledger_serial_text(c, hex);
    set_text(o, "serial", hex);
    json_object_set_new(o, "elsewhere", json_boolean(c->elsewhere));
    ds_hex(c->public_key_digest, sizeof c->public_key_digest, hex);
    set_text(o, "public_key_sha256", hex);
    ds_hex(c->fingerprint, sizeof c->fingerprint, hex);
    set_text(o, "fingerprint", c->certificate.len ? hex : "");
    set_text(o, "subject", c->subject);
    set_time(o, "not_before", c->not_before_utc);
    set_time(o, "not_after", c->not_after_utc);
    set_time(o, "reserved_at", c->reserved_utc);
    set_time(o, "signed_at", c->signed_utc);
    set_time(o, "installed_at", c->installed_utc);
    set_time(o, "registered_at", c->registered_utc);
    return o;
}

json_t *ds_ledger_row_json(const ds_ledger_device *d, const ds_ledger_cert *c, bool secrets)
{
    char mac[18];
    json_t *o = json_object();
    ds_ledger_mac_text(d->mac, mac);
    set_text(o, "serial", d->serial);
    set_text(o, "mac", mac);
    set_text(o, "chip", ds_ledger_chip_text(d->chip_id));
    set_text(o, "product", d->product);
    set_text(o, "stage", d->stage);
    json_object_set_new(o, "locked", json_boolean(d->locked));
    json_object_set_new(o, "can_lock", json_boolean(ds_ledger_can_lock(d)));
    json_object_set_new(o, "has_pop", json_boolean(d->pop[0]));
    if (secrets)
        set_text(o, "pop", d->pop);
    set_time(o, "first_seen", d->first_seen_utc);
    set_time(o, "last_seen", d->last_seen_utc);
    json_object_set_new(o, "certificate", c->state ? cert_json(c) : json_null());
    return o;
}

// RFC 7468.
static char *pem_of(const ds_buf *der)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    static const char head[] = "-----BEGIN CERTIFICATE-----\n", tail[] = "-----END CERTIFICATE-----\n";
    ds_buf_add(&out, head, sizeof head - 1);
    for (size_t off = 0; off < der->len; off += 48) {
        unsigned char line[65];
        size_t len = der->len - off < 48 ? der->len - off : 48;
        int n = EVP_EncodeBlock(line, der->ptr + off, (int)len);
        ds_buf_add(&out, line, (size_t)n);
        ds_buf_add_u8(&out, '\n');
    }
    ds_buf_add(&out, tail, sizeof tail);
    return ds_strdup((const char *)out.ptr);
}

static bool event_json(void *arg, int64_t at_utc, const char *kind, const char *text)
{
    json_t *o = json_object();
    set_time(o, "at", at_utc);
    set_text(o, "kind", kind);
    set_text(o, "text", text);
    return json_array_append_new(arg, o) == 0;
}

// Who made the key of its certificate; "" where it has none.
static enum ds_class key_origin(ds_ledger *l, const ds_ledger_device *d, const ds_ledger_cert *c, char ret[16],
                                ds_err *e)
{
    ret[0] = '\0';
    enum ds_class rc = c->state ? ds_ledger_key_origin(l, d->id, c->public_key_digest, ret, e) : DS_OK;
    if (!rc && c->state && !ret[0])
        snprintf(ret, 16, "device");
    return rc;
}

static enum ds_class show_json(ds_ledger *l, const ds_ledger_options *o, const ds_ledger_device *d,
                               const ds_ledger_cert *c, const ds_buf *proof, ds_err *e)
{
    json_t *out = ds_ledger_row_json(d, c, o->secrets), *events = json_array();
    enum ds_class rc = ds_ledger_events(l, d->id, event_json, events, e);
    json_object_set_new(out, "events", events);
    char origin[16] = "";
    if (!rc)
        rc = key_origin(l, d, c, origin, e);
    set_text(out, "key_origin", origin);
    json_t *parsed = proof->len ? json_loadb((const char *)proof->ptr, proof->len, JSON_DECODE_ANY, NULL) : NULL;
    json_object_set_new(out, "proof", parsed ? parsed : json_null());
    if (o->pem && c->certificate.len) {
        DS_CLEANUP_FREE char *pem = pem_of(&c->certificate);
        json_object_set_new(out, "certificate_pem", json_string(pem));
    }
    if (!rc) {
        json_dumpf(out, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
    }
    json_decref(out);
    return rc;
}

static void print_field(const char *name, const char *text)
{
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(text);
    printf("%-20s %s\n", name, clean[0] ? clean : "-");
}

static void print_time(const char *name, int64_t utc)
{
    char text[21];
    print_field(name, ds_ledger_time_text(utc, text));
}

static void print_cert(const ds_ledger_cert *c)
{
    char hex[65];
    print_field("certificate", ds_ledger_cert_text(c));
    if (!c->state)
        return;
    print_field("  subject", c->subject);
    ds_ledger_serial_text(c, hex);
    print_field("  serial number", c->elsewhere && !hex[0] ? "its CA chooses it" : hex);
    ds_hex(c->fingerprint, sizeof c->fingerprint, hex);
    print_field("  fingerprint", c->certificate.len ? hex : "");
    ds_hex(c->public_key_digest, sizeof c->public_key_digest, hex);
    print_field("  public key", hex);
    print_time("  valid from", c->not_before_utc);
    print_time("  valid until", c->not_after_utc);
    print_time("  reserved", c->reserved_utc);
    print_time("  signed", c->signed_utc);
    print_time("  installed", c->installed_utc);
    print_time("  registered", c->registered_utc);
}

static bool print_event(void *arg, int64_t at_utc, const char *kind, const char *text)
{
    char at[21];
    DS_CLEANUP_FREE char *clean_kind = ds_ledger_clean_text(kind);
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(text);
    (void)arg;
    printf("  %s  %-18s %s\n", ds_ledger_time_text(at_utc, at), clean_kind, clean);
    return true;
}

// What the device signed of where its keys are; nothing where it was not proved, or by older firmware.
static void print_protection(const ds_buf *proof)
{
    json_t *p = proof->len ? json_loadb((const char *)proof->ptr, proof->len, 0, NULL) : NULL;
    const char *key = json_string_value(json_object_get(json_object_get(p, "key_protection"), "seen"));
    const char *nvs = json_string_value(json_object_get(json_object_get(p, "nvs_keys"), "seen"));
    if (key)
        print_field("private key", strcmp(key, "ds") == 0 ? "in the digital-signature peripheral" : "in encrypted NVS");
    if (nvs)
        print_field("NVS keys", strcmp(nvs, "hmac") == 0 ? "by the HMAC peripheral" : "in flash, encrypted");
    json_decref(p);
}

static enum ds_class show_text(ds_ledger *l, const ds_ledger_options *o, const ds_ledger_device *d,
                               const ds_ledger_cert *c, const ds_buf *proof, ds_err *e)
{
    char mac[18];
    ds_ledger_mac_text(d->mac, mac);
    print_field("serial number", d->serial);
    print_field("address", mac);
    print_field("chip", ds_ledger_chip_text(d->chip_id));
    print_field("product", d->product);
    print_field("last step done", d->stage);
    print_field("locked", d->locked               ? "yes, with proof"
                          : ds_ledger_can_lock(d) ? "no"
                                                  : "no: the platform has no lock");
    print_protection(proof);
    print_field("possession secret", !d->pop[0] ? "" : o->secrets ? d->pop : "stored (--secrets prints it)");
    print_time("first seen", d->first_seen_utc);
    print_time("last seen", d->last_seen_utc);
    print_cert(c);
    char origin[16];
    enum ds_class rc = key_origin(l, d, c, origin, e);
    if (rc)
        return rc;
    print_field("key made by", origin);
    puts("events");
    rc = ds_ledger_events(l, d->id, print_event, NULL, e);
    DS_CLEANUP_FREE char *text = ds_asprintf("%.*s", (int)proof->len, proof->ptr ? (const char *)proof->ptr : "");
    print_field("proof", text);
    if (o->pem && c->certificate.len) {
        DS_CLEANUP_FREE char *pem = pem_of(&c->certificate);
        fputs(pem, stdout);
    }
    return rc;
}

int ds_ledger_cmd_show(ds_ledger *l, const ds_ledger_options *o, const char *key)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_device d;
    ds_ledger_cert c = {0};
    DS_CLEANUP_BUF ds_buf proof = {0};
    enum ds_class rc = ds_ledger_find(l, key, &d, &e);
    if (!rc)
        rc = ds_ledger_cert_newest(l, d.id, &c, &e);
    if (!rc)
        rc = ds_ledger_proof_of(l, d.id, &proof, &e);
    if (!rc)
        rc = (o->json ? show_json : show_text)(l, o, &d, &c, &proof, &e);
    ds_ledger_cert_free(&c);
    ds_wipe(&d, sizeof d);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
