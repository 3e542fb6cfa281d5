// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca lint: what src/pki/lint.h finds in certificates, as they stand in the file, byte by byte.
#include "src/cli/cmd_ca.h"

#include "src/base/file.h"
#include "src/pki/lint.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

static const char usage[] =
    "usage: devstamp ca lint [--json] FILE...\n\n"
    "Judges every certificate of the files (PEM, as many as there are, or DER) by RFC 5280, IEEE 802.1AR and what AWS\n"
    "IoT takes; each finding names its clause. Exit 0 when no certificate has an error, 3 when one has.\n"
    "Certificates with an error are never handed out by the signer.\n";

typedef struct linted {
    json_t *list; // NULL: plain words
    unsigned certificates, errors;
} linted;

static void print(const ds_lint *lint, const char *heading)
{
    printf("%s: %u error%s, %u warning%s, %u note%s\n", heading, lint->by_level[DS_LINT_ERROR],
           lint->by_level[DS_LINT_ERROR] == 1 ? "" : "s", lint->by_level[DS_LINT_WARNING],
           lint->by_level[DS_LINT_WARNING] == 1 ? "" : "s", lint->by_level[DS_LINT_NOTE],
           lint->by_level[DS_LINT_NOTE] == 1 ? "" : "s");
    for (size_t i = 0; i < lint->count; i++)
        printf("  %-8s %s (%s)\n", ds_lint_level_name(lint->finding[i].level), lint->finding[i].text,
               lint->finding[i].clause);
}

// Names in a certificate are anybody's: what is no UTF-8 is left out.
static json_t *text(const char *s)
{
    json_t *value = json_string(s);
    return value ? value : json_string("");
}

static void add_json(json_t *list, const ds_lint *lint, const char *path, unsigned number)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < lint->count; i++)
        json_array_append_new(findings,
                              json_pack("{s:s, s:s, s:o}", "level", ds_lint_level_name(lint->finding[i].level),
                                        "clause", lint->finding[i].clause, "text", text(lint->finding[i].text)));
    json_array_append_new(list, json_pack("{s:o, s:i, s:i, s:i, s:i, s:o}", "file", text(path), "certificate",
                                          (int)number, "errors", (int)lint->by_level[DS_LINT_ERROR], "warnings",
                                          (int)lint->by_level[DS_LINT_WARNING], "notes",
                                          (int)lint->by_level[DS_LINT_NOTE], "findings", findings));
}

static void judge(linted *all, ds_view der, const char *path, unsigned number)
{
    ds_lint lint;
    ds_lint_certificate(der, &lint);
    all->certificates++;
    all->errors += lint.by_level[DS_LINT_ERROR];
    if (all->list) {
        add_json(all->list, &lint, path, number);
        return;
    }
    DS_CLEANUP_FREE char *heading = number ? ds_asprintf("%s, certificate %u", path, number) : ds_strdup(path);
    print(&lint, heading);
}

static enum ds_class judge_pem(linted *all, ds_view bytes, const char *path, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    unsigned number = 0;
    while (bio && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0)
            judge(all, (ds_view){data, (size_t)len}, path, ++number);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    unsigned long why = ERR_peek_last_error();
    bool end = ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    return number && end ? DS_OK : ds_fail(e, DS_INPUT, "%s: no certificate, or PEM that is broken", path);
}

static enum ds_class judge_file(linted *all, const char *path, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(path, FILE_MAX, &bytes, e);
    if (rc)
        return rc;
    if (bytes.len && bytes.ptr[0] == 0x30)
        judge(all, ds_buf_view(&bytes), path, 0);
    else
        rc = judge_pem(all, ds_buf_view(&bytes), path, e);
    return rc;
}

int ds_cmd_ca_lint(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    linted all = {0};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return ds_cli_usage(usage, true);
    int first = argc > 1 && strcmp(argv[1], "--json") == 0 ? 2 : 1;
    if (first >= argc || argv[first][0] == '-')
        return ds_cli_usage(usage, false);
    all.list = first == 2 ? json_array() : NULL;
    enum ds_class rc = DS_OK;
    for (int i = first; i < argc && !rc; i++)
        rc = judge_file(&all, argv[i], &e);
    if (!rc && all.list) {
        json_dumpf(all.list, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all.list);
    if (rc)
        return ds_cli_fail(&e);
    return all.errors ? DS_EXIT_INPUT : DS_EXIT_OK;
}
