// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Between recipes and release bundles: a bundle made of a recipe that was loaded and checked, and the other way.
#ifndef DS_STATION_BUNDLE_RECIPE_H
#define DS_STATION_BUNDLE_RECIPE_H

#include "src/signer/bundle.h"
#include "src/station/recipe.h"

// A bundle without signatures, of the bytes that r was loaded from.
enum ds_class ds_bundle_of_recipe(const ds_recipe *r, uint64_t release, int64_t created_utc, ds_buf *ret,
                                  ds_err *e) DS_MUST;

// The recipe in a bundle, checked as ds_recipe_load does; nothing but the bundle's bytes is read. It must say what the
// manifest says, burns and all. Its digest is the bundle's. DS_INPUT, DS_POLICY as there. Signatures are not looked at:
// ds_bundle_judge.
enum ds_class ds_recipe_of_bundle(const ds_bundle *b, const char *name, ds_recipe **ret, ds_err *e) DS_MUST;

#endif
