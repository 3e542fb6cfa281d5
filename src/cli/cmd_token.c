// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp token: what tokens there are and how they are; making them ready is in cmd_token_setup.c. A process that
// does nothing else: it gives up core dumps and being traced before it loads a PKCS#11 module, as the signer does.
#include "src/cli/cmd_token.h"

#include "src/pki/token.h"
#include "src/signer/signer.h"
#include "src/signer/sandbox.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char list_usage[] =
    "usage: devstamp token list --module PATH\n\n"
    "Lists the tokens of a PKCS#11 module: label, serial number, maker, and how many tries the PIN has left as far as\n"
    "the token tells. No PIN is asked for or sent.\n";

static const char status_usage[] = "usage: devstamp token status --module PATH\n\n"
                                   "As list, with the keys of each token: its URI for --sub-key and the station file, "
                                   "type, label, the\n"
                                   "SHA-256 of its public key, as release keys and approvers are named by, and, where "
                                   "the token tells before a login,\n"
                                   "whether the PIN is asked for at each use. Keys it hides are not shown.\n";

static const char check_usage[] =
    "usage: devstamp token check-pin --module PATH --key URI [options]\n\n"
    "Logs in once, which sets the count of wrong PINs back where the PIN is right. For a token that devstamp refuses "
    "to\n"
    "use because two tries are left: whoever knows the PIN spends one of them. With one try left nothing is tried.\n\n"
    "  --key URI        a key in the token, as in the station file\n"
    "  --serial N       serial number the token must have, else no PIN is sent\n"
    "  --pin-file FILE  PIN of the token, in a file that only its owner can read\n"
    "  --pin-fd N       PIN from file descriptor N (neither: asked on the terminal)\n";

typedef struct options {
    const char *key, *serial;
    ds_signer_config access;
} options;

static const struct option long_options[] = {
    {"module", required_argument, NULL, 'm'},
    {"key", required_argument, NULL, 'k'},
    {"serial", required_argument, NULL, 's'},
    {"pin-file", required_argument, NULL, 'p'},
    {"pin-fd", required_argument, NULL, 'd'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take(options *o, int id, const char *value)
{
    char *end = NULL;
    switch (id) {
    case 'm':
        o->access.module = value;
        return true;
    case 'k':
        o->key = value;
        return true;
    case 's':
        o->serial = value;
        return true;
    case 'p':
        o->access.pin = DS_PIN_FILE;
        o->access.pin_file = value;
        return true;
    case 'd':
        o->access.pin = DS_PIN_FD;
        o->access.pin_fd = (int)strtol(value, &end, 10);
        return *value >= '0' && *value <= '9' && !*end && o->access.pin_fd < 1024;
    default:
        return false;
    }
}

// False where the exit code is decided already.
static bool parse(int argc, char **argv, const char *usage, bool key, options *o, int *ret_exit)
{
    *o = (options){.access = {.pin = DS_PIN_PROMPT, .pin_fd = -1}};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        if (take(o, id, optarg))
            continue;
        *ret_exit = ds_cli_usage(usage, id == 'h');
        return false;
    }
    bool other = o->key || o->serial || o->access.pin != DS_PIN_PROMPT;
    if (optind < argc || !o->access.module || (key ? !o->key : other)) {
        *ret_exit = ds_cli_usage(usage, false);
        return false;
    }
    return true;
}

typedef struct view {
    bool keys;
    unsigned tokens, keys_shown;
} view;

// Names come from the token: nothing but what prints leaves here.
static void print_name(const char *name)
{
    for (const char *p = name; *p; p++)
        putchar((unsigned char)*p >= 0x20 && *p != 0x7F ? *p : '?');
}

static void on_token(void *arg, const ds_token_seen *t)
{
    static const char *const left[] = {"LOCKED: unlock it with the token's own tool",
                                       "ONE TRY LEFT: make sure of it and log in once with the token's own tool",
                                       "TWO TRIES LEFT: make sure of it, then devstamp token check-pin"};
    view *v = arg;
    v->tokens++;
    printf("token \"");
    print_name(t->label);
    printf("\"\n  serial number  ");
    print_name(t->serial);
    printf("\n  maker          ");
    print_name(t->maker);
    printf(", ");
    print_name(t->model);
    printf("\n  PIN            %s\n", !t->initialised   ? "NOT SET UP: devstamp token init"
                                      : t->tries >= 0   ? left[t->tries]
                                      : t->wrong_before ? "a wrong one was entered before"
                                                        : "not near its limit");
}

static void on_key(void *arg, const ds_token_key_seen *k)
{
    view *v = arg;
    if (!v->keys)
        return;
    const ds_key_kind *kind = ds_key_kind_of(k->type);
    v->keys_shown++;
    printf("  key            %s\n                 %s, \"", k->uri,
           kind ? kind->label : "of a type that is not used here");
    print_name(k->label);
    printf("\"%s\n", k->each_use ? ", PIN at each use" : "");
    if (!kind)
        return;
    char id[65];
    ds_hex(k->digest, sizeof k->digest, id);
    printf("                 sha256:%s\n", id);
}

static int show(int argc, char **argv, const char *usage, bool keys)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    options o;
    view v = {.keys = keys};
    const ds_token_visitor visitor = {on_token, on_key, &v};
    if (!parse(argc, argv, usage, false, &o, &code))
        return code;
    if (ds_sandbox_harden(&e) || ds_token_survey(o.access.module, &visitor, &e))
        return ds_cli_fail(&e);
    if (v.tokens == 0) {
        (void)ds_hint((ds_fail(&e, DS_TOKEN, "no token is there"), &e), "plug it in, and see that its service runs");
        return ds_cli_fail(&e);
    }
    return DS_EXIT_OK;
}

static int cmd_list(int argc, char **argv)
{
    return show(argc, argv, list_usage, false);
}

static int cmd_status(int argc, char **argv)
{
    return show(argc, argv, status_usage, true);
}

static enum ds_class check_pin(const options *o, ds_err *e)
{
    ds_secret pin = {0};
    enum ds_class rc = ds_token_uri_check(o->key, e);
    if (!rc)
        rc = ds_sandbox_harden(e);
    if (!rc && o->access.pin == DS_PIN_FILE)
        rc = ds_secret_read_file(o->access.pin_file, 255, &pin, e);
    else if (!rc && o->access.pin == DS_PIN_FD)
        rc = ds_secret_read_line(o->access.pin_fd, 255, &pin, e);
    else if (!rc)
        rc = ds_secret_prompt("PIN of the token: ", 255, &pin, e);
    const ds_token_access access = {
        .uri = o->key,
        .module = o->access.module,
        .pin = &pin,
        .serial = o->serial,
        .spend = true,
    };
    ds_token *t = NULL;
    if (!rc)
        rc = ds_token_open(&access, &t, e);
    if (!rc)
        ds_token_close(t);
    ds_secret_free(&pin);
    return rc;
}

static int cmd_check_pin(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    options o;
    if (!parse(argc, argv, check_usage, true, &o, &code))
        return code;
    if (check_pin(&o, &e))
        return ds_cli_fail(&e);
    puts("the PIN is right");
    return DS_EXIT_OK;
}

int ds_cmd_token(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"list", "list tokens", cmd_list},
        {"status", "list tokens and their keys", cmd_status},
        {"init", "make a token ready for its first key", ds_cmd_token_init},
        {"generate", "make a key inside a token", ds_cmd_token_generate},
        {"attest", "verify that a key was made in a token", ds_cmd_token_attest},
        {"check-pin", "log in once, when few tries are left", cmd_check_pin},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp token", verbs, argc, argv);
}
