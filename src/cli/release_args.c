// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing for a release, what its verbs share; see release_args.h.
#include "src/cli/release_args.h"

#include "src/base/file.h"

#include <getopt.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option known[] = {
    {"key", required_argument, NULL, 'k'},
    {"module", required_argument, NULL, 'm'},
    {"token-serial", required_argument, NULL, 't'},
    {"pin-file", required_argument, NULL, 'p'},
    {"pin-fd", required_argument, NULL, 'd'},
    {"no-pin", no_argument, NULL, 'N'},
    {"network", no_argument, NULL, 'n'},
    {"image", required_argument, NULL, 'i'},
    {"digest", required_argument, NULL, 'D'},
    {"approve", no_argument, NULL, 'a'},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool is_allowed(const char *allowed, int id)
{
    const char *name = strchr("mtpdnN", id) ? "key" : NULL; // what belongs to a key's token
    for (const struct option *k = known; k->name && !name; k++)
        name = k->val == id ? k->name : NULL;
    return name && strstr(allowed, name);
}

static bool take_pin_fd(ds_release_args *a, const char *text)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    a->access.pin = DS_PIN_FD;
    a->access.pin_fd = (int)v;
    return *text >= '0' && *text <= '9' && !*end && v < 1024;
}

static bool take(ds_release_args *a, int id, const char *value)
{
    switch (id) {
    case 'k':
        a->key = value;
        return true;
    case 'm':
        a->access.module = value;
        return true;
    case 't':
        a->access.token_serial = value;
        return true;
    case 'p':
        a->access.pin = DS_PIN_FILE;
        a->access.pin_file = value;
        return true;
    case 'd':
        return take_pin_fd(a, value);
    case 'i':
        a->image = value;
        return true;
    case 'D':
        a->has_digest = strlen(value) == 64 && ds_unhex(value, a->digest, 32);
        return a->has_digest;
    case 'o':
        a->out = value;
        return true;
    case 'n':
        return a->network = true;
    case 'N':
        a->access.pin = DS_PIN_NONE;
        return a->no_pin = true;
    default:
        return a->approve = true;
    }
}

// A plain path is a key's in a file.
static void name_key(ds_release_args *a)
{
    bool token = strncmp(a->key, "pkcs11:", 7) == 0;
    a->uri = token || strncmp(a->key, "file:", 5) == 0 ? ds_strdup(a->key) : ds_asprintf("file:%s", a->key);
    if (token && a->access.pin == DS_PIN_NONE && !a->no_pin)
        a->access.pin = DS_PIN_PROMPT;
}

bool ds_release_args_read(int argc, char **argv, const ds_release_verb *verb, ds_release_args *ret, int *ret_exit)
{
    *ret = (ds_release_args){.access = {.pin_fd = -1}};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "o:h", known, NULL)) != -1;) {
        if (id != 'h' && id != '?' && is_allowed(verb->allowed, id) && take(ret, id, optarg))
            continue;
        *ret_exit = ds_cli_usage(verb->usage, id == 'h');
        return false;
    }
    for (; optind < argc && ret->count < 2; optind++)
        ret->operands[ret->count++] = argv[optind];
    if (optind < argc || ret->count != verb->operands || (verb->needs_key && !ret->key) ||
        (verb->needs_out && !ret->out) || (verb->needs_digest && !ret->has_digest)) {
        *ret_exit = ds_cli_usage(verb->usage, false);
        return false;
    }
    if (ret->key)
        name_key(ret);
    return true;
}

void ds_release_args_free(ds_release_args *a)
{
    free(a->uri);
    a->uri = NULL;
}

enum ds_class ds_release_compare(const ds_release_args *a, const uint8_t digest[32], ds_err *e)
{
    char is[65];
    if (!a->has_digest || memcmp(a->digest, digest, 32) == 0)
        return DS_OK;
    ds_hex(digest, 32, is);
    (void)ds_fail(e, DS_POLICY, "it is another bundle than --digest names: %s", is);
    (void)ds_hint(e, "look at this one with devstamp bundle show; nothing was signed");
    return DS_POLICY;
}

static enum ds_class sign_text(const ds_release_args *a, ds_view order, const char *image, ds_answer *ret, ds_err *e)
{
    // Beside the PIN file, so that every run finds the note; else beside what is made.
    const char *beside = a->access.pin == DS_PIN_FILE ? a->access.pin_file : a->out ? a->out : a->operands[0];
    const ds_order_sign s = {a->uri, image, beside, order, a->network};
    return ds_order_have_signed(&a->access, &s, ret, e);
}

enum ds_class ds_release_sign(const ds_release_args *a, const ds_order *order, const char *image, ds_answer *ret,
                              ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    enum ds_class rc = ds_order_write(order, &text, e);
    return rc ? rc : sign_text(a, ds_buf_view(&text), image, ret, e);
}

enum ds_class ds_release_sign_carried(const ds_release_args *a, bool image, ds_order *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0}, out = {0};
    ds_answer answer;
    uint8_t digest[32];
    enum ds_class rc = ds_file_read(a->operands[0], DS_ORDER_MAX, &text, e);
    if (!rc && ds_order_parse(ds_buf_view(&text), ret, e))
        rc = ds_wrap(e, "%s", a->operands[0]);
    if (!rc && ret->what == DS_ORDER_STATEMENT)
        rc = ds_fail(e, DS_INPUT, "%s: is of a statement", a->operands[0]);
    if (!rc && (ret->what == DS_ORDER_IMAGE) != image)
        rc = ds_fail(e, DS_INPUT, "%s: is of %s", a->operands[0],
                     image ? "a bundle: devstamp bundle sign-order" : "an image: devstamp image sign-order");
    if (!rc && !image) {
        SHA256(ret->text.ptr, ret->text.len, digest);
        if (ds_release_compare(a, digest, e))
            rc = ds_wrap(e, "%s", a->operands[0]);
    }
    if (!rc)
        rc = sign_text(a, ds_buf_view(&text), a->image, &answer, e);
    if (!rc)
        rc = ds_answer_write(&answer, &out, e);
    return rc ? rc : ds_file_write(a->out, ds_buf_view(&out), 0644, e);
}

enum ds_class ds_release_write_order(const ds_order *o, const char *path, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    enum ds_class rc = ds_order_write(o, &text, e);
    return rc ? rc : ds_file_write(path, ds_buf_view(&text), 0644, e);
}

enum ds_class ds_release_read_answer(const char *path, ds_answer *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    enum ds_class rc = ds_file_read(path, DS_ORDER_MAX, &text, e);
    if (!rc && ds_answer_parse(ds_buf_view(&text), ret, e))
        rc = ds_wrap(e, "%s", path);
    return rc;
}

void ds_release_print_digest(const char *what, const uint8_t digest[32])
{
    char hex[65];
    ds_hex(digest, 32, hex);
    printf("%s %s\n", what, hex);
}
