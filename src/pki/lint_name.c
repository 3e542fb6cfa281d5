// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint of names: distinguished names (RFC 5280, 4.1.2.4, 4.1.2.6, appendix A.1) and alternative ones (4.2.1.6).
#include "src/pki/lint_int.h"

#include <ctype.h>
#include <string.h>

#define OTHER_NAME_HARDWARE "\x2b\x06\x01\x05\x05\x07\x08\x04"
#define A1 "RFC 5280, A.1"

enum string_kind { ANY_STRING, PRINTABLE_ONLY, IA5_ONLY };
static const struct attribute {
    const char *oid;
    size_t len;
    const char *name;
    size_t max;
    enum string_kind kind;
} attributes[] = {
#define ATTRIBUTE(oid, name, max, kind)       \
    {                                         \
        oid, sizeof(oid) - 1, name, max, kind \
    }
    ATTRIBUTE("\x55\x04\x03", "CN", 64, ANY_STRING),
    ATTRIBUTE("\x55\x04\x04", "SN", 32768, ANY_STRING),
    ATTRIBUTE("\x55\x04\x05", "serialNumber", 64, PRINTABLE_ONLY),
    ATTRIBUTE("\x55\x04\x06", "C", 2, PRINTABLE_ONLY),
    ATTRIBUTE("\x55\x04\x07", "L", 128, ANY_STRING),
    ATTRIBUTE("\x55\x04\x08", "ST", 128, ANY_STRING),
    ATTRIBUTE("\x55\x04\x0a", "O", 64, ANY_STRING),
    ATTRIBUTE("\x55\x04\x0b", "OU", 64, ANY_STRING),
    ATTRIBUTE("\x55\x04\x0c", "title", 64, ANY_STRING),
    ATTRIBUTE("\x55\x04\x2a", "GN", 32768, ANY_STRING),
    ATTRIBUTE("\x55\x04\x2e", "dnQualifier", 32768, PRINTABLE_ONLY),
    ATTRIBUTE("\x55\x04\x41", "pseudonym", 128, ANY_STRING),
    ATTRIBUTE("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "DC", 63, IA5_ONLY),
    ATTRIBUTE("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "emailAddress", 255, IA5_ONLY),
};

static const struct attribute *attribute_of(ds_view oid)
{
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (ds_oid_is(oid, attributes[i].oid, attributes[i].len))
            return &attributes[i];
    return NULL;
}

static bool is_printable(ds_view s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!s.ptr[i] || (!(s.ptr[i] < 0x80 && isalnum(s.ptr[i])) && !strchr(" '()+,-./:=?", s.ptr[i])))
            return false;
    return true;
}

// The length of the UTF-8 character at the beginning of s in its one shortest form (RFC 3629); 0 where there is none.
static size_t utf8_character(ds_view s)
{
    const uint8_t *p = s.ptr;
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 4;
    if ((len == 4 && (p[0] < 0xf0 || p[0] > 0xf4)) || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90);
    return overlong || beyond ? 0 : len;
}

static bool count_utf8(ds_view s, size_t *ret)
{
    *ret = 0;
    while (s.len) {
        size_t len = utf8_character(s);
        if (len == 0)
            return false;
        s = (ds_view){s.ptr + len, s.len - len};
        ++*ret;
    }
    return true;
}

static bool is_ia5(ds_view s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] >= 0x80)
            return false;
    return true;
}

static bool has_control(ds_view s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return true;
    return false;
}

// The string's type, its characters and how many they are.
static void check_string(ds_linting *l, const char *what, const struct attribute *a, const ds_tlv *value)
{
    size_t characters = value->body.len;
    const char *name = a ? a->name : "an attribute";
    bool good = true;
    if (value->tag == DS_TLV_PRINTABLE)
        good = is_printable(value->body);
    else if (value->tag == DS_TLV_UTF8)
        good = count_utf8(value->body, &characters);
    else if (value->tag == DS_TLV_IA5)
        good = is_ia5(value->body);
    if (!good)
        ERROR("X.680, 41", "%s: %s holds characters that its string type does not have", what, name);
    if (has_control(value->body))
        ERROR("X.520, 6", "%s: %s holds a control character", what, name);
    if (value->body.len == 0)
        ERROR(A1, "%s: %s is empty", what, name);
    if (!a)
        return;
    if (a->kind == PRINTABLE_ONLY && value->tag != DS_TLV_PRINTABLE)
        ERROR(A1, "%s: %s is no PrintableString", what, name);
    else if (a->kind == IA5_ONLY && value->tag != DS_TLV_IA5)
        ERROR(A1, "%s: %s is no IA5String", what, name);
    else if (a->kind == ANY_STRING && value->tag != DS_TLV_PRINTABLE && value->tag != DS_TLV_UTF8)
        ERROR("RFC 5280, 4.1.2.4", "%s: %s is neither PrintableString nor UTF8String", what, name);
    if (characters > a->max)
        ERROR(A1, "%s: %s has %zu characters, more than %zu", what, name, characters, a->max);
    if (strcmp(name, "C") == 0 && characters != 2)
        ERROR(A1, "%s: C is not two letters", what);
    if (strcmp(name, "emailAddress") == 0)
        NOTE("RFC 5280, 4.1.2.6", "%s: emailAddress belongs into the alternative names", what);
}

// One RDN; *seen gathers the attributes met before.
static void check_rdn(ds_linting *l, const char *what, ds_view set, unsigned *seen, bool *ret_serial)
{
    ds_view pair, oid, before = {0};
    ds_tlv value, whole = {0};
    if (set.len == 0)
        ERROR("X.501, 9.3", "%s: an RDN without attribute", what);
    for (size_t n = 0; set.len; n++) {
        ds_view at = set;
        (void)ds_tlv_next(&at, &whole);
        if (!ds_tlv_take(&set, DS_TLV_SEQUENCE, &pair) || !ds_tlv_take(&pair, DS_TLV_OID, &oid) ||
            !ds_tlv_next(&pair, &value) || pair.len) {
            ERROR("RFC 5280, 4.1.2.4", "%s: an RDN that cannot be read", what);
            return;
        }
        if (n && memcmp(before.ptr, whole.whole.ptr, before.len < whole.whole.len ? before.len : whole.whole.len) > 0)
            ERROR("X.690, 11.6", "%s: the attributes of an RDN are not in order", what);
        if (n == 1)
            NOTE("RFC 5280, 4.1.2.4", "%s: an RDN of more than one attribute, which many programs misread", what);
        before = whole.whole;
        const struct attribute *a = attribute_of(oid);
        check_string(l, what, a, &value);
        if (!a)
            continue;
        unsigned bit = 1u << (a - attributes);
        if (*seen & bit && strcmp(a->name, "OU") != 0 && strcmp(a->name, "DC") != 0)
            WARNING("RFC 5280, 4.1.2.6", "%s: %s stands there twice", what, a->name);
        *seen |= bit;
        if (ret_serial && strcmp(a->name, "serialNumber") == 0)
            *ret_serial = true;
    }
}

void ds_lint_name(ds_linting *l, const char *what, ds_view rdns, bool *ret_serial)
{
    unsigned seen = 0;
    ds_view set;
    while (rdns.len) {
        if (!ds_tlv_take(&rdns, DS_TLV_SET, &set)) {
            ERROR("RFC 5280, 4.1.2.4", "the %s's name is no list of RDNs", what);
            return;
        }
        check_rdn(l, what, set, &seen, ret_serial);
    }
}

static bool is_label(const uint8_t *p, size_t len)
{
    if (len == 0 || len > 63 || p[0] == '-' || p[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!(p[i] < 0x80 && isalnum(p[i])) && p[i] != '-')
            return false;
    return true;
}

static bool is_dns(ds_view s)
{
    if (s.len == 0 || s.len > 253)
        return false;
    size_t begin = s.len > 2 && s.ptr[0] == '*' && s.ptr[1] == '.' ? 2 : 0;
    for (size_t i = begin; i <= s.len; i++) {
        if (i < s.len && s.ptr[i] != '.')
            continue;
        if (!is_label(s.ptr + begin, i - begin))
            return false;
        begin = i + 1;
    }
    return true;
}

// Absolute, with a scheme and something behind it, in the characters of RFC 3986; an authority names a host.
static bool is_uri(ds_view s)
{
    size_t scheme = 0;
    while (scheme < s.len && s.ptr[scheme] < 0x80 &&
           (isalnum(s.ptr[scheme]) || (s.ptr[scheme] && strchr("+-.", s.ptr[scheme]))))
        scheme++;
    if (scheme == 0 || !isalpha(s.ptr[0]) || scheme + 1 >= s.len || s.ptr[scheme] != ':')
        return false;
    for (size_t i = scheme + 1; i < s.len; i++) {
        if (s.ptr[i] == '%' && (s.len - i < 3 || !isxdigit(s.ptr[i + 1]) || !isxdigit(s.ptr[i + 2])))
            return false;
        if (!s.ptr[i] || (!(s.ptr[i] < 0x80 && isalnum(s.ptr[i])) && !strchr("-._~:/?#[]@!$&'()*+,;=%", s.ptr[i])))
            return false;
    }
    const uint8_t *after = s.ptr + scheme + 1;
    size_t len = s.len - scheme - 1;
    return len < 2 || memcmp(after, "//", 2) != 0 || (len > 2 && !strchr("/?#", after[2]));
}

static bool is_email(ds_view s)
{
    const uint8_t *at = memchr(s.ptr, '@', s.len);
    return at && at > s.ptr && is_ia5(s) && !has_control(s) && !memchr(s.ptr, ' ', s.len) &&
           is_dns((ds_view){at + 1, s.len - (size_t)(at - s.ptr) - 1});
}

// [0] { type, [0] value }; of the types only RFC 4108's HardwareModuleName is looked into: { hwType, hwSerialNum }.
static void check_other_name(ds_linting *l, const char *what, ds_view name)
{
    ds_view oid, value, pair, type, serial;
    if (!ds_tlv_take(&name, DS_TLV_OID, &oid) || !ds_tlv_take(&name, DS_TLV_CONTEXT | DS_TLV_CONSTRUCTED, &value) ||
        name.len) {
        ERROR("RFC 5280, 4.2.1.6", "%s: an otherName that cannot be read", what);
        return;
    }
    if (!OID_IS(oid, OTHER_NAME_HARDWARE))
        return;
    if (!ds_tlv_take(&value, DS_TLV_SEQUENCE, &pair) || value.len || !ds_tlv_take(&pair, DS_TLV_OID, &type) ||
        !ds_tlv_take(&pair, DS_TLV_OCTET_STRING, &serial) || pair.len || serial.len == 0)
        ERROR("RFC 4108, 5", "%s: the hardwareModuleName is not made of a type and a serial number", what);
    else
        l->hardware_name = true;
}

static void check_general_name(ds_linting *l, const char *what, const ds_tlv *name)
{
    static const char clause[] = "RFC 5280, 4.2.1.6";
    int len = (int)(name->body.len < 60 ? name->body.len : 60);
    const char *text = (const char *)name->body.ptr;
    if (name->tag >= 0x81 && name->tag <= 0x86 && has_control(name->body))
        ERROR(clause, "%s: a name holds a control character", what);
    else if (name->tag == 0xa0)
        check_other_name(l, what, name->body);
    else if (name->tag == 0x81 && !is_email(name->body))
        ERROR(clause, "%s: \"%.*s\" is no mailbox", what, len, text);
    else if (name->tag == 0x82 && !is_dns(name->body))
        ERROR("RFC 1034, 3.5", "%s: \"%.*s\" is no DNS name", what, len, text);
    else if (name->tag == 0x82 && name->body.ptr[0] == '*')
        WARNING(clause, "%s: what \"%.*s\" means is not fixed by RFC 5280", what, len, text);
    else if (name->tag == 0x86 && !is_uri(name->body))
        ERROR(clause, "%s: \"%.*s\" is no absolute URI", what, len, text);
    else if (name->tag == 0x87 && name->body.len != 4 && name->body.len != 16)
        ERROR(clause, "%s: an IP address of %zu octets", what, name->body.len);
    else if (name->tag != 0x81 && name->tag != 0x82 && name->tag != 0x86 && name->tag != 0x87 && name->tag != 0xa4 &&
             name->tag != 0x88)
        ERROR(clause, "%s: a name of a kind that there is not", what);
}

void ds_lint_general_names(ds_linting *l, const char *what, ds_view names)
{
    ds_tlv name, other;
    if (names.len == 0)
        ERROR("RFC 5280, 4.2.1.6", "%s is empty", what);
    while (names.len && ds_tlv_next(&names, &name)) {
        check_general_name(l, what, &name);
        for (ds_view rest = names; rest.len && ds_tlv_next(&rest, &other);)
            if (ds_view_equal(name.whole, other.whole))
                WARNING("RFC 5280, 4.2.1.6", "%s holds a name twice", what);
    }
}
