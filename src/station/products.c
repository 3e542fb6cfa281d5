// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a station makes; see products.h.
#include "src/station/products.h"

#include "src/station/bundle_recipe.h"

bool ds_product_files_add(ds_product_files *f, bool bundle, const char *path)
{
    if (f->recipe_count + f->bundle_count == DS_PRODUCTS_MAX)
        return false;
    if (bundle)
        f->bundles[f->bundle_count++] = path;
    else
        f->recipes[f->recipe_count++] = path;
    return true;
}

static enum ds_class check_demand(const ds_station *s, const ds_product_files *files, ds_err *e)
{
    if (s->bundles_only && files->recipe_count)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "%s: this station makes what signed bundles hold, and %s is a bare recipe", s->path,
                     files->recipes[0]),
             e),
            "name a release bundle: --bundle FILE");
    if (!s->bundles_only && files->bundle_count)
        return ds_hint((ds_fail(e, DS_POLICY, "%s: no release keys are known here that %s could be signed with",
                                s->path, files->bundles[0]),
                        e),
                       "name them in the station file: bundles: {release_keys: [...]}");
    return DS_OK;
}

static enum ds_class load_bundle(const ds_station *s, const char *path, ds_recipe **ret, ds_err *e)
{
    ds_bundle b;
    enum ds_class rc = ds_bundle_read(path, &b, e);
    if (rc)
        return rc;
    if (ds_bundle_judge(&b, &s->bundles, e))
        rc = ds_wrap(e, "%s", path);
    if (!rc)
        rc = ds_recipe_of_bundle(&b, path, ret, e);
    ds_bundle_free(&b);
    return rc;
}

enum ds_class ds_products_load(const ds_station *s, const ds_product_files *files, ds_recipe *ret[DS_PRODUCTS_MAX],
                               unsigned *ret_count, ds_err *e)
{
    *ret_count = 0;
    enum ds_class rc = check_demand(s, files, e);
    for (unsigned i = 0; !rc && i < files->recipe_count; i++) {
        rc = ds_recipe_load(files->recipes[i], &ret[*ret_count], e);
        *ret_count += !rc;
    }
    for (unsigned i = 0; !rc && i < files->bundle_count; i++) {
        rc = load_bundle(s, files->bundles[i], &ret[*ret_count], e);
        *ret_count += !rc;
    }
    return rc;
}
