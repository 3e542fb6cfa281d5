// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Schema-checked YAML through libcyaml, with errors that name file, line and key.
#ifndef DS_STATION_YAML_H
#define DS_STATION_YAML_H

#include "src/base/buf.h"

#include <cyaml/cyaml.h>

enum { DS_YAML_MAX = 1 << 20 };

// Load path by a top-level mapping schema (CYAML_FLAG_POINTER). DS_INPUT: "path:line: key: what is wrong". Free with
// ds_yaml_free and the same schema.
enum ds_class ds_yaml_load(const char *path, const cyaml_schema_value_t *schema, void **ret, ds_err *e) DS_MUST;
// The same of bytes that were read already; name is for messages.
enum ds_class ds_yaml_parse(const char *name, ds_view text, const cyaml_schema_value_t *schema, void **ret,
                            ds_err *e) DS_MUST;
void ds_yaml_free(const cyaml_schema_value_t *schema, void *data);

// "4MB", "4M", "0x1000", "64K" -> bytes.
bool ds_parse_size(const char *text, uint32_t *ret);

#endif
