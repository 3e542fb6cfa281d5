// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Distinguished names; see dn.h.
#include "src/pki/dn.h"

#include <openssl/obj_mac.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TEXT_MAX = 255 };

static const struct attribute {
    const char *name;
    int nid;
} attributes[] = {
    {"CN", NID_commonName},
    {"O", NID_organizationName},
    {"OU", NID_organizationalUnitName},
    {"C", NID_countryName},
    {"ST", NID_stateOrProvinceName},
    {"L", NID_localityName},
    {"serialNumber", NID_serialNumber},
    {"DC", NID_domainComponent},
    {"title", NID_title},
    {"dnQualifier", NID_dnQualifier},
    {"SN", NID_surname},
    {"GN", NID_givenName},
    {"emailAddress", NID_pkcs9_emailAddress},
};
enum { ATTRIBUTES = sizeof attributes / sizeof *attributes };

static const struct attribute *by_name(const char *name, size_t len)
{
    for (size_t i = 0; i < ATTRIBUTES; i++)
        if (strlen(attributes[i].name) == len && strncasecmp(attributes[i].name, name, len) == 0)
            return &attributes[i];
    return NULL;
}

static const struct attribute *by_nid(int nid)
{
    for (size_t i = 0; i < ATTRIBUTES; i++)
        if (attributes[i].nid == nid)
            return &attributes[i];
    return NULL;
}

// One escaped character after a backslash: a special itself, or two hex digits. NULL where it is neither.
static const char *unescape(const char *p, char *ret)
{
    if (*p && strchr(" \"#+,;<=>\\", *p)) {
        *ret = *p;
        return p + 1;
    }
    uint8_t byte;
    char pair[3] = {p[0], p[0] ? p[1] : '\0', '\0'};
    if (!ds_unhex(pair, &byte, 1) || byte == 0)
        return NULL;
    *ret = (char)byte;
    return p + 2;
}

// Read a value up to an unescaped ',' or the end; spaces around it that are not escaped do not belong to it.
static const char *read_value(const char *p, char *value, ds_err *e)
{
    size_t len = 0, keep = 0;
    while (*p == ' ')
        p++;
    if (*p == '#') {
        (void)ds_fail(e, DS_INPUT, "hexadecimal values are not supported");
        return NULL;
    }
    while (*p && *p != ',') {
        if (*p == '\\') {
            p = unescape(p + 1, &value[len++]);
            keep = len;
            if (!p) {
                (void)ds_fail(e, DS_INPUT, "bad escape");
                return NULL;
            }
            continue;
        }
        if (strchr("+\";<>", *p) || (unsigned char)*p < 0x20 || *p == 0x7f) {
            (void)ds_fail(e, DS_INPUT, "a character that must be escaped");
            return NULL;
        }
        value[len++] = *p++;
        if (value[len - 1] != ' ')
            keep = len;
    }
    value[keep] = '\0';
    return p;
}

static enum ds_class add_entry(X509_NAME *name, const struct attribute *a, const char *value, ds_err *e)
{
    if (!*value)
        return ds_fail(e, DS_INPUT, "%s is empty", a->name);
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return ds_fail(e, DS_INPUT, "%s holds a control character", a->name);
    if (X509_NAME_add_entry_by_NID(name, a->nid, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) != 1)
        return ds_ossl_fail(e, DS_INPUT, "%s=%.64s", a->name, value);
    return DS_OK;
}

static enum ds_class parse_into(X509_NAME *name, const char *p, ds_err *e)
{
    char value[TEXT_MAX + 1];
    for (;;) {
        while (*p == ' ')
            p++;
        const char *equal = strchr(p, '=');
        const struct attribute *a = equal ? by_name(p, (size_t)(equal - p)) : NULL;
        if (!a)
            return ds_fail(e, DS_INPUT, "unknown attribute at \"%.20s\"", p);
        p = read_value(equal + 1, value, e);
        if (!p)
            return ds_wrap(e, "%s", a->name);
        if (add_entry(name, a, value, e))
            return DS_INPUT;
        if (!*p)
            return DS_OK;
        p++;
    }
}

enum ds_class ds_dn_parse(const char *text, X509_NAME **ret, ds_err *e)
{
    if (strlen(text) > TEXT_MAX)
        return ds_fail(e, DS_INPUT, "subject is longer than %d bytes", TEXT_MAX);
    DS_CLEANUP_NAME X509_NAME *name = X509_NAME_new();
    if (!name)
        return ds_ossl_fail(e, DS_INTERNAL, "subject");
    if (parse_into(name, text, e))
        return ds_wrap(e, "subject \"%.100s\"", text);
    *ret = name;
    name = NULL;
    return DS_OK;
}

// Append value with RFC 4514's escapes.
static void add_escaped(ds_buf *out, const uint8_t *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char hex[4];
        bool edge = (i == 0 && (value[i] == ' ' || value[i] == '#')) || (i == len - 1 && value[i] == ' ');
        if (value[i] < 0x20 || value[i] == 0x7f) {
            snprintf(hex, sizeof hex, "\\%02X", value[i]);
            ds_buf_add(out, hex, 3);
            continue;
        }
        if (edge || strchr("\"+,;<=>\\", value[i]))
            ds_buf_add_u8(out, '\\');
        ds_buf_add_u8(out, value[i]);
    }
}

static enum ds_class add_entry_text(ds_buf *out, const X509_NAME_ENTRY *entry, ds_err *e)
{
    const struct attribute *a = by_nid(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)));
    uint8_t *value = NULL;
    int len = a ? ASN1_STRING_to_UTF8(&value, X509_NAME_ENTRY_get_data(entry)) : -1;
    enum ds_class rc = DS_OK;
    if (!a)
        rc = ds_fail(e, DS_INPUT, "the name holds an attribute that is not known");
    else if (len < 0 || memchr(value, 0, (size_t)len))
        rc = ds_fail(e, DS_INPUT, "the name's %s is not text", a->name);
    else {
        ds_buf_add(out, a->name, strlen(a->name));
        ds_buf_add_u8(out, '=');
        add_escaped(out, value, (size_t)len);
    }
    OPENSSL_free(value);
    return rc;
}

enum ds_class ds_dn_text(const X509_NAME *name, char *ret, size_t cap, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    int previous_set = -1;
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        int set = X509_NAME_ENTRY_set(entry);
        if (i > 0)
            ds_buf_add_u8(&out, set == previous_set ? '+' : ',');
        previous_set = set;
        if (add_entry_text(&out, entry, e))
            return DS_INPUT;
    }
    if (out.len >= cap)
        return ds_fail(e, DS_INPUT, "the name is longer than %zu bytes", cap - 1);
    if (out.len)
        memcpy(ret, out.ptr, out.len);
    ret[out.len] = '\0';
    return DS_OK;
}

static bool entry_equal(const X509_NAME_ENTRY *a, const X509_NAME_ENTRY *b)
{
    if (X509_NAME_ENTRY_set(a) != X509_NAME_ENTRY_set(b) ||
        OBJ_cmp(X509_NAME_ENTRY_get_object(a), X509_NAME_ENTRY_get_object(b)) != 0)
        return false;
    uint8_t *x = NULL, *y = NULL;
    int x_len = ASN1_STRING_to_UTF8(&x, X509_NAME_ENTRY_get_data(a));
    int y_len = ASN1_STRING_to_UTF8(&y, X509_NAME_ENTRY_get_data(b));
    bool same = x_len >= 0 && x_len == y_len && memcmp(x, y, (size_t)x_len) == 0;
    OPENSSL_free(x);
    OPENSSL_free(y);
    return same;
}

bool ds_dn_equal(const X509_NAME *a, const X509_NAME *b)
{
    int count = X509_NAME_entry_count(a);
    if (count != X509_NAME_entry_count(b))
        return false;
    for (int i = 0; i < count; i++)
        if (!entry_equal(X509_NAME_get_entry(a, i), X509_NAME_get_entry(b, i)))
            return false;
    return true;
}
