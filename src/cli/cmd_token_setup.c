// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp token init and generate: what the security officer does with a token before the CA's ceremony. As all of
// devstamp token, in a process that does nothing else.
#include "src/cli/cmd_token.h"

#include "src/pki/token_setup.h"
#include "src/signer/sandbox.h"

#include <getopt.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_MAX = 255 };

static const char init_usage[] =
    "usage: devstamp token init --module PATH [options]\n\n"
    "Makes a token ready for its first key: one that is not initialised yet, or the one YubiKey that is there.\n"
    "A new token gets a label, an SO PIN and a PIN. A YubiKey's management key (its SO PIN: 48 hexadecimal digits), "
    "PUK\n"
    "and PIN (6 to 8 characters each) are changed from the well-known ones; each costs one try at most.\n"
    "What is not given by file or descriptor is asked for twice on the terminal.\n\n"
    "  --serial N            the token of that serial number\n"
    "  --label NAME          label of a new token\n"
    "  --so-pin-file FILE    new SO PIN or management key, in a file that only its owner can read; --so-pin-fd N\n"
    "  --pin-file FILE       new PIN; --pin-fd N\n"
    "  --puk-file FILE       new PUK, of a YubiKey; --puk-fd N\n"
    "  --keep so-pin|pin|puk leave that as it is (YubiKey); may be repeated\n"
    "  --in-use N            a YubiKey of that serial number that holds keys already, which stay\n"
    "  --erase N             a token of that serial number that is initialised already: ALL IT HOLDS IS LOST\n";

static const char generate_usage[] =
    "usage: devstamp token generate --module PATH --key URI [options]\n\n"
    "Makes a key inside a token, from where it cannot be taken, and prints its URI for the station file and for\n"
    "'devstamp ca init --sub-existing --sub-key'. In a YubiKey the URI names the slot: id=%01 is 9a, id=%02 is 9c,\n"
    "id=%05 to id=%18 are 82 to 95; the management key is asked for. Elsewhere the PIN is.\n\n"
    "  --key URI             token and name of the new key: pkcs11:token=NAME;object=NAME or …;id=%02\n"
    "  --key-type TYPE       ecdsa-p256 (default), ecdsa-p384, rsa-2048, rsa-3072\n"
    "  --pin-policy P        PIN: once, always (asked for at each use) or never\n"
    "  --touch-policy P      touch: never, always or cached (for 15 s); of a YubiKey alone\n"
    "  --replace             overwrite the key of that id: IT IS LOST, with all that needs it\n"
    "  --serial N            serial number the token must have, else nothing is sent to it\n"
    "  --pin-file FILE       PIN, in a file that only its owner can read; --pin-fd N\n"
    "  --so-pin-file FILE    management key of a YubiKey; --so-pin-fd N\n";

// Where a secret comes from: a file, a descriptor, or, without both, the terminal.
typedef struct source {
    const char *file;
    int fd; // -1: none
    bool keep;
} source;

typedef struct options {
    const char *module, *key, *serial, *label, *erase, *in_use;
    source so_pin, pin, puk;
    enum ds_key_type type;
    uint8_t pin_policy, touch_policy;
    bool replace;
} options;

enum {
    MODULE = 256,
    KEY,
    SERIAL,
    LABEL,
    ERASE,
    IN_USE,
    SO_PIN_FILE,
    SO_PIN_FD,
    PIN_FILE,
    PIN_FD,
    PUK_FILE,
    PUK_FD,
    KEEP,
    TYPE,
    PIN_POLICY,
    TOUCH_POLICY,
    REPLACE
};

static const struct option init_options[] = {
    {"module", required_argument, NULL, MODULE},
    {"serial", required_argument, NULL, SERIAL},
    {"label", required_argument, NULL, LABEL},
    {"erase", required_argument, NULL, ERASE},
    {"in-use", required_argument, NULL, IN_USE},
    {"so-pin-file", required_argument, NULL, SO_PIN_FILE},
    {"so-pin-fd", required_argument, NULL, SO_PIN_FD},
    {"pin-file", required_argument, NULL, PIN_FILE},
    {"pin-fd", required_argument, NULL, PIN_FD},
    {"puk-file", required_argument, NULL, PUK_FILE},
    {"puk-fd", required_argument, NULL, PUK_FD},
    {"keep", required_argument, NULL, KEEP},
    {"help", no_argument, NULL, 'h'},
    {0},
};
static const struct option generate_options[] = {
    {"module", required_argument, NULL, MODULE},
    {"key", required_argument, NULL, KEY},
    {"serial", required_argument, NULL, SERIAL},
    {"key-type", required_argument, NULL, TYPE},
    {"pin-policy", required_argument, NULL, PIN_POLICY},
    {"touch-policy", required_argument, NULL, TOUCH_POLICY},
    {"replace", no_argument, NULL, REPLACE},
    {"so-pin-file", required_argument, NULL, SO_PIN_FILE},
    {"so-pin-fd", required_argument, NULL, SO_PIN_FD},
    {"pin-file", required_argument, NULL, PIN_FILE},
    {"pin-fd", required_argument, NULL, PIN_FD},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool take_fd(source *s, const char *text)
{
    char *end = NULL;
    long fd = strtol(text, &end, 10);
    s->fd = (int)fd;
    return *text >= '0' && *text <= '9' && !*end && fd < 1024;
}

static bool take_keep(options *o, const char *part)
{
    source *s = strcmp(part, "so-pin") == 0 ? &o->so_pin
                : strcmp(part, "pin") == 0  ? &o->pin
                : strcmp(part, "puk") == 0  ? &o->puk
                                            : NULL;
    if (s)
        s->keep = true;
    return s != NULL;
}

static bool take_policy(const char *text, const char *(*name)(uint8_t), uint8_t *ret)
{
    for (uint8_t p = 1; p <= 3; p++) {
        if (strcmp(name(p), text) == 0) {
            *ret = p;
            return true;
        }
    }
    return false;
}

// Where the text of an option goes; NULL: it is of another kind.
static const char **text_of(options *o, int id)
{
    switch (id) {
    case MODULE:
        return &o->module;
    case KEY:
        return &o->key;
    case SERIAL:
        return &o->serial;
    case LABEL:
        return &o->label;
    case ERASE:
        return &o->erase;
    case IN_USE:
        return &o->in_use;
    case SO_PIN_FILE:
        return &o->so_pin.file;
    case PIN_FILE:
        return &o->pin.file;
    case PUK_FILE:
        return &o->puk.file;
    default:
        return NULL;
    }
}

static bool take(options *o, int id, const char *value)
{
    const char **text = text_of(o, id);
    if (text) {
        *text = value;
        return true;
    }
    switch (id) {
    case SO_PIN_FD:
        return take_fd(&o->so_pin, value);
    case PIN_FD:
        return take_fd(&o->pin, value);
    case PUK_FD:
        return take_fd(&o->puk, value);
    case KEEP:
        return take_keep(o, value);
    case TYPE:
        o->type = ds_key_type_parse(value);
        return o->type != DS_KEY_NONE;
    case PIN_POLICY:
        return take_policy(value, ds_pin_policy_name, &o->pin_policy);
    case TOUCH_POLICY:
        return take_policy(value, ds_touch_policy_name, &o->touch_policy);
    case REPLACE:
        o->replace = true;
        return true;
    default:
        return false;
    }
}

// False where the exit code is decided already.
static bool parse(int argc, char **argv, const struct option *known, const char *usage, options *o, int *ret_exit)
{
    *o = (options){.so_pin.fd = -1, .pin.fd = -1, .puk.fd = -1, .type = DS_KEY_ECDSA_P256};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        if (take(o, id, optarg))
            continue;
        *ret_exit = ds_cli_usage(usage, id == 'h');
        return false;
    }
    if (optind == argc && o->module && (known == init_options || o->key))
        return true;
    *ret_exit = ds_cli_usage(usage, false);
    return false;
}

static enum ds_class ask_twice(const char *name, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *first = ds_asprintf("new %s: ", name);
    DS_CLEANUP_FREE char *second = ds_asprintf("new %s, again: ", name);
    DS_CLEANUP_SECRET ds_secret again = {0};
    enum ds_class rc = ds_secret_prompt(first, SECRET_MAX, ret, e);
    if (!rc)
        rc = ds_secret_prompt(second, SECRET_MAX, &again, e);
    if (!rc && (again.len != ret->len || memcmp(again.ptr, ret->ptr, ret->len) != 0))
        rc = ds_fail(e, DS_INPUT, "the two are not the same; nothing was changed");
    return rc;
}

static enum ds_class read_secret(const source *s, const char *name, bool fresh, ds_secret *ret, ds_err *e)
{
    enum ds_class rc = DS_OK;
    DS_CLEANUP_FREE char *prompt = ds_asprintf("%s: ", name);
    if (s->keep)
        return DS_OK;
    if (s->file)
        rc = ds_secret_read_file(s->file, SECRET_MAX, ret, e);
    else if (s->fd >= 0)
        rc = ds_secret_read_line(s->fd, SECRET_MAX, ret, e);
    else
        rc = fresh ? ask_twice(name, ret, e) : ds_secret_prompt(prompt, SECRET_MAX, ret, e);
    return rc ? ds_wrap(e, "%s", name) : DS_OK;
}

static void say_done(void *arg, const char *what)
{
    (void)arg;
    printf("%s changed\n", what);
    fflush(stdout);
}

static enum ds_class set_up(const options *o, ds_token *t, ds_err *e)
{
    ds_secret so_pin = {0}, pin = {0}, puk = {0};
    bool yubikey = ds_token_is_yubikey(t);
    const ds_token_setup what = {
        .label = o->label,
        .erase = o->erase,
        .in_use = o->in_use,
        .so_pin = &so_pin,
        .pin = &pin,
        .puk = &puk,
        .on_done = say_done,
    };
    enum ds_class rc = DS_OK;
    if (!yubikey && (o->so_pin.keep || o->pin.keep || o->puk.keep || o->puk.file || o->puk.fd >= 0 || o->in_use))
        rc = ds_fail(e, DS_USAGE, "--keep, --puk-file and --in-use are for a YubiKey, which this token is not");
    if (!rc && yubikey && o->label)
        rc = ds_fail(e, DS_USAGE, "a YubiKey has its own label");
    if (!rc)
        rc = read_secret(&o->so_pin, yubikey ? "management key" : "SO PIN", true, &so_pin, e);
    if (!rc && yubikey)
        rc = read_secret(&o->puk, "PUK", true, &puk, e);
    if (!rc)
        rc = read_secret(&o->pin, "PIN", true, &pin, e);
    if (!rc)
        rc = ds_token_set_up(t, &what, e);
    ds_secret_free(&puk);
    ds_secret_free(&pin);
    ds_secret_free(&so_pin);
    return rc;
}

int ds_cmd_token_init(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    options o;
    ds_token *t = NULL;
    if (!parse(argc, argv, init_options, init_usage, &o, &code))
        return code;
    enum ds_class rc = ds_sandbox_harden(&e);
    if (!rc)
        rc = ds_token_pick(o.module, o.serial, &t, &e);
    if (!rc)
        rc = set_up(&o, t, &e);
    if (!rc)
        printf("token \"%s\", serial number %s, is ready\n", ds_token_label(t), ds_token_serial(t));
    ds_token_close(t);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// --- generate

// Was done what was demanded? The attestation tells, where there is one.
static enum ds_class check_policies(const options *o, ds_token *t, const ds_token_key *k, ds_err *e)
{
    X509 *leaf = NULL;
    STACK_OF(X509) *chain = NULL;
    ds_attestation a;
    if (!ds_token_is_yubikey(t) || ds_token_attestation(t, k, &leaf, &chain, NULL))
        return DS_OK;
    enum ds_class rc = ds_attestation_read(leaf, &a, e);
    if (!rc &&
        ((o->pin_policy && a.pin_policy != o->pin_policy) || (o->touch_policy && a.touch_policy != o->touch_policy)))
        rc = ds_fail(e, DS_TOKEN, "the key was made, but with PIN policy %s and touch policy %s",
                     ds_pin_policy_name(a.pin_policy), ds_touch_policy_name(a.touch_policy));
    if (!rc)
        printf("PIN policy %s, touch policy %s\n", ds_pin_policy_name(a.pin_policy),
               ds_touch_policy_name(a.touch_policy));
    X509_free(leaf);
    sk_X509_pop_free(chain, X509_free);
    return rc;
}

static enum ds_class generate(const options *o, ds_token *t, ds_err *e)
{
    const ds_token_new what = {o->type, o->pin_policy, o->touch_policy, o->replace};
    ds_token_key k = {0};
    char uri[300], id[65];
    uint8_t digest[32];
    enum ds_class rc = ds_token_generate(t, &what, &k, e);
    if (!rc)
        rc = ds_token_key_uri(t, &k, uri, e);
    if (!rc)
        rc = ds_public_key_digest(k.public_key, digest, e);
    if (!rc)
        rc = check_policies(o, t, &k, e);
    if (!rc) {
        ds_hex(digest, sizeof digest, id);
        fprintf(stderr, "public key sha256:%s\n", id); // scripts take the URI from the other stream
        printf("%s\n", uri);
    }
    ds_token_key_free(&k);
    return rc;
}

// Whose token it is decides which secret is asked for.
static enum ds_class look(const options *o, bool *ret_yubikey, ds_err *e)
{
    const ds_token_access access = {.uri = o->key, .module = o->module, .user = DS_TOKEN_NOBODY, .serial = o->serial};
    ds_token *t = NULL;
    enum ds_class rc = ds_token_open(&access, &t, e);
    if (rc)
        return rc;
    *ret_yubikey = ds_token_is_yubikey(t);
    ds_token_close(t);
    return DS_OK;
}

static enum ds_class run_generate(const options *o, ds_err *e)
{
    ds_secret secret = {0};
    bool yubikey = false;
    ds_token *t = NULL;
    enum ds_class rc = ds_token_uri_check(o->key, e);
    if (!rc)
        rc = ds_sandbox_harden(e);
    if (!rc)
        rc = look(o, &yubikey, e);
    if (!rc)
        rc = read_secret(yubikey ? &o->so_pin : &o->pin, yubikey ? "management key" : "PIN of the token", false,
                         &secret, e);
    const ds_token_access access = {
        .uri = o->key,
        .module = o->module,
        .user = yubikey ? DS_TOKEN_OFFICER : DS_TOKEN_USER,
        .pin = &secret,
        .rw = true,
        .serial = o->serial,
    };
    if (!rc)
        rc = ds_token_open(&access, &t, e);
    if (!rc)
        rc = generate(o, t, e);
    ds_token_close(t);
    ds_secret_free(&secret);
    return rc;
}

int ds_cmd_token_generate(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    options o;
    if (!parse(argc, argv, generate_options, generate_usage, &o, &code))
        return code;
    return run_generate(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
