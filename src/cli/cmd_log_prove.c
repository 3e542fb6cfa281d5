// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp log prove: proofs as JSON, all hashes in hexadecimal; docs/issuance-log.md fixes the members and says how
// they are checked without this program.
#include "src/cli/cli.h"
#include "src/cli/cmd_log.h"

#include "src/base/file.h"
#include "src/pki/cert.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// All leaf hashes, and the entry that is asked for.
typedef struct leaves {
    ds_buf hashes; // 32 bytes each
    const ds_log_options *o;
    ds_view der; // of --certificate
    uint8_t serial[16];
    uint64_t index;
    ds_buf entry; // empty: not met
} leaves;

static bool is_wanted(const leaves *l, const ds_log_record *r)
{
    if (l->o->has_entry)
        return r->number == l->o->entry;
    if (l->o->serial)
        return memcmp(r->serial, l->serial, 16) == 0;
    return l->der.len && r->cert.len == l->der.len && memcmp(r->cert.ptr, l->der.ptr, l->der.len) == 0;
}

static void collect(void *arg, const ds_log_record *r)
{
    leaves *l = arg;
    ds_buf_add(&l->hashes, r->leaf, 32);
    if (l->entry.len || !is_wanted(l, r))
        return;
    l->index = r->number - 1;
    ds_buf_add(&l->entry, r->entry.ptr, r->entry.len);
}

static enum ds_class leaf_hash(void *arg, unsigned level, uint64_t index, uint8_t ret[32], ds_err *e)
{
    const leaves *l = arg;
    (void)e;
    memcpy(ret, l->hashes.ptr + 32 * (index << level), 32);
    return DS_OK;
}

static json_t *hex(const void *bytes, size_t len)
{
    DS_CLEANUP_FREE char *text = ds_alloc(2 * len + 1);
    ds_hex(bytes, len, text);
    return json_string(text);
}

static json_t *path_json(const ds_merkle_proof *p)
{
    json_t *path = json_array();
    for (size_t i = 0; i < p->count; i++)
        json_array_append_new(path, hex(p->hash[i], 32));
    return path;
}

static enum ds_class prove_inclusion(leaves *l, uint64_t size, ds_hasher *h, json_t *doc, ds_err *e)
{
    const ds_merkle_source source = {.node = leaf_hash, .arg = l};
    ds_merkle_proof proof;
    if (!l->entry.len)
        return ds_fail(e, DS_INPUT, "the log has no such entry");
    enum ds_class rc = ds_merkle_prove_inclusion(&source, h, l->index, size, &proof, e);
    if (rc)
        return rc;
    json_object_set_new(doc, "index", json_integer((json_int_t)l->index));
    json_object_set_new(doc, "entry", hex(l->entry.ptr, l->entry.len));
    json_object_set_new(doc, "path", path_json(&proof));
    return DS_OK;
}

static enum ds_class prove_consistency(leaves *l, uint64_t size, ds_hasher *h, json_t *doc, ds_err *e)
{
    const ds_merkle_source source = {.node = leaf_hash, .arg = l};
    ds_merkle_proof proof;
    uint8_t root[32];
    enum ds_class rc = ds_merkle_prove_consistency(&source, h, l->o->from, size, &proof, e);
    if (!rc)
        rc = ds_merkle_root_of(&source, h, l->o->from, root, e);
    if (rc)
        return rc;
    json_object_set_new(doc, "from", json_integer((json_int_t)l->o->from));
    json_object_set_new(doc, "from_root", hex(root, 32));
    json_object_set_new(doc, "path", path_json(&proof));
    return DS_OK;
}

static enum ds_class prove(leaves *l, bool inclusion, json_t *doc, ds_err *e)
{
    const ds_log_reading reading = {.path = l->o->log, .each = collect, .arg = l};
    const ds_merkle_source source = {.node = leaf_hash, .arg = l};
    ds_log_report report;
    uint8_t root[32];
    enum ds_class rc = ds_log_verify(&reading, &report, e);
    if (rc)
        return rc;
    uint64_t size = l->o->has_size ? l->o->size : report.entries;
    if (size > report.entries)
        return ds_fail(e, DS_INPUT, "the log has %" PRIu64 " entries, not %" PRIu64, report.entries, size);
    ds_hasher *h = ds_hasher_new();
    memcpy(root, report.root, sizeof root);
    if (size < report.entries)
        rc = ds_merkle_root_of(&source, h, size, root, e);
    json_object_set_new(doc, "proof", json_string(inclusion ? "inclusion" : "consistency"));
    json_object_set_new(doc, "version", json_integer(1));
    json_object_set_new(doc, "ca", hex(report.ca, 32));
    json_object_set_new(doc, "size", json_integer((json_int_t)size));
    json_object_set_new(doc, "root", hex(root, 32));
    if (!rc)
        rc = inclusion ? prove_inclusion(l, size, h, doc, e) : prove_consistency(l, size, h, doc, e);
    ds_hasher_free(h);
    return rc;
}

static enum ds_class read_wanted(leaves *l, ds_buf *der, ds_err *e)
{
    X509 *cert = NULL;
    if (l->o->serial && !ds_unhex(l->o->serial, l->serial, 16))
        return ds_fail(e, DS_USAGE, "--serial takes 32 hexadecimal digits");
    if (!l->o->certificate)
        return DS_OK;
    enum ds_class rc = ds_cert_read(l->o->certificate, &cert, e);
    if (!rc)
        rc = ds_cert_der(cert, der, e);
    X509_free(cert);
    l->der = ds_buf_view(der);
    return rc;
}

static enum ds_class write_out(const ds_log_options *o, const json_t *doc, ds_err *e)
{
    char *text = json_dumps(doc, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    DS_CLEANUP_FREE char *line = ds_asprintf("%s\n", text ? text : "");
    free(text);
    if (o->output)
        return ds_file_write(o->output, (ds_view){(const uint8_t *)line, strlen(line)}, 0644, e);
    return fputs(line, stdout) < 0 ? ds_fail(e, DS_STORE, "standard output cannot be written") : DS_OK;
}

int ds_log_cmd_prove(const ds_log_options *o, const char *what)
{
    ds_err e = DS_ERR_INIT;
    bool inclusion = strcmp(what, "inclusion") == 0, consistency = strcmp(what, "consistency") == 0;
    int named = o->has_entry + (o->serial != NULL) + (o->certificate != NULL);
    if ((!inclusion && !consistency) || (inclusion && named != 1) || (consistency && !o->has_from)) {
        (void)ds_hint((ds_fail(&e, DS_USAGE, "log prove: what is to be proved is not said"), &e),
                      "inclusion takes --entry, --serial or --certificate; consistency takes --from");
        return ds_cli_fail(&e);
    }
    leaves l = {.o = o};
    DS_CLEANUP_BUF ds_buf der = {0};
    json_t *doc = json_object();
    enum ds_class rc = read_wanted(&l, &der, &e);
    if (!rc)
        rc = prove(&l, inclusion, doc, &e);
    if (!rc)
        rc = write_out(o, doc, &e);
    json_decref(doc);
    ds_buf_free(&l.hashes);
    ds_buf_free(&l.entry);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
