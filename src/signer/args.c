// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The child's command line; see args.h.
#include "src/signer/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(ds_signer_argv *out, size_t *n, const char *name, const char *value)
{
    if (!value)
        return;
    out->argv[(*n)++] = name;
    out->argv[(*n)++] = value;
}

void ds_signer_args_write(const ds_signer_args *args, ds_signer_argv *ret)
{
    const ds_signer_config *c = &args->config;
    size_t n = 0;
    *ret = (ds_signer_argv){0};
    snprintf(ret->numbers[0], sizeof ret->numbers[0], "%d", args->fd);
    snprintf(ret->numbers[1], sizeof ret->numbers[1], "%d", c->pin_fd);
    ret->argv[n++] = "devstamp";
    ret->argv[n++] = "signer";
    put(ret, &n, "--fd", ret->numbers[0]);
    put(ret, &n, "--key", c->key);
    put(ret, &n, "--module", c->module);
    put(ret, &n, "--token-serial", c->token_serial);
    put(ret, &n, "--certificate", c->certificate);
    put(ret, &n, "--log", c->log);
    put(ret, &n, "--log-key", c->log_key);
    put(ret, &n, "--quota", c->quota);
    put(ret, &n, "--pool-key", c->pool_key);
    put(ret, &n, "--seal", c->seal);
    put(ret, &n, "--seal-key", c->seal_key);
    put(ret, &n, "--seal-tpm", c->seal_tpm);
    put(ret, &n, "--station", c->station);
    put(ret, &n, "--pin-file", c->pin == DS_PIN_FILE ? c->pin_file : NULL);
    put(ret, &n, "--pin-fd", c->pin == DS_PIN_FD ? ret->numbers[1] : NULL);
    if (c->pin == DS_PIN_PROMPT)
        ret->argv[n++] = "--pin-prompt";
    if (args->ceremony)
        ret->argv[n++] = "--ceremony";
}

static bool read_number(const char *text, int *ret)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0 || v > 65535)
        return false;
    *ret = (int)v;
    return true;
}

// One option with a value; false where it is not known or its value is bad.
static bool take(ds_signer_args *a, const char *name, const char *value)
{
    ds_signer_config *c = &a->config;
    if (strcmp(name, "--fd") == 0)
        return read_number(value, &a->fd);
    if (strcmp(name, "--pin-fd") == 0) {
        c->pin = DS_PIN_FD;
        return read_number(value, &c->pin_fd);
    }
    if (strcmp(name, "--pin-file") == 0) {
        c->pin = DS_PIN_FILE;
        c->pin_file = value;
    } else if (strcmp(name, "--key") == 0) {
        c->key = value;
    } else if (strcmp(name, "--module") == 0) {
        c->module = value;
    } else if (strcmp(name, "--token-serial") == 0) {
        c->token_serial = value;
    } else if (strcmp(name, "--certificate") == 0) {
        c->certificate = value;
    } else if (strcmp(name, "--log") == 0) {
        c->log = value;
    } else if (strcmp(name, "--log-key") == 0) {
        c->log_key = value;
    } else if (strcmp(name, "--quota") == 0) {
        c->quota = value;
    } else if (strcmp(name, "--pool-key") == 0) {
        c->pool_key = value;
    } else if (strcmp(name, "--seal") == 0) {
        c->seal = value;
    } else if (strcmp(name, "--seal-key") == 0) {
        c->seal_key = value;
    } else if (strcmp(name, "--seal-tpm") == 0) {
        c->seal_tpm = value;
    } else if (strcmp(name, "--station") == 0) {
        c->station = value;
    } else {
        return false;
    }
    return true;
}

enum ds_class ds_signer_args_read(int argc, char **argv, ds_signer_args *ret, ds_err *e)
{
    ds_signer_args a = {.fd = -1, .config.pin_fd = -1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--pin-prompt") == 0)
            a.config.pin = DS_PIN_PROMPT;
        else if (strcmp(argv[i], "--ceremony") == 0)
            a.ceremony = true;
        else if (i + 1 < argc && take(&a, argv[i], argv[i + 1]))
            i++;
        else
            return ds_fail(e, DS_USAGE, "signer: bad option %s", argv[i]);
    }
    bool whole = a.ceremony || (a.config.key && a.config.certificate && a.config.log);
    if (a.fd < 0 || !whole)
        return ds_hint((ds_fail(e, DS_USAGE, "signer: an option is missing"), e),
                       "this verb is for devstamp itself: use devstamp provision or devstamp ca");
    *ret = a;
    return DS_OK;
}
