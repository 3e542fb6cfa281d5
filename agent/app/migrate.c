// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// First boot: the stamp moves from plain to encrypted NVS. The mark "moved" is set after every value was read back from
// the copy and before anything of the original is erased. Without the mark the original counts and the copy is
// repeated; with it the copy counts and the erase is repeated. So a power loss anywhere leaves one whole stamp.
//
// The mark lives in flash, which can be blanked from outside. So between mark and erase the certificate's digest is
// burned into the chip, the anchor, and from then on no other stamp is taken: docs/decisions/0003-stamp-anchor.md.
#include "agent/app/internal.h"

#include <string.h>

// Where a key is in the chip, what could make it readable again does not move: it goes with the original.
static bool stays_behind(const ds_value *v, bool key_in_dsig)
{
    if (strcmp(v->name_space, DS_AGENT_NAMESPACE) != 0)
        return false;
    return strcmp(v->key, DS_VALUE_DSIG_SECRET) == 0 || strcmp(v->key, DS_VALUE_NVS_SECRET) == 0 ||
           (key_in_dsig && strcmp(v->key, DS_VALUE_KEY) == 0);
}

// Copies every value, or (copy false) only checks that the copy has it.
static ds_status for_each_value(ds_agent *a, bool key_in_dsig, bool copy)
{
    ds_value v = {.key = ""};
    for (bool found = true;;) {
        ds_status s = ds_store_next(a, DS_AREA_PLAIN, &v, a->scratch, DS_AGENT_WORK, &found);
        if (s != DS_STATUS_OK || !found)
            return s;
        if (stays_behind(&v, key_in_dsig))
            continue;
        bool same = false;
        s = ds_store_same(a, DS_AREA_ENCRYPTED, &v, &same);
        if (s == DS_STATUS_OK && !same)
            s = copy ? ds_store_put(a, DS_AREA_ENCRYPTED, &v) : DS_STATUS(MIGRATE, FLASH);
        if (s != DS_STATUS_OK)
            return s;
        a->port->alive(a->port->ctx);
    }
}

static ds_status refuse(ds_agent *a)
{
    a->port->log(a->port->ctx, "app: stamp lost or replaced");
    return DS_STATUS(MIGRATE, MISMATCH);
}

// What the stamp asks for was burned by the mfg firmware: encrypted NVS must not even be opened without.
static ds_status check_protection(ds_agent *a, bool *ret_key_in_dsig)
{
    bool hmac = false, proved = false;
    ds_status s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_NVS_HMAC, &hmac);
    if (s == DS_STATUS_OK && hmac)
        s = ds_protect_nvs_proved(a, &proved);
    if (s == DS_STATUS_OK && hmac && !proved)
        s = DS_STATUS(MIGRATE, UNSUPPORTED);
    if (s == DS_STATUS_OK)
        s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_KEY_DS, ret_key_in_dsig);
    return s;
}

// Whole, the anchor's where one is burned, and with the private key of its certificate: that in the chip, where it is
// to be there.
static ds_status check_original(ds_agent *a, bool *ret_key_in_dsig)
{
    enum ds_anchor anchor = DS_ANCHOR_NONE;
    ds_status s = ds_chain_anchor(a, &anchor);
    if (s == DS_STATUS_OK && anchor == DS_ANCHOR_OTHER)
        return refuse(a);
    int stage = 0;
    if (s == DS_STATUS_OK)
        s = ds_store_stage(a, &stage);
    if (s == DS_STATUS_OK && stage != (int)DEVSTAMP__STAGE__STAGE_STAMPED)
        s = DS_STATUS(MIGRATE, NOT_ALLOWED);
    if (s == DS_STATUS_OK)
        s = check_protection(a, ret_key_in_dsig);
    if (s == DS_STATUS_OK)
        s = *ret_key_in_dsig ? ds_chain_fits_dsig(a) : ds_chain_fits_key(a);
    return DS_STATUS_IS(s, MISMATCH) ? refuse(a) : s;
}

static ds_status copy_stamp(ds_agent *a)
{
    bool key_in_dsig = false;
    ds_status s = check_original(a, &key_in_dsig);
    if (s == DS_STATUS_OK)
        s = for_each_value(a, key_in_dsig, true);
    if (s == DS_STATUS_OK)
        s = for_each_value(a, key_in_dsig, false);
    if (s == DS_STATUS_OK)
        s = ds_app_note_born(a);
    mbedtls_platform_zeroize(a->scratch, DS_AGENT_WORK);
    if (s != DS_STATUS_OK)
        return s;
    ds_value moved = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_MOVED, DS_VALUE_U8, (const uint8_t[]){1}, 1);
    return ds_store_put(a, DS_AREA_ENCRYPTED, &moved);
}

// Burn which certificate the device is for, complete what was cut off of that, or see that it still is this one.
static ds_status anchor_copy(ds_agent *a)
{
    uint8_t digest[32];
    size_t len = 0;
    enum ds_anchor anchor = DS_ANCHOR_NONE;
    ds_status s = ds_chain_digest(a, digest, &len);
    if (s == DS_STATUS_OK)
        s = len > 0 ? a->port->anchor_set(a->port->ctx, digest) : DS_STATUS(MIGRATE, MISMATCH);
    if (s == DS_STATUS_OK)
        s = ds_chain_anchor(a, &anchor);
    if (s == DS_STATUS_OK && anchor != DS_ANCHOR_SAME)
        s = DS_STATUS(MIGRATE, FLASH);
    return DS_STATUS_IS(s, MISMATCH) ? refuse(a) : s;
}

static ds_status erase_original(ds_agent *a)
{
    if (a->port->area_is_blank(a->port->ctx, DS_AREA_PLAIN))
        return DS_STATUS_OK;
    ds_status s = ds_chain_fits_key(a); // what the copy alone can sign
    mbedtls_platform_zeroize(a->scratch, DS_AGENT_WORK);
    if (s == DS_STATUS_OK)
        s = a->port->area_erase(a->port->ctx, DS_AREA_PLAIN);
    if (s == DS_STATUS_OK && !a->port->area_is_blank(a->port->ctx, DS_AREA_PLAIN))
        s = DS_STATUS(MIGRATE, FLASH);
    if (s == DS_STATUS_OK)
        a->port->log(a->port->ctx, "app: stamp moved to encrypted storage");
    return s;
}

ds_status ds_app_migrate(ds_agent *a)
{
    ds_security security = {0};
    a->port->security(a->port->ctx, &security);
    if (!security.flash_encryption)
        return DS_STATUS(MIGRATE, NOT_ALLOWED);
    if (a->port->anchor_get == NULL || a->port->anchor_set == NULL)
        return DS_STATUS(MIGRATE, UNSUPPORTED);
    bool moved = false;
    ds_status s = ds_store_mark(a, DS_AREA_ENCRYPTED, DS_VALUE_MOVED, &moved);
    if (s == DS_STATUS_OK && !moved)
        s = copy_stamp(a);
    if (s == DS_STATUS_OK)
        s = anchor_copy(a);
    return s == DS_STATUS_OK ? erase_original(a) : s;
}

ds_status ds_app_close_download(ds_agent *a)
{
    bool wanted = false;
    int stage = 0;
    ds_status s = ds_store_stage(a, &stage);
    if (s != DS_STATUS_OK || stage != (int)DEVSTAMP__STAGE__STAGE_SEALED)
        return s;
    s = ds_store_mark(a, DS_AREA_ENCRYPTED, "close_dl", &wanted);
    if (s != DS_STATUS_OK || !wanted)
        return s;
    ds_security security = {0};
    a->port->security(a->port->ctx, &security);
    if (security.download == DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED)
        return DS_STATUS_OK;
    if (a->port->download_close == NULL)
        return DS_STATUS(MIGRATE, UNSUPPORTED);
    s = a->port->download_close(a->port->ctx);
    if (s == DS_STATUS_OK)
        a->port->log(a->port->ctx, "app: download mode closed");
    return s;
}
