// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The bundle's bytes; see bundle.h.
#include "src/signer/bundle.h"

#include "src/base/file.h"
#include "src/esp/sbv2.h"
#include "src/pki/key.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <string.h>

// docs/bundle.md: magic, format, length of the manifest; manifest; parts; number of signatures; signatures.
static const char magic[8] = "DSBUNDLE";
enum { FORMAT = 1, HEAD = 16, SIGNATURE_HEAD = 8 };
enum { BUNDLE_MAX = 96 << 20 };

const char *ds_bundle_role_name(enum ds_bundle_role role)
{
    return role == DS_ROLE_RELEASE ? "release" : role == DS_ROLE_APPROVAL ? "approval" : "";
}

void ds_bundle_free(ds_bundle *b)
{
    ds_buf_free(&b->bytes);
    *b = (ds_bundle){.count = 0};
}

static void put_head(ds_buf *ret, size_t manifest_len)
{
    ds_buf_add(ret, magic, sizeof magic);
    ds_buf_add_le32(ret, FORMAT);
    ds_buf_add_le32(ret, (uint32_t)manifest_len);
}

enum ds_class ds_bundle_make(ds_manifest *m, const ds_view parts[DS_BUNDLE_PARTS], ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    for (int i = 0; i < DS_BUNDLE_PARTS; i++) {
        if (parts[i].len > DS_BUNDLE_PART_MAX)
            return ds_fail(e, DS_INPUT, "%s: longer than %d bytes", ds_bundle_part_name((enum ds_bundle_part)i),
                           DS_BUNDLE_PART_MAX);
        m->parts[i].size = (uint32_t)parts[i].len;
        SHA256(parts[i].ptr ? parts[i].ptr : (const uint8_t *)"", parts[i].len, m->parts[i].sha256);
    }
    enum ds_class rc = ds_manifest_write(m, &text, e);
    if (rc)
        return rc;
    put_head(ret, text.len);
    ds_buf_add(ret, text.ptr, text.len);
    for (int i = 0; i < DS_BUNDLE_PARTS; i++)
        if (parts[i].len)
            ds_buf_add(ret, parts[i].ptr, parts[i].len);
    ds_buf_add_le32(ret, 0);
    return DS_OK;
}

void ds_bundle_message(enum ds_bundle_role role, ds_view manifest, ds_buf *ret)
{
    static const char lead[] = "devstamp bundle ";
    const char *name = ds_bundle_role_name(role);
    ds_buf_add(ret, lead, sizeof lead - 1);
    ds_buf_add(ret, name, strlen(name) + 1);
    ds_buf_add(ret, manifest.ptr, manifest.len);
}

enum ds_class ds_bundle_check_key(EVP_PKEY *key, const ds_manifest *m, ds_err *e)
{
    uint8_t digest[32];
    enum ds_key_type type = ds_key_type_of(key);
    if (type == DS_KEY_NONE)
        return ds_fail(e, DS_INPUT, "the key is of a type that is not used here");
    if ((type != DS_KEY_RSA_3072 && type != DS_KEY_ECDSA_P256) || ds_sbv2_key_digest(key, digest, NULL))
        return DS_OK;
    for (unsigned i = 0; i < m->trusted_count; i++)
        if (memcmp(digest, m->trusted[i], 32) == 0)
            return ds_hint((ds_fail(e, DS_POLICY, "the key is the one that devices trust for secure boot"), e),
                           "sign bundles with a key of their own");
    return DS_OK;
}

// A cursor over what was not read yet.
static bool take(ds_view *rest, size_t len, ds_view *ret)
{
    if (rest->len < len)
        return false;
    *ret = (ds_view){rest->ptr, len};
    *rest = (ds_view){rest->ptr + len, rest->len - len};
    return true;
}

static enum ds_class cut_off(ds_err *e)
{
    return ds_fail(e, DS_INPUT, "not a whole bundle: it ends too early");
}

static enum ds_class parse_manifest(ds_bundle *b, ds_view *rest, ds_err *e)
{
    ds_view head;
    if (!take(rest, HEAD, &head) || memcmp(head.ptr, magic, sizeof magic) != 0)
        return ds_fail(e, DS_INPUT, "not a release bundle");
    if (ds_le32(head.ptr + 8) != FORMAT)
        return ds_hint((ds_fail(e, DS_INPUT, "bundle: its format %u is not known", ds_le32(head.ptr + 8)), e),
                       "update devstamp");
    if (ds_le32(head.ptr + 12) > DS_MANIFEST_MAX)
        return ds_fail(e, DS_INPUT, "bundle: its manifest is longer than %d bytes", DS_MANIFEST_MAX);
    if (!take(rest, ds_le32(head.ptr + 12), &b->text))
        return cut_off(e);
    SHA256(b->text.ptr, b->text.len, b->digest);
    return ds_manifest_parse(b->text, &b->manifest, e);
}

static enum ds_class parse_parts(ds_bundle *b, ds_view *rest, ds_err *e)
{
    uint8_t digest[32];
    for (int i = 0; i < DS_BUNDLE_PARTS; i++) {
        if (!b->manifest.parts[i].size)
            continue;
        if (!take(rest, b->manifest.parts[i].size, &b->parts[i]))
            return cut_off(e);
        SHA256(b->parts[i].ptr, b->parts[i].len, digest);
        if (memcmp(digest, b->manifest.parts[i].sha256, 32) != 0)
            return ds_fail(e, DS_INPUT, "%s: not what the manifest says: it was changed",
                           ds_bundle_part_name((enum ds_bundle_part)i));
    }
    return DS_OK;
}

// A key in its one encoding.
static enum ds_class read_key(ds_view der, ds_bundle_signature *s, EVP_PKEY **ret, ds_err *e)
{
    const unsigned char *p = der.ptr;
    X509_PUBKEY *spki = der.len ? d2i_X509_PUBKEY(NULL, &p, (long)der.len) : NULL;
    enum ds_class rc = DS_OK;
    if (!spki || p != der.ptr + der.len)
        rc = ds_fail(e, DS_INPUT, "the key of a signature is none");
    if (!rc)
        rc = ds_public_key_check(spki, &s->key_type, s->key_id, e);
    if (!rc) {
        *ret = X509_PUBKEY_get(spki);
        rc = *ret ? DS_OK : ds_fail(e, DS_INPUT, "the key of a signature is none");
    }
    X509_PUBKEY_free(spki);
    ERR_clear_error();
    return rc;
}

static enum ds_class check_signature(const ds_bundle *b, ds_bundle_signature *s, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf message = {0};
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    enum ds_class rc = read_key(s->key, s, &key, e);
    if (!rc)
        rc = ds_bundle_check_key(key, &b->manifest, e);
    if (rc)
        return rc;
    ds_bundle_message(s->role, b->text, &message);
    if (!ds_key_verify(key, ds_buf_view(&message), s->signature))
        return ds_fail(e, DS_INPUT, "a %s signature does not hold", ds_bundle_role_name(s->role));
    for (size_t i = 0; i < b->count; i++)
        if (b->signatures[i].role == s->role && memcmp(b->signatures[i].key_id, s->key_id, 32) == 0)
            return ds_fail(e, DS_POLICY, "the same key gave its %s twice", ds_bundle_role_name(s->role));
    return DS_OK;
}

// Role (1), zeros (3), length of the key (2), length of the signature (2), key, signature.
static enum ds_class parse_signature(ds_bundle *b, ds_view *rest, ds_err *e)
{
    ds_view head;
    ds_bundle_signature s = {.role = DS_ROLE_RELEASE};
    if (!take(rest, SIGNATURE_HEAD, &head))
        return cut_off(e);
    s.role = (enum ds_bundle_role)head.ptr[0];
    if ((s.role != DS_ROLE_RELEASE && s.role != DS_ROLE_APPROVAL) || head.ptr[1] || head.ptr[2] || head.ptr[3] ||
        ds_le16(head.ptr + 4) > DS_BUNDLE_KEY_MAX || ds_le16(head.ptr + 6) > DS_BUNDLE_SIGNATURE_MAX)
        return ds_fail(e, DS_INPUT, "a signature of a kind that is not known");
    if (!take(rest, ds_le16(head.ptr + 4), &s.key) || !take(rest, ds_le16(head.ptr + 6), &s.signature))
        return cut_off(e);
    enum ds_class rc = check_signature(b, &s, e);
    if (!rc)
        b->signatures[b->count++] = s;
    return rc;
}

static enum ds_class parse_all(ds_bundle *b, ds_err *e)
{
    ds_view rest = ds_buf_view(&b->bytes), head = {0};
    enum ds_class rc = parse_manifest(b, &rest, e);
    if (!rc)
        rc = parse_parts(b, &rest, e);
    if (!rc && !take(&rest, 4, &head))
        rc = cut_off(e);
    uint32_t count = rc ? 0 : ds_le32(head.ptr);
    if (!rc && count > DS_BUNDLE_SIGNATURES)
        rc = ds_fail(e, DS_INPUT, "more than %d signatures", DS_BUNDLE_SIGNATURES);
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = parse_signature(b, &rest, e);
    if (!rc && rest.len)
        rc = ds_fail(e, DS_INPUT, "something follows the bundle");
    return rc;
}

enum ds_class ds_bundle_parse(ds_buf *bytes, ds_bundle *ret, ds_err *e)
{
    *ret = (ds_bundle){.bytes = *bytes};
    *bytes = (ds_buf){0};
    enum ds_class rc = parse_all(ret, e);
    if (rc)
        ds_bundle_free(ret);
    return rc;
}

enum ds_class ds_bundle_read(const char *path, ds_bundle *ret, ds_err *e)
{
    ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(path, BUNDLE_MAX, &bytes, e);
    if (rc) {
        ds_buf_free(&bytes);
        return rc;
    }
    return ds_bundle_parse(&bytes, ret, e) ? ds_wrap(e, "%s", path) : DS_OK;
}

enum ds_class ds_bundle_add(ds_bundle *b, const ds_bundle_new_signature *s, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    size_t at = HEAD + b->text.len;
    ds_bundle more;
    if (b->count == DS_BUNDLE_SIGNATURES)
        return ds_fail(e, DS_POLICY, "the bundle has %d signatures already, no more fit", DS_BUNDLE_SIGNATURES);
    if (s->key.len > DS_BUNDLE_KEY_MAX || s->signature.len > DS_BUNDLE_SIGNATURE_MAX)
        return ds_fail(e, DS_INPUT, "key or signature is too long");
    for (int i = 0; i < DS_BUNDLE_PARTS; i++)
        at += b->manifest.parts[i].size;
    ds_buf_add(&bytes, b->bytes.ptr, b->bytes.len);
    ds_put_le32(bytes.ptr + at, (uint32_t)b->count + 1);
    ds_buf_add_le32(&bytes, (uint32_t)s->role);
    ds_buf_add_le16(&bytes, (uint16_t)s->key.len);
    ds_buf_add_le16(&bytes, (uint16_t)s->signature.len);
    ds_buf_add(&bytes, s->key.ptr, s->key.len);
    ds_buf_add(&bytes, s->signature.ptr, s->signature.len);
    enum ds_class rc = ds_bundle_parse(&bytes, &more, e);
    if (rc)
        return rc;
    ds_bundle_free(b);
    *b = more;
    return DS_OK;
}
