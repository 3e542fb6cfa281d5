// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremony protocols; see ca_protocol.h.
#include "src/cli/ca_protocol.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/cert.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 20, TRIES = 100 };

static void add(ds_buf *out, const char *text)
{
    ds_buf_add(out, text, strlen(text));
}

void ds_ca_protocol_line(ds_ca_protocol *p, const char *what, const char *fmt, ...)
{
    char value[512], line[640];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    for (int i = 0; i < len && i < (int)sizeof value - 1; i++) // names come from requests: no line of their own
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            value[i] = '?';
    snprintf(line, sizeof line, "  %-14s %s\n", what, value);
    add(&p->body, line);
}

void ds_ca_group(const uint8_t digest[32], char ret[80])
{
    char hex[65];
    ds_hex(digest, 32, hex);
    for (size_t i = 0; i < 16; i++) {
        memcpy(ret + 5 * i, hex + 4 * i, 4);
        ret[5 * i + 4] = ' ';
    }
    ret[79] = '\0';
}

static void add_digest(ds_ca_protocol *p, const char *what, const uint8_t digest[32])
{
    char text[80];
    ds_ca_group(digest, text);
    text[39] = '\0';
    ds_ca_protocol_line(p, what, "%s", text);
    ds_ca_protocol_line(p, "", "%s", text + 40);
}

enum ds_class ds_ca_protocol_cert(ds_ca_protocol *p, const char *heading, X509 *cert, ds_err *e)
{
    ds_cert_info info;
    char serial[41], from[21], to[21];
    enum ds_class rc = ds_cert_describe(cert, &info, e);
    if (rc)
        return rc;
    const ds_key_kind *kind = ds_key_kind_of(info.key_type);
    ds_hex(info.serial, info.serial_len, serial);
    ds_utc_format(info.not_before_utc, from);
    ds_utc_format(info.not_after_utc, to);
    add(&p->body, "\n");
    add(&p->body, heading);
    add(&p->body, "\n");
    ds_ca_protocol_line(p, "subject", "%s", info.subject);
    ds_ca_protocol_line(p, "issuer", "%s", info.issuer);
    ds_ca_protocol_line(p, "serial number", "%s", serial);
    ds_ca_protocol_line(p, "valid", "%s to %s", from, info.not_after_utc == DS_NO_EXPIRY ? "no expiry" : to);
    ds_ca_protocol_line(p, "key", "%s", kind ? kind->label : "of a kind not used here");
    if (info.ca && info.path_len >= 0)
        ds_ca_protocol_line(p, "path length", "%ld", info.path_len);
    add_digest(p, "certificate", info.fingerprint);
    add_digest(p, "public key", info.public_key_digest);
    return DS_OK;
}

enum ds_class ds_ca_protocol_file(ds_ca_protocol *p, const char *what, const char *path, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    uint8_t digest[32];
    enum ds_class rc = ds_file_read(path, FILE_MAX, &bytes, e);
    if (!rc && EVP_Digest(bytes.ptr, bytes.len, digest, NULL, EVP_sha256(), NULL) != 1)
        rc = ds_ossl_fail(e, DS_INTERNAL, "SHA-256");
    if (rc)
        return rc;
    ds_ca_protocol_line(p, what, "%s", path);
    add_digest(p, "SHA-256", digest);
    return DS_OK;
}

static void add_head(ds_buf *out, const ds_ca_protocol *p, const char *dir)
{
    char at[21], host[256] = "", line[1024];
    ds_utc_format(ds_utc_now(), at);
    (void)gethostname(host, sizeof host - 1);
    const struct passwd *who = getpwuid(getuid());
    DS_CLEANUP_FREE char *folder = realpath(dir, NULL);
    snprintf(
        line, sizeof line,
        "CEREMONY PROTOCOL\n\n"
        "  done           %s\n  time           %s\n  machine        %s\n  account        %s\n  folder         %s\n",
        p->title, at, host, who ? who->pw_name : "?", folder ? folder : dir);
    add(out, line);
}

// Hashes are SHA-256 in hexadecimal; the paper is what they are compared with later.
static const char foot[] =
    "\nAll fingerprints are SHA-256. Compare those on the screen with those on this paper, digit by digit.\n\n"
    "  [ ] the machine is the one named above       [ ] it was on no network (root's machine)\n"
    "  [ ] fingerprints compared                    [ ] media that carried files put away or wiped\n\n"
    "  place          ______________________________   date  ____________________\n\n"
    "  officer        ______________________________   ______________________________\n"
    "                 name                             signature\n\n"
    "  witness        ______________________________   ______________________________\n"
    "                 name                             signature\n";

enum ds_class ds_ca_protocol_write(ds_ca_protocol *p, const char *dir, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf page = {0};
    char at[21], stamp[17];
    ds_utc_format(ds_utc_now(), at);
    size_t n = 0;
    for (const char *c = at; *c; c++)
        if (*c != '-' && *c != ':' && n < sizeof stamp - 1)
            stamp[n++] = *c;
    stamp[n] = '\0';
    add_head(&page, p, dir);
    ds_buf_add(&page, p->body.ptr, p->body.len);
    add(&page, foot);
    ds_buf_free(&p->body);
    for (int i = 1; i <= TRIES; i++) {
        DS_CLEANUP_FREE char *path = i == 1 ? ds_asprintf("%s/ceremony-%s-%s.txt", dir, stamp, p->step)
                                            : ds_asprintf("%s/ceremony-%s-%s-%d.txt", dir, stamp, p->step, i);
        if (access(path, F_OK) == 0)
            continue;
        enum ds_class rc = ds_file_write(path, ds_buf_view(&page), 0644, e);
        if (!rc)
            printf("protocol to print and sign: %s\n", path);
        return rc ? ds_wrap(e, "ceremony protocol") : DS_OK;
    }
    return ds_fail(e, DS_STORE, "too many ceremony protocols of the same second in %s", dir);
}
