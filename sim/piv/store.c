// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The card's file, replaced whole at each change. Text, a line an entry, numbers decimal, bytes in hexadecimal:
//   piv 1
//   serial N
//   form N
//   pin TRIES LEFT VALUE
//   puk TRIES LEFT VALUE
//   management ALGORITHM KEY
//   key SLOT ALGORITHM PIN-POLICY TOUCH-POLICY ORIGIN PRIVATE-KEY (PKCS#8)
//   object TAG DATA
#include "sim/piv/card_int.h"

#include "src/base/file.h"

#include <inttypes.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

ds_piv_key *ds_piv_key_of(ds_piv_card *c, uint8_t slot)
{
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        if (c->state.keys[i].slot == slot)
            return &c->state.keys[i];
    return NULL;
}

ds_piv_object *ds_piv_object_of(ds_piv_card *c, uint32_t tag)
{
    for (size_t i = 0; i < c->state.object_count; i++)
        if (c->state.objects[i].tag == tag)
            return &c->state.objects[i];
    return NULL;
}

bool ds_piv_object_set(ds_piv_card *c, uint32_t tag, ds_view data)
{
    ds_piv_state *s = &c->state;
    ds_piv_object *o = ds_piv_object_of(c, tag);
    if (data.len == 0) {
        if (!o)
            return true;
        ds_buf_free(&o->data);
        *o = s->objects[--s->object_count];
        return true;
    }
    if (!o && s->object_count == DS_PIV_OBJECTS)
        return false;
    if (!o) {
        o = &s->objects[s->object_count++];
        *o = (ds_piv_object){.tag = tag};
    }
    ds_buf_clear(&o->data);
    ds_buf_add(&o->data, data.ptr, data.len);
    return true;
}

void ds_piv_state_free(ds_piv_state *s)
{
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        EVP_PKEY_free(s->keys[i].key);
    for (size_t i = 0; i < s->object_count; i++)
        ds_buf_free(&s->objects[i].data);
    *s = (ds_piv_state){0};
}

static void put_line(ds_buf *out, const char *head, const uint8_t *bytes, size_t len)
{
    DS_CLEANUP_FREE char *hex = ds_alloc(2 * len + 1);
    ds_hex(bytes, len, hex);
    DS_CLEANUP_FREE char *line = ds_asprintf("%s %s\n", head, hex);
    ds_buf_add(out, line, strlen(line));
}

static void put_pin(ds_buf *out, const char *name, const ds_piv_pin *pin)
{
    DS_CLEANUP_FREE char *head = ds_asprintf("%s %u %u", name, pin->tries, pin->left);
    put_line(out, head, pin->value, sizeof pin->value);
}

static bool put_key(ds_buf *out, const ds_piv_key *k)
{
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(k->key);
    int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
    PKCS8_PRIV_KEY_INFO_free(info);
    if (len <= 0)
        return false;
    DS_CLEANUP_FREE char *head =
        ds_asprintf("key %u %u %u %u %u", k->slot, k->algorithm, k->pin_policy, k->touch_policy, k->origin);
    put_line(out, head, der, (size_t)len);
    OPENSSL_free(der);
    return true;
}

enum ds_class ds_piv_store_save(const ds_piv_card *c, ds_err *e)
{
    const ds_piv_state *s = &c->state;
    DS_CLEANUP_BUF ds_buf out = {0};
    DS_CLEANUP_FREE char *head = ds_asprintf("piv 1\nserial %" PRIu32 "\nform %u\n", s->serial, s->form_factor);
    DS_CLEANUP_FREE char *management = ds_asprintf("management %u", s->management_algorithm);
    ds_buf_add(&out, head, strlen(head));
    put_pin(&out, "pin", &s->pin);
    put_pin(&out, "puk", &s->puk);
    put_line(&out, management, s->management, s->management_len);
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        if (s->keys[i].key && !put_key(&out, &s->keys[i]))
            return ds_fail(e, DS_INTERNAL, "key of slot %02x", s->keys[i].slot);
    for (size_t i = 0; i < s->object_count; i++) {
        DS_CLEANUP_FREE char *name = ds_asprintf("object %" PRIu32, s->objects[i].tag);
        put_line(&out, name, s->objects[i].data.ptr, s->objects[i].data.len);
    }
    return ds_file_write(c->path, ds_buf_view(&out), 0600, e);
}

// A number below limit and the space behind it.
static bool take_number(char **at, uint64_t limit, uint64_t *ret)
{
    char *end = NULL;
    if (**at < '0' || **at > '9')
        return false;
    *ret = strtoull(*at, &end, 10);
    if (*ret >= limit || (*end && *end != ' '))
        return false;
    *at = *end ? end + 1 : end;
    return true;
}

static bool take_bytes(const char *hex, size_t min, size_t max, ds_buf *ret)
{
    size_t len = strlen(hex) / 2;
    if (len < min || len > max)
        return false;
    ds_buf_clear(ret);
    ds_buf_resize(ret, len, 0);
    return ds_unhex(hex, ret->ptr, len);
}

static bool load_pin(char *at, ds_piv_pin *ret, ds_buf *bytes)
{
    uint64_t tries, left;
    if (!take_number(&at, 256, &tries) || !take_number(&at, tries + 1, &left) ||
        !take_bytes(at, sizeof ret->value, sizeof ret->value, bytes))
        return false;
    ret->tries = (uint8_t)tries;
    ret->left = (uint8_t)left;
    memcpy(ret->value, bytes->ptr, sizeof ret->value);
    return true;
}

static bool load_management(char *at, ds_piv_state *s, ds_buf *bytes)
{
    uint64_t algorithm;
    if (!take_number(&at, 256, &algorithm) || !take_bytes(at, 16, sizeof s->management, bytes))
        return false;
    s->management_algorithm = (uint8_t)algorithm;
    s->management_len = (uint8_t)bytes->len;
    memcpy(s->management, bytes->ptr, bytes->len);
    return true;
}

static bool load_key(ds_piv_card *c, char *at, ds_buf *bytes)
{
    uint64_t n[5];
    for (size_t i = 0; i < 5; i++)
        if (!take_number(&at, 256, &n[i]))
            return false;
    ds_piv_key *k = ds_piv_key_of(c, (uint8_t)n[0]);
    if (!k || k->key || !take_bytes(at, 1, 8192, bytes))
        return false;
    const unsigned char *p = bytes->ptr;
    *k = (ds_piv_key){(uint8_t)n[0], (uint8_t)n[1], (uint8_t)n[2],
                      (uint8_t)n[3], (uint8_t)n[4], d2i_AutoPrivateKey(NULL, &p, (long)bytes->len)};
    return k->key != NULL;
}

static bool load_object(ds_piv_card *c, char *at, ds_buf *bytes)
{
    uint64_t tag;
    return take_number(&at, 1 << 24, &tag) && take_bytes(at, 1, DS_PIV_OBJECT_MAX, bytes) &&
           ds_piv_object_set(c, (uint32_t)tag, ds_buf_view(bytes));
}

static bool load_line(ds_piv_card *c, char *line, ds_buf *bytes)
{
    uint64_t n = 0;
    char *at = line;
    const char *word = strsep(&at, " ");
    if (!at)
        return false;
    if (strcmp(word, "piv") == 0)
        return strcmp(at, "1") == 0;
    if (strcmp(word, "pin") == 0)
        return load_pin(at, &c->state.pin, bytes);
    if (strcmp(word, "puk") == 0)
        return load_pin(at, &c->state.puk, bytes);
    if (strcmp(word, "management") == 0)
        return load_management(at, &c->state, bytes);
    if (strcmp(word, "key") == 0)
        return load_key(c, at, bytes);
    if (strcmp(word, "object") == 0)
        return load_object(c, at, bytes);
    if (strcmp(word, "serial") != 0 && strcmp(word, "form") != 0)
        return false;
    bool serial = word[0] == 's';
    if (!take_number(&at, serial ? UINT64_C(1) << 32 : 256, &n))
        return false;
    if (serial)
        c->state.serial = (uint32_t)n;
    else
        c->state.form_factor = (uint8_t)n;
    return true;
}

enum ds_class ds_piv_store_load(ds_piv_card *c, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(c->path, FILE_MAX, &text, e);
    if (rc)
        return rc;
    ds_buf_add_u8(&text, '\0');
    ds_piv_state_init(&c->state, 1);
    unsigned number = 0;
    char *rest = (char *)text.ptr;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        number++;
        if (!load_line(c, line, &bytes))
            return ds_fail(e, DS_INPUT, "%s: line %u is not of a virtual card", c->path, number);
    }
    return number ? DS_OK : ds_fail(e, DS_INPUT, "%s is empty", c->path);
}
