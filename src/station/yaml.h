// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Schema-checked YAML through libcyaml, with errors that name file, line and key.
#ifndef DS_STATION_YAML_H
#define DS_STATION_YAML_H

#include "src/base/buf.h"

#include <cyaml/cyaml.h>

// Load path by a top-level mapping schema (CYAML_FLAG_POINTER). DS_INPUT: "path:line: key: what is wrong". Free with
// ds_yaml_free and the same schema. ret_sha256: of the file as it was read; NULL where nobody wants it.
enum ds_class ds_yaml_load(const char *path, const cyaml_schema_value_t *schema, void **ret, uint8_t *ret_sha256,
                           ds_err *e) DS_MUST;
void ds_yaml_free(const cyaml_schema_value_t *schema, void *data);

// "4MB", "4M", "0x1000", "64K" -> bytes.
bool ds_parse_size(const char *text, uint32_t *ret);

#endif
