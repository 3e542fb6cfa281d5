// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Orders and answers as text; see order.h.
#include "src/signer/order.h"
#include "src/signer/take.h"

#include "src/esp/image.h"
#include "src/pki/statement.h"

#include <jansson.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

static const char order_format[] = "signing order 1", answer_format[] = "signature 1";

static const char *what_name(enum ds_order_what what)
{
    static const char *const names[DS_ORDER_WHATS] = {"image", "release", "approval", "statement"};
    return (unsigned)what < DS_ORDER_WHATS ? names[what] : "";
}

void ds_order_free(ds_order *o)
{
    ds_buf_free(&o->text);
    free(o->manifest);
    *o = (ds_order){.what = DS_ORDER_IMAGE};
}

enum ds_class ds_order_of_image(ds_view image, ds_order *ret, ds_err *e)
{
    ds_order o = {.what = DS_ORDER_IMAGE};
    ds_image_info info;
    ds_sbv2_content c;
    if (ds_image_parse(image, &info, e) || ds_sbv2_measure(image, &c, e))
        return e->cls;
    const ds_chip *chip = ds_chip_by_id(info.chip_id);
    if (!chip)
        return ds_fail(e, DS_INPUT, "the image is for a chip that is not known (%u)", info.chip_id);
    if (c.blocks >= chip->digests)
        return ds_fail(e, DS_POLICY, "the image is signed, and an %s looks at no more than %u signature%s", chip->title,
                       chip->digests, chip->digests == 1 ? "" : "s");
    memcpy(o.image.digest, c.digest, 32);
    o.image.length = c.len;
    memcpy(o.image.chip, chip->name, strlen(chip->name) + 1);
    if (info.has_app_desc) {
        memcpy(o.image.project, info.app.project, sizeof o.image.project);
        memcpy(o.image.version, info.app.version, sizeof o.image.version);
        o.image.secure_version = info.app.secure_version;
    }
    *ret = o;
    return DS_OK;
}

static enum ds_class of_manifest(ds_view text, enum ds_order_what what, ds_order *ret, ds_err *e)
{
    ds_order o = {.what = what, .manifest = ds_alloc(sizeof *o.manifest)};
    ds_buf_add(&o.text, text.ptr, text.len);
    enum ds_class rc = ds_manifest_parse(text, o.manifest, e);
    if (rc)
        ds_order_free(&o);
    else
        *ret = o;
    return rc;
}

enum ds_class ds_order_of_bundle(const ds_bundle *b, enum ds_bundle_role role, ds_order *ret, ds_err *e)
{
    return of_manifest(b->text, role == DS_ROLE_RELEASE ? DS_ORDER_RELEASE : DS_ORDER_APPROVAL, ret, e);
}

enum ds_class ds_order_of_statement(ds_view text, ds_order *ret, ds_err *e)
{
    enum ds_statement_kind kind;
    ds_order o = {.what = DS_ORDER_STATEMENT};
    enum ds_class rc = ds_statement_check(text, &kind, e);
    if (rc)
        return rc;
    ds_buf_add(&o.text, text.ptr, text.len);
    *ret = o;
    return DS_OK;
}

static json_t *hex_of(const uint8_t *bytes, size_t len)
{
    DS_CLEANUP_FREE char *text = ds_alloc(2 * len + 1);
    ds_hex(bytes, len, text);
    return json_string(text);
}

static enum ds_class write_json(json_t *root, ds_buf *ret, ds_err *e)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(root);
    if (!text)
        return ds_fail(e, DS_INPUT, "a text in it is not UTF-8");
    ds_buf_add(ret, text, strlen(text));
    ds_buf_add_u8(ret, '\n');
    free(text);
    return DS_OK;
}

static const char *text_key(enum ds_order_what what)
{
    return what == DS_ORDER_STATEMENT ? "statement" : "manifest";
}

enum ds_class ds_order_write(const ds_order *o, ds_buf *ret, ds_err *e)
{
    const ds_order_image *i = &o->image;
    json_t *root = json_pack("{s:s,s:s}", "devstamp", order_format, "what", what_name(o->what));
    int bad = o->what == DS_ORDER_IMAGE
                  ? json_object_update_new(root, json_pack("{s:o,s:I,s:s,s:s,s:s,s:I}", "digest", hex_of(i->digest, 32),
                                                           "length", (json_int_t)i->length, "chip", i->chip, "project",
                                                           i->project, "version", i->version, "secure_version",
                                                           (json_int_t)i->secure_version))
                  : json_object_set_new(root, text_key(o->what), json_stringn((const char *)o->text.ptr, o->text.len));
    if (bad) {
        json_decref(root);
        root = NULL;
    }
    return write_json(root, ret, e);
}

// At most cap bytes as hex digits; their number, 0 where it is none.
static size_t take_hex(const json_t *o, const char *key, uint8_t *ret, size_t cap)
{
    const json_t *s = json_object_get(o, key);
    size_t len = json_string_length(s);
    if (!s || len % 2 || len / 2 > cap || !ds_unhex(json_string_value(s), ret, len / 2))
        return 0;
    return len / 2;
}

static bool take_what(const json_t *root, const char *format, enum ds_order_what *ret)
{
    char is[24], what[12];
    int w = 0;
    if (!ds_take_text(root, "devstamp", is, sizeof is) || strcmp(is, format) != 0 ||
        !ds_take_text(root, "what", what, sizeof what))
        return false;
    while (w < DS_ORDER_WHATS && strcmp(what_name((enum ds_order_what)w), what) != 0)
        w++;
    *ret = (enum ds_order_what)w;
    return w < DS_ORDER_WHATS;
}

static json_t *load(ds_view text)
{
    json_error_t why;
    return text.len <= DS_ORDER_MAX ? json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why) : NULL;
}

static bool take_image(const json_t *root, ds_order_image *i)
{
    uint64_t secure = 0;
    bool good = take_hex(root, "digest", i->digest, 32) == 32 &&
                ds_take_number(root, "length", DS_BUNDLE_PART_MAX, &i->length) && i->length % DS_SBV2_SECTOR == 0 &&
                ds_take_text(root, "chip", i->chip, sizeof i->chip) && ds_chip_by_name(i->chip) &&
                ds_take_text(root, "project", i->project, sizeof i->project) &&
                ds_take_text(root, "version", i->version, sizeof i->version) &&
                ds_take_number(root, "secure_version", UINT32_MAX, &secure);
    i->secure_version = (uint32_t)secure;
    return good;
}

static enum ds_class take_order(const json_t *root, ds_order *o, ds_err *e)
{
    if (!take_what(root, order_format, &o->what))
        return ds_fail(e, DS_INPUT, "not a signing order, or one of another format");
    if (o->what == DS_ORDER_IMAGE)
        return take_image(root, &o->image) ? DS_OK
                                           : ds_fail(e, DS_INPUT, "signing order: something is not as it must be");
    const json_t *text = json_object_get(root, text_key(o->what));
    if (!json_is_string(text))
        return ds_fail(e, DS_INPUT, "signing order: no %s", text_key(o->what));
    const ds_view view = {(const uint8_t *)json_string_value(text), json_string_length(text)};
    return o->what == DS_ORDER_STATEMENT ? ds_order_of_statement(view, o, e) : of_manifest(view, o->what, o, e);
}

// One spelling, and nothing beside.
static enum ds_class compare(ds_view text, const ds_buf *again, ds_err *e)
{
    if (again->len == text.len && memcmp(again->ptr, text.ptr, text.len) == 0)
        return DS_OK;
    return ds_fail(e, DS_INPUT, "not in its one spelling, or it says more than is known here");
}

enum ds_class ds_order_parse(ds_view text, ds_order *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_order o = {.what = DS_ORDER_IMAGE};
    json_t *root = load(text);
    enum ds_class rc = root ? take_order(root, &o, e) : ds_fail(e, DS_INPUT, "not a signing order");
    json_decref(root);
    if (!rc)
        rc = ds_order_write(&o, &again, e);
    if (!rc && compare(text, &again, e))
        rc = ds_wrap(e, "signing order");
    if (rc)
        ds_order_free(&o);
    else
        *ret = o;
    return rc;
}

enum ds_class ds_answer_write(const ds_answer *a, ds_buf *ret, ds_err *e)
{
    json_t *root = json_pack("{s:s,s:s,s:o}", "devstamp", answer_format, "what", what_name(a->what), "digest",
                             hex_of(a->digest, 32));
    int bad = a->what == DS_ORDER_IMAGE
                  ? json_object_set_new(root, "block", hex_of(a->block, sizeof a->block))
                  : json_object_update_new(root, json_pack("{s:o,s:o}", "key", hex_of(a->key, a->key_len), "signature",
                                                           hex_of(a->signature, a->signature_len)));
    if (bad) {
        json_decref(root);
        root = NULL;
    }
    return write_json(root, ret, e);
}

static bool take_answer(const json_t *root, ds_answer *a)
{
    if (!take_what(root, answer_format, &a->what) || take_hex(root, "digest", a->digest, 32) != 32)
        return false;
    if (a->what == DS_ORDER_IMAGE)
        return take_hex(root, "block", a->block, sizeof a->block) == sizeof a->block;
    a->key_len = take_hex(root, "key", a->key, sizeof a->key);
    a->signature_len = take_hex(root, "signature", a->signature, sizeof a->signature);
    return a->key_len && a->signature_len;
}

enum ds_class ds_answer_parse(ds_view text, ds_answer *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_sbv2_block block;
    ds_answer a = {.what = DS_ORDER_IMAGE};
    json_t *root = load(text);
    bool good = root && take_answer(root, &a);
    json_decref(root);
    if (!good)
        return ds_fail(e, DS_INPUT, "not a signature for an order, or one of another format");
    enum ds_class rc = ds_answer_write(&a, &again, e);
    if (!rc)
        rc = compare(text, &again, e);
    if (!rc && a.what == DS_ORDER_IMAGE) {
        rc = ds_sbv2_check_block(a.block, &block, e);
        if (!rc && memcmp(block.image_digest, a.digest, 32) != 0)
            rc = ds_fail(e, DS_INPUT, "its block is of another image than it says");
    }
    if (!rc)
        *ret = a;
    return rc ? ds_wrap(e, "signature") : DS_OK;
}

static enum ds_class other_kind(ds_err *e, const ds_answer *a)
{
    const char *of = a->what == DS_ORDER_IMAGE ? "an" : a->what == DS_ORDER_STATEMENT ? "a" : "a bundle:";
    return ds_fail(e, DS_INPUT, "the signature is for %s %s", of, what_name(a->what));
}

enum ds_class ds_answer_to_image(const ds_answer *a, ds_buf *image, ds_err *e)
{
    return a->what == DS_ORDER_IMAGE ? ds_sbv2_append(image, a->block, e) : other_kind(e, a);
}

enum ds_class ds_answer_to_bundle(const ds_answer *a, ds_bundle *b, ds_err *e)
{
    if (a->what == DS_ORDER_IMAGE || a->what == DS_ORDER_STATEMENT)
        return other_kind(e, a);
    if (memcmp(a->digest, b->digest, 32) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "the signature is of another bundle"), e),
                       "attach it to the very bundle that its order was made of");
    const ds_bundle_new_signature s = {.role = a->what == DS_ORDER_RELEASE ? DS_ROLE_RELEASE : DS_ROLE_APPROVAL,
                                       .key = {a->key, a->key_len},
                                       .signature = {a->signature, a->signature_len}};
    return ds_bundle_add(b, &s, e);
}
