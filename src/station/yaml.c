// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// YAML; see yaml.h. libcyaml says what is wrong through its log function: the message first, then a backtrace of keys
// from the inside out, each with its line. Both are gathered here and turned into one error.
#include "src/station/yaml.h"

#include "src/base/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct diag {
    char message[200];
    char key[160]; // dotted path, outermost first
    unsigned line;
} diag;

static void note_key(diag *d, const char *line)
{
    char name[64];
    if (sscanf(line, " in mapping field '%63[^']'", name) == 1) {
        char inner[sizeof d->key];
        snprintf(inner, sizeof inner, "%s", d->key);
        snprintf(d->key, sizeof d->key, "%s%s%.80s", name, inner[0] ? "." : "", inner);
    }
    unsigned n;
    const char *at = strstr(line, "(line: ");
    if (at && d->line == 0 && sscanf(at, "(line: %9u", &n) == 1)
        d->line = n;
}

static void DS_PRINTF(3, 0) gather(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
    (void)level;
    diag *d = ctx;
    char line[200];
    if (vsnprintf(line, sizeof line, fmt, ap) < 0)
        return;
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == ' ')
        note_key(d, line);
    else if (!d->message[0] && strncmp(line, "Load: ", 6) == 0)
        snprintf(d->message, sizeof d->message, "%s", line + 6);
}

// libcyaml reports an unexpected key at the line before it: find the line the key itself stands on.
static void find_key_line(diag *d, const ds_view *text)
{
    static const char lead[] = "Unexpected key: ";
    if (!text->ptr || strncmp(d->message, lead, sizeof lead - 1) != 0)
        return;
    const char *key = d->message + sizeof lead - 1;
    size_t key_len = strlen(key), pos = 0;
    for (unsigned line = 1; pos < text->len; line++) {
        const char *p = (const char *)text->ptr + pos;
        const char *end = memchr(p, '\n', text->len - pos);
        size_t len = end ? (size_t)(end - p) : text->len - pos;
        pos += len + 1;
        while (len > 0 && (*p == ' ' || *p == '-' || *p == '{'))
            p++, len--;
        if (line >= d->line && len > key_len && memcmp(p, key, key_len) == 0 && p[key_len] == ':') {
            d->line = line;
            return;
        }
    }
}

enum ds_class ds_yaml_parse(const char *name, ds_view text, const cyaml_schema_value_t *schema, void **ret, ds_err *e)
{
    diag d = {0};
    const cyaml_config_t cfg = {.log_fn = gather, .log_ctx = &d, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_WARNING};
    cyaml_data_t *data = NULL;
    cyaml_err_t rc = cyaml_load_data(text.ptr ? text.ptr : (const uint8_t *)"", text.len, &cfg, schema, &data, NULL);
    if (rc == CYAML_OK && data) {
        *ret = data;
        return DS_OK;
    }
    find_key_line(&d, &text);
    const char *what = d.message[0] ? d.message : rc == CYAML_OK ? "the file is empty" : cyaml_strerror(rc);
    if (d.key[0])
        return ds_fail(e, DS_INPUT, "%s:%u: %s: %s", name, d.line, d.key, what);
    return ds_fail(e, DS_INPUT, "%s:%u: %s", name, d.line ? d.line : 1, what);
}

enum ds_class ds_yaml_load(const char *path, const cyaml_schema_value_t *schema, void **ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    if (ds_file_read(path, DS_YAML_MAX, &text, e))
        return e ? e->cls : DS_INPUT;
    return ds_yaml_parse(path, ds_buf_view(&text), schema, ret, e);
}

void ds_yaml_free(const cyaml_schema_value_t *schema, void *data)
{
    const cyaml_config_t cfg = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    if (data)
        cyaml_free(&cfg, schema, data, 0);
}

bool ds_parse_size(const char *text, uint32_t *ret)
{
    char *end = NULL;
    if (!isdigit((unsigned char)text[0]))
        return false;
    unsigned long long v = strtoull(text, &end, 0);
    if (v > UINT32_MAX) // before a suffix multiplies it past 64 bits and back into range
        return false;
    if (*end == 'K' || *end == 'k')
        v *= 1024, end++;
    else if (*end == 'M' || *end == 'm')
        v *= 1024u * 1024u, end++;
    if (*end == 'B' && isalpha((unsigned char)end[-1]))
        end++;
    if (*end || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}
