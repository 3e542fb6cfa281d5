// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The card's commands: framing, chaining, applications; see card.h.
#include "sim/piv/card_int.h"

#include "src/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    INS_VERIFY = 0x20,
    INS_CHANGE = 0x24,
    INS_UNBLOCK = 0x2C,
    INS_GENERATE = 0x47,
    INS_AUTHENTICATE = 0x87,
    INS_SELECT = 0xA4,
    INS_GET_RESPONSE = 0xC0,
    INS_GET_DATA = 0xCB,
    INS_PUT_DATA = 0xDB,
    INS_METADATA = 0xF7,
    INS_SERIAL = 0xF8,
    INS_ATTEST = 0xF9,
    INS_SET_TRIES = 0xFA,
    INS_RESET = 0xFB,
    INS_VERSION = 0xFD,
    INS_IMPORT = 0xFE,
    INS_SET_MANAGEMENT = 0xFF,
};
enum { CLA_CHAIN = 0x10, COMMAND_MAX = 4096, RESPONSE_MAX = 256, TOUCH_CACHE_MS = 15000 };

const uint8_t ds_piv_version[3] = {5, 4, 3};
static const uint8_t piv_id[] = {0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0};
static const uint8_t management_id[] = {0xA0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17};

enum ds_class ds_piv_card_open(const char *path, uint32_t serial, const char *maker_root, ds_piv_card *ret, ds_err *e)
{
    *ret = (ds_piv_card){.path = ds_strdup(path)};
    enum ds_class rc;
    if (access(path, F_OK) == 0) {
        rc = ds_piv_store_load(ret, e);
    } else {
        ds_piv_state_init(&ret->state, serial);
        rc = ds_piv_attest_init(ret, maker_root, e);
        if (!rc)
            rc = ds_piv_store_save(ret, e);
    }
    if (rc)
        ds_piv_card_close(ret);
    return rc;
}

void ds_piv_card_reset(ds_piv_card *c)
{
    ds_buf_free(&c->session.chain);
    ds_buf_free(&c->session.rest);
    c->session = (ds_piv_session){.application = DS_PIV_NONE};
    c->touch_end_ms = 0;
    c->touch_given = false;
}

void ds_piv_card_close(ds_piv_card *c)
{
    ds_piv_card_reset(c);
    ds_piv_state_free(&c->state);
    free(c->path);
    *c = (ds_piv_card){0};
}

// Does the name begin with what was asked for?
static bool names(ds_view asked, const uint8_t *id, size_t len)
{
    return asked.len >= 5 && asked.len <= len && memcmp(asked.ptr, id, asked.len) == 0;
}

static int select_application(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    static const uint8_t properties[] = {0x61, 0x11, 0x4F, 6, 0, 0, 0x10, 0, 1, 0, 0x79, 7, 0x4F, 5, 0xA0, 0, 0, 3, 8};
    static const char management[] = "Virtual mgr - FW version 5.4.3";
    bool piv = names(cmd->data, piv_id, sizeof piv_id);
    if (cmd->p1 != 4)
        return DS_PIV_PARAMETER;
    if (!piv && !names(cmd->data, management_id, sizeof management_id))
        return DS_PIV_NOT_FOUND;
    int64_t touch_end_ms = c->touch_end_ms;
    ds_piv_card_reset(c);
    c->touch_end_ms = touch_end_ms;
    c->session.application = piv ? DS_PIV_PIV : DS_PIV_MANAGEMENT;
    if (piv)
        ds_buf_add(ret, properties, sizeof properties);
    else
        ds_buf_add(ret, management, sizeof management - 1);
    return DS_PIV_OK;
}

// The object's tag: 5C 01 7E (discovery) or 5C 03 xx xx xx.
static bool object_tag(ds_view data, uint32_t *ret)
{
    ds_view tag;
    if (!ds_piv_tlv_find(data, 0x5C, &tag) || (tag.len != 1 && tag.len != 3))
        return false;
    *ret = 0;
    for (size_t i = 0; i < tag.len; i++)
        *ret = *ret << 8 | tag.ptr[i];
    return true;
}

static int get_data(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    enum { DISCOVERY = 0x7E, PRINTED = 0x5FC109 };
    static const uint8_t discovery[] = {0x7E, 0x12, 0x4F, 0x0B, 0xA0, 0,    0,    3, 8,    0,
                                        0,    0x10, 0,    1,    0,    0x5F, 0x2F, 2, 0x40, 0};
    uint32_t tag;
    if (cmd->p1 != 0x3F || cmd->p2 != 0xFF)
        return DS_PIV_PARAMETER;
    if (!object_tag(cmd->data, &tag))
        return DS_PIV_DATA;
    if (tag == DISCOVERY) {
        ds_buf_add(ret, discovery, sizeof discovery);
        return DS_PIV_OK;
    }
    const ds_piv_object *o = ds_piv_object_of(c, tag);
    if (tag == PRINTED && !c->session.verified)
        return DS_PIV_SECURITY;
    if (!o)
        return DS_PIV_NOT_FOUND;
    ds_piv_tlv_put(ret, 0x53, ds_buf_view(&o->data));
    return DS_PIV_OK;
}

static int put_data(ds_piv_card *c, const ds_piv_command *cmd)
{
    uint32_t tag;
    ds_view data;
    if (cmd->p1 != 0x3F || cmd->p2 != 0xFF)
        return DS_PIV_PARAMETER;
    if (!c->session.administrator)
        return DS_PIV_SECURITY;
    if (!object_tag(cmd->data, &tag) || tag < 0x5F0000 || !ds_piv_tlv_find(cmd->data, 0x53, &data))
        return DS_PIV_DATA;
    if (data.len > DS_PIV_OBJECT_MAX || !ds_piv_object_set(c, tag, data))
        return DS_PIV_FULL;
    return ds_piv_store_save(c, NULL) ? DS_PIV_MEMORY : DS_PIV_OK;
}

static int get_serial(const ds_piv_card *c, ds_buf *ret)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        ds_buf_add_u8(ret, (uint8_t)(c->state.serial >> shift));
    return DS_PIV_OK;
}

static int authenticate(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    return cmd->p2 == DS_PIV_SLOT_MANAGEMENT ? ds_piv_management(c, cmd, ret) : ds_piv_sign(c, cmd, ret);
}

static int piv_command(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    switch (cmd->ins) {
    case INS_VERIFY:
        return ds_piv_verify(c, cmd);
    case INS_CHANGE:
        return ds_piv_change(c, cmd);
    case INS_UNBLOCK:
        return ds_piv_unblock(c, cmd);
    case INS_GENERATE:
        return ds_piv_generate(c, cmd, ret);
    case INS_AUTHENTICATE:
        return authenticate(c, cmd, ret);
    case INS_GET_DATA:
        return get_data(c, cmd, ret);
    case INS_PUT_DATA:
        return put_data(c, cmd);
    case INS_METADATA:
        return ds_piv_metadata(c, cmd, ret);
    case INS_SERIAL:
        return get_serial(c, ret);
    case INS_ATTEST:
        return ds_piv_attest(c, cmd, ret);
    case INS_SET_TRIES:
        return ds_piv_set_tries(c, cmd);
    case INS_RESET:
        return ds_piv_reset_application(c);
    case INS_VERSION:
        ds_buf_add(ret, ds_piv_version, sizeof ds_piv_version);
        return DS_PIV_OK;
    case INS_IMPORT:
        return ds_piv_import(c, cmd);
    case INS_SET_MANAGEMENT:
        return ds_piv_set_management(c, cmd);
    default:
        return DS_PIV_INSTRUCTION;
    }
}

// Header, Lc, data, Le; short, or extended as ISO 7816-4 has it.
static bool parse(ds_view apdu, ds_piv_command *ret)
{
    if (apdu.len < 4)
        return false;
    *ret = (ds_piv_command){apdu.ptr[1], apdu.ptr[2], apdu.ptr[3], {NULL, 0}};
    ds_view body = {apdu.ptr + 4, apdu.len - 4};
    if (body.len <= 1)
        return true;
    bool extended = body.ptr[0] == 0 && body.len >= 3;
    if (extended && body.len == 3)
        return true; // Le alone
    size_t head = extended ? 3 : 1, lc = extended ? (size_t)body.ptr[1] << 8 | body.ptr[2] : body.ptr[0];
    if (lc > body.len - head || body.len - head - lc > (extended ? 2 : 1))
        return false;
    ret->data = (ds_view){body.ptr + head, lc};
    return true;
}

// Take up a part of a command that comes in several. True: there is more to come.
static bool take_part(ds_piv_card *c, uint8_t cla, ds_piv_command *cmd, int *ret_status)
{
    ds_piv_session *s = &c->session;
    const uint8_t header[3] = {cmd->ins, cmd->p1, cmd->p2};
    if (s->chain.len && memcmp(header, s->chain_header, sizeof header) != 0)
        ds_buf_clear(&s->chain);
    *ret_status = DS_PIV_OK;
    if (s->chain.len + cmd->data.len > COMMAND_MAX) {
        ds_buf_clear(&s->chain);
        *ret_status = DS_PIV_LENGTH;
        return true;
    }
    if (!(cla & CLA_CHAIN) && s->chain.len == 0)
        return false;
    memcpy(s->chain_header, header, sizeof header);
    if (cmd->data.len)
        ds_buf_add(&s->chain, cmd->data.ptr, cmd->data.len);
    cmd->data = ds_buf_view(&s->chain);
    return cla & CLA_CHAIN;
}

static int run_whole(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    if (cmd->ins == INS_SELECT)
        return select_application(c, cmd, ret);
    if (c->session.application != DS_PIV_PIV)
        return DS_PIV_INSTRUCTION;
    int status = piv_command(c, cmd, ret);
    // "Always" means: the PIN came with the command just before.
    if (cmd->ins != INS_VERIFY || status != DS_PIV_OK || cmd->data.len == 0)
        c->session.fresh = false;
    return status;
}

// The answer, or its first part.
static void hand_out(ds_piv_card *c, int status, ds_buf *ret)
{
    ds_buf *rest = &c->session.rest;
    size_t len = rest->len < RESPONSE_MAX ? rest->len : RESPONSE_MAX;
    if (len)
        ds_buf_add(ret, rest->ptr, len);
    if (len < rest->len) {
        memmove(rest->ptr, rest->ptr + len, rest->len - len);
        status = DS_PIV_MORE | (rest->len - len > 0xFF ? 0 : (int)(rest->len - len));
    }
    rest->len -= len;
    ds_buf_add_u8(ret, (uint8_t)(status >> 8));
    ds_buf_add_u8(ret, (uint8_t)status);
}

void ds_piv_card_run(ds_piv_card *c, ds_view apdu, ds_buf *ret)
{
    ds_piv_command cmd;
    int status = DS_PIV_LENGTH;
    ds_buf_clear(ret);
    bool good = parse(apdu, &cmd);
    if (good && cmd.ins == INS_GET_RESPONSE) {
        hand_out(c, c->session.rest.len ? DS_PIV_OK : DS_PIV_CONDITION, ret);
        return;
    }
    ds_buf_clear(&c->session.rest);
    if (good && !take_part(c, apdu.ptr[0], &cmd, &status)) {
        ds_buf out = {0};
        status = run_whole(c, &cmd, &out);
        ds_buf_clear(&c->session.chain);
        ds_buf_free(&c->session.rest); // what a SELECT left
        if (status == DS_PIV_OK)
            c->session.rest = out;
        else
            ds_buf_free(&out);
        c->touch_given = false;
    }
    hand_out(c, status, ret);
}

bool ds_piv_card_wants_touch(ds_piv_card *c, ds_view apdu)
{
    ds_piv_command cmd;
    if (!parse(apdu, &cmd) || cmd.ins != INS_AUTHENTICATE || apdu.ptr[0] & CLA_CHAIN ||
        c->session.application != DS_PIV_PIV)
        return false;
    const ds_piv_key *k = ds_piv_key_of(c, cmd.p2);
    if (!k || !k->key || k->touch_policy <= DS_PIV_TOUCH_NEVER)
        return false;
    if (k->pin_policy == DS_PIV_PIN_ALWAYS ? !c->session.fresh
                                           : k->pin_policy == DS_PIV_PIN_ONCE && !c->session.verified)
        return false; // refused before anybody is asked
    return k->touch_policy != DS_PIV_TOUCH_CACHED || ds_now_ms() >= c->touch_end_ms;
}

void ds_piv_card_touch(ds_piv_card *c)
{
    c->touch_given = true;
    c->touch_end_ms = ds_now_ms() + TOUCH_CACHE_MS;
}
