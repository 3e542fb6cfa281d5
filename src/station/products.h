// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a station makes: the recipes it is given, or those in the release bundles it is given, as its file allows.
#ifndef DS_STATION_PRODUCTS_H
#define DS_STATION_PRODUCTS_H

#include "src/station/recipe.h"
#include "src/station/stationfile.h"

enum { DS_PRODUCTS_MAX = 16 };

typedef struct ds_product_files {
    const char *recipes[DS_PRODUCTS_MAX], *bundles[DS_PRODUCTS_MAX];
    unsigned recipe_count, bundle_count; // together at most DS_PRODUCTS_MAX
} ds_product_files;

// One more recipe, or bundle. false: there are DS_PRODUCTS_MAX already.
bool ds_product_files_add(ds_product_files *f, bool bundle, const char *path);

// Load them all. DS_POLICY: a bare recipe where the station demands bundles, a bundle where it knows no release keys,
// one that is not signed or approved as it demands. *ret_count recipes are the caller's to free, on a failure too.
enum ds_class ds_products_load(const ds_station *s, const ds_product_files *files, ds_recipe *ret[DS_PRODUCTS_MAX],
                               unsigned *ret_count, ds_err *e) DS_MUST;

#endif
