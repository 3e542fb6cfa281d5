// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Does a recipe hold together? Everything that can be known before a device is touched.
#ifndef DS_STATION_RECIPE_CHECK_H
#define DS_STATION_RECIPE_CHECK_H

#include "src/station/recipe.h"

// Checks images against chip, partition table and each other; fills regions' addresses, slots and key_digest.
enum ds_class ds_recipe_check(ds_recipe *r, ds_err *e) DS_MUST;

// What the recipe says of stamp and certificate: endpoint, serial format, subject, values. recipe_stamp.c
enum ds_class ds_recipe_check_stamp(const ds_recipe *r, ds_err *e) DS_MUST;

#endif
