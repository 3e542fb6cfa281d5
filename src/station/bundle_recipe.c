// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Between recipes and release bundles; see bundle_recipe.h.
#include "src/station/bundle_recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ds_class plan_burns(const ds_recipe *r, ds_manifest *m, ds_err *e)
{
    const ds_burn_wish wish = {
        .chip = r->chip,
        .digests = (const uint8_t(*)[32])r->key_digests,
        .digest_count = r->key_count,
        .release = r->release,
        .key_in_ds = r->key_in_ds,
        .nvs_by_hmac = r->nvs_by_hmac,
        .close_download = r->close_download,
        .secure_version = m->secure_version,
    };
    return ds_burns_plan(&wish, &m->burns, e);
}

// Everything but sizes and digests.
static enum ds_class describe(const ds_recipe *r, ds_manifest *m, ds_err *e)
{
    bool locks = ds_chip_can_lock(r->chip);
    snprintf(m->product, sizeof m->product, "%s", r->product);
    snprintf(m->chip, sizeof m->chip, "%s", r->chip->name);
    snprintf(m->lock, sizeof m->lock, "%s", !locks ? "none" : r->release ? "release" : "development");
    if (!locks)
        return DS_OK;
    const ds_app_desc *mfg = &r->regions[DS_REGION_MFG].info.app, *app = &r->regions[DS_REGION_APP].info.app;
    snprintf(m->mfg_version, sizeof m->mfg_version, "%s", mfg->version);
    snprintf(m->app_version, sizeof m->app_version, "%s", app->version);
    if (strlen(r->mfg_min_version) >= sizeof m->mfg_min_version ||
        strlen(r->app_min_version) >= sizeof m->app_min_version)
        return ds_fail(e, DS_INPUT, "%s: min_version: longer than 32 characters", r->path);
    snprintf(m->mfg_min_version, sizeof m->mfg_min_version, "%s", r->mfg_min_version);
    snprintf(m->app_min_version, sizeof m->app_min_version, "%s", r->app_min_version);
    m->secure_version = app->secure_version;
    m->trusted_count = r->key_count;
    memcpy(m->trusted, r->key_digests, sizeof m->trusted);
    return plan_burns(r, m, e) ? ds_wrap(e, "%s", r->path) : DS_OK;
}

enum ds_class ds_bundle_of_recipe(const ds_recipe *r, uint64_t release, int64_t created_utc, ds_buf *ret, ds_err *e)
{
    const ds_view parts[DS_BUNDLE_PARTS] = {
        [DS_PART_RECIPE] = ds_buf_view(&r->text),
        [DS_PART_TABLE] = ds_buf_view(&r->regions[DS_REGION_TABLE].data),
        [DS_PART_BOOTLOADER] = ds_buf_view(&r->regions[DS_REGION_BOOTLOADER].data),
        [DS_PART_SECURE_BOOTLOADER] = ds_buf_view(&r->regions[DS_REGION_SECURE_BOOTLOADER].data),
        [DS_PART_MFG] = ds_buf_view(&r->regions[DS_REGION_MFG].data),
        [DS_PART_APP_IMAGE] = ds_buf_view(&r->regions[DS_REGION_APP].data),
        [DS_PART_ENDPOINT_CA] = ds_buf_view(&r->endpoint_ca),
    };
    ds_manifest *m = ds_alloc(sizeof *m);
    m->release = release;
    m->created_utc = created_utc;
    enum ds_class rc = describe(r, m, e);
    if (!rc)
        rc = ds_bundle_make(m, parts, ret, e);
    free(m);
    return rc;
}

// What this devstamp would put together of the same recipe is this bundle, but for its signatures.
static enum ds_class compare(const ds_bundle *b, const ds_recipe *r, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    enum ds_class rc = ds_bundle_of_recipe(r, b->manifest.release, b->manifest.created_utc, &again, e);
    size_t len = again.len - (rc ? 0 : 4); // without the number of signatures
    if (!rc && (b->bytes.len < len || memcmp(b->bytes.ptr, again.ptr, len) != 0))
        rc = ds_hint((ds_fail(e, DS_INPUT, "the manifest does not say what the recipe and its images do"), e),
                     "make the bundle with this version of devstamp");
    return rc;
}

enum ds_class ds_recipe_of_bundle(const ds_bundle *b, const char *name, ds_recipe **ret, ds_err *e)
{
    ds_recipe *r = NULL;
    enum ds_class rc = ds_recipe_load_parts(name, b->parts, &r, e);
    if (!rc && compare(b, r, e))
        rc = ds_wrap(e, "%s", name);
    if (rc) {
        ds_recipe_free(r);
        return rc;
    }
    memcpy(r->digest, b->digest, sizeof r->digest);
    r->bundle_release = b->manifest.release;
    *ret = r;
    return DS_OK;
}
