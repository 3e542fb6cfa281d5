// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Step 6: serial number, endpoint, proof of possession and the recipe's values go to the plain stamp partition. The set
// is confirmed by a digest that both sides compute: over the values sorted by namespace, then key (proto/stamp.proto).
#include "src/station/job.h"

#include "src/base/secret.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 72, MAX_VALUE = 4000 };

typedef struct value {
    char *name_space, *key;
    int type;
    uint8_t *data;
    size_t len;
} value;

typedef struct value_set {
    unsigned count;
    value items[MAX_VALUES];
} value_set;

static void set_free(value_set *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        ds_wipe(s->items[i].data, s->items[i].len);
        free(s->items[i].name_space);
        free(s->items[i].key);
        free(s->items[i].data);
    }
}

static void add(value_set *s, const char *name_space, const char *key, int type, const void *data, size_t len)
{
    value *v = &s->items[s->count++];
    *v = (value){ds_strdup(name_space), ds_strdup(key), type, ds_alloc(len), len};
    memcpy(v->data, data, len);
}

static void add_text(value_set *s, const char *key, const char *text)
{
    add(s, "stamp", key, DEVSTAMP__VALUE_TYPE__VALUE_STRING, text, strlen(text));
}

static void add_recipe_value(value_set *s, const ds_recipe_value *v)
{
    static const size_t widths[] = {[DEVSTAMP__VALUE_TYPE__VALUE_U8] = 1,
                                    [DEVSTAMP__VALUE_TYPE__VALUE_U16] = 2,
                                    [DEVSTAMP__VALUE_TYPE__VALUE_U32] = 4,
                                    [DEVSTAMP__VALUE_TYPE__VALUE_I32] = 4,
                                    [DEVSTAMP__VALUE_TYPE__VALUE_U64] = 8};
    if (v->type == DEVSTAMP__VALUE_TYPE__VALUE_STRING) {
        add(s, v->name_space, v->key, v->type, v->value, strlen(v->value));
    } else if (v->type == DEVSTAMP__VALUE_TYPE__VALUE_BLOB) {
        size_t len = strlen(v->value) / 2;
        DS_CLEANUP_FREE uint8_t *raw = ds_alloc(len + 1);
        if (ds_unhex(v->value, raw, len)) // checked when the recipe was loaded
            add(s, v->name_space, v->key, v->type, raw, len);
    } else {
        uint64_t n = v->value[0] == '-' ? (uint64_t)strtoll(v->value, NULL, 0) : strtoull(v->value, NULL, 0);
        uint8_t raw[8];
        ds_put_le32(raw, (uint32_t)n);
        ds_put_le32(raw + 4, (uint32_t)(n >> 32));
        add(s, v->name_space, v->key, v->type, raw, widths[v->type]);
    }
}

static int by_name(const void *a, const void *b)
{
    const value *x = a, *y = b;
    int c = strcmp(x->name_space, y->name_space);
    return c ? c : strcmp(x->key, y->key);
}

// Written only where it is asked for: older firmware knows nothing of it.
static void add_wish(value_set *s, const char *key, bool wanted)
{
    if (wanted)
        add(s, "stamp", key, DEVSTAMP__VALUE_TYPE__VALUE_U8, &(uint8_t){1}, 1);
}

static void collect(const ds_job *j, value_set *s)
{
    const ds_recipe *r = j->recipe;
    add_text(s, "serial", j->device.serial);
    add_text(s, "endpoint", r->endpoint);
    add(s, "stamp", "endpoint_ca", DEVSTAMP__VALUE_TYPE__VALUE_STRING, r->endpoint_ca.ptr, r->endpoint_ca.len);
    add_text(s, "pop", j->device.pop);
    add(s, "stamp", "close_dl", DEVSTAMP__VALUE_TYPE__VALUE_U8, &(uint8_t){r->close_download}, 1);
    add_wish(s, "key_ds", r->key_in_ds);
    add_wish(s, "nvs_hmac", r->nvs_by_hmac);
    for (unsigned i = 0; i < r->value_count && s->count < MAX_VALUES; i++)
        add_recipe_value(s, &r->values[i]);
    qsort(s->items, s->count, sizeof s->items[0], by_name);
}

static void digest_set(const value_set *s, uint8_t ret[32])
{
    DS_CLEANUP_BUF ds_buf all = {0};
    for (unsigned i = 0; i < s->count; i++) {
        const value *v = &s->items[i];
        ds_buf_add(&all, v->name_space, strlen(v->name_space) + 1);
        ds_buf_add(&all, v->key, strlen(v->key) + 1);
        ds_buf_add_u8(&all, (uint8_t)v->type);
        ds_buf_add_le32(&all, (uint32_t)v->len);
        ds_buf_add(&all, v->data, v->len);
    }
    (void)EVP_Digest(all.ptr, all.len, ret, NULL, EVP_sha256(), NULL);
    ds_wipe(all.ptr, all.len);
}

static enum ds_class finish(ds_job *j, const value_set *s, ds_err *e)
{
    uint8_t digest[32];
    digest_set(s, digest);
    Devstamp__FinishStamp done = DEVSTAMP__FINISH_STAMP__INIT;
    done.count = s->count;
    done.digest = (ProtobufCBinaryData){sizeof digest, digest};
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_FINISH_STAMP;
    req.finish_stamp = &done;
    j->has_hello = false;
    enum ds_class rc = ds_job_do(j, &req, 3000, e);
    if (rc && ((e->code >> 16) & 0xFF) == DEVSTAMP__STATUS_CODE__CODE_NO_SPACE)
        return ds_hint(
            e, "no key block is free for what the recipe asks of the chip, or the stamp partition is too small");
    return rc;
}

static enum ds_class write_value(ds_job *j, const value *v, ds_err *e)
{
    Devstamp__WriteValue write = DEVSTAMP__WRITE_VALUE__INIT;
    write.name_space = v->name_space;
    write.key = v->key;
    write.type = (Devstamp__ValueType)v->type;
    write.data = (ProtobufCBinaryData){v->len, v->data};
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_WRITE_VALUE;
    req.write_value = &write;
    return ds_job_do(j, &req, 3000, e);
}

// A proof-of-possession secret people can read aloud: no 0/O, 1/I/L; 31 signs, about 4.95 bits each.
static void make_pop(char *ret, unsigned length)
{
    static const char signs[] = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";
    const unsigned n = sizeof signs - 1;
    for (unsigned i = 0; i < length;) {
        uint8_t r;
        ds_random(&r, 1);
        if (r < 256 / n * n)
            ret[i++] = signs[r % n];
    }
    ret[length] = '\0';
}

static enum ds_class know_pop(ds_job *j, ds_err *e)
{
    char candidate[64];
    make_pop(candidate, j->recipe->pop_length);
    enum ds_class rc = ds_ledger_device_pop(j->o->ledger, j->device.id, candidate, j->device.pop, e);
    ds_wipe(candidate, sizeof candidate);
    return rc;
}

enum ds_class ds_step_stamp_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (ds_job_hello(j, 3000, e)) // anew: what follows is this device's and no other's
        return e->cls;
    if (know_pop(j, e))
        return e->cls;
    *ret = j->hello.is_app ? DS_ALREADY : DS_READY;
    return DS_OK;
}

// Which release bundle the device is made by, for the record.
static enum ds_class note_bundle(const ds_job *j, ds_err *e)
{
    char digest[65], text[100];
    if (!j->recipe->bundle_release)
        return DS_OK;
    ds_hex(j->recipe->digest, 32, digest);
    snprintf(text, sizeof text, "release %llu %s", (unsigned long long)j->recipe->bundle_release, digest);
    return ds_ledger_event(j->o->ledger, j->device.id, "bundle", text, e);
}

enum ds_class ds_step_stamp_apply(ds_job *j, ds_err *e)
{
    value_set s = {0};
    if (note_bundle(j, e))
        return e->cls;
    collect(j, &s);
    enum ds_class rc = DS_INPUT;
    ds_err differs = DS_ERR_INIT;
    // A device that was stamped before a cut confirms the digest and needs no value again.
    if (j->hello.stage >= DEVSTAMP__STAGE__STAGE_STAMPED)
        rc = finish(j, &s, &differs);
    if (rc) {
        rc = DS_OK;
        for (unsigned i = 0; i < s.count && !rc; i++)
            if ((rc = write_value(j, &s.items[i], e)) != DS_OK)
                (void)ds_wrap(e, "write %s/%s", s.items[i].name_space, s.items[i].key);
        rc = rc ? rc : finish(j, &s, e);
    }
    set_free(&s);
    return rc;
}

enum ds_class ds_step_stamp_check(ds_job *j, ds_err *e)
{
    if (!j->has_hello && ds_job_hello(j, 3000, e))
        return e->cls;
    if (j->hello.stage < DEVSTAMP__STAGE__STAGE_STAMPED && !j->hello.is_app)
        return ds_fail(e, DS_DEVICE, "the device does not report its stamp as complete");
    return DS_OK;
}
