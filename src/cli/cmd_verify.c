// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp verify device: is this the genuine device of this label; and, where asked, hand it Wi-Fi credentials then
// and only then.
#include "src/cli/cli.h"

#include "src/base/file.h"
#include "src/base/secret.h"
#include "src/cli/owner_carrier.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOTS_MAX = 65536, LABEL_MAX = 512, SSID_MAX = 32, PASSPHRASE_MAX = 64 };

static const char usage[] =
    "usage: devstamp verify device --root FILE (--label FILE | --name SERIAL [--pop-file FILE | --pop-fd N])\n"
    "           [--ssid NAME [--passphrase-file FILE | --passphrase-fd N | --open]] [options] PORT\n"
    "\n"
    "Finds out whether the device at PORT is the genuine one of its label: it must know the label's secret, show a\n"
    "certificate of this product for the label's serial number, and sign a fresh challenge with that certificate's\n"
    "key. With --ssid a genuine device is given the network's name and passphrase, sealed for it alone.\n"
    "\n"
    "  PORT                   serial port, tcp://HOST:PORT, rfc2217://HOST:PORT: the device's console;\n"
    "                         http://HOST/devstamp-owner: ESP-IDF's protocomm\n"
    "  --root FILE            root certificate(s) of the product, PEM\n"
    "  --label FILE           text of the label's QR code (devstamp label --text), in a file that only its owner can\n"
    "                         read; '-': from standard input\n"
    "  --name SERIAL          serial number on the label\n"
    "  --pop-file FILE        proof of possession on the label, in a file that only its owner can read;\n"
    "  --pop-fd N             or from an open file descriptor; else it is asked for\n"
    "  --ssid NAME            network that the device is to join\n"
    "  --passphrase-file FILE its passphrase, as above\n"
    "  --passphrase-fd N\n"
    "  --open                 the network has none\n"
    "  --json                 one JSON object on standard output\n"
    "  -v, --verbose          what the device says on its console, on standard error\n"
    "\n"
    "exit code: 0 genuine (and credentials taken), 8 not genuine, 3 wrong secret, 4 or 7 no answer\n";

typedef struct options {
    const char *root, *label, *name, *pop_file, *ssid, *pass_file, *port;
    int pop_fd, pass_fd;
    bool open, json, verbose;
} options;

static const struct option long_options[] = {
    {"root", required_argument, NULL, 'r'},
    {"label", required_argument, NULL, 'l'},
    {"name", required_argument, NULL, 'n'},
    {"pop-file", required_argument, NULL, 'p'},
    {"pop-fd", required_argument, NULL, 'P'},
    {"ssid", required_argument, NULL, 's'},
    {"passphrase-file", required_argument, NULL, 'w'},
    {"passphrase-fd", required_argument, NULL, 'W'},
    {"open", no_argument, NULL, 'o'},
    {"json", no_argument, NULL, 'j'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool parse_fd(const char *text, int *ret)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    *ret = (int)v;
    return *text && !*end && v >= 0 && v < 1024;
}

static bool take_option(options *o, int c)
{
    switch (c) {
    case 'r':
        o->root = optarg;
        return true;
    case 'l':
        o->label = optarg;
        return true;
    case 'n':
        o->name = optarg;
        return true;
    case 'p':
        o->pop_file = optarg;
        return true;
    case 'P':
        return parse_fd(optarg, &o->pop_fd);
    case 's':
        o->ssid = optarg;
        return true;
    case 'w':
        o->pass_file = optarg;
        return true;
    case 'W':
        return parse_fd(optarg, &o->pass_fd);
    case 'o':
        return o->open = true;
    case 'j':
        return o->json = true;
    case 'v':
        return o->verbose = true;
    default:
        return false;
    }
}

// What excludes each other, and what may not be missing.
static bool check_options(const options *o)
{
    bool pop = o->pop_file || o->pop_fd >= 0, pass = o->pass_file || o->pass_fd >= 0;
    if (!o->root || !o->port || !o->label == !o->name || (o->label && pop))
        return false;
    if ((o->pop_file && o->pop_fd >= 0) || (o->pass_file && o->pass_fd >= 0) || (o->open && pass))
        return false;
    return o->ssid || (!pass && !o->open);
}

// 0 = go on, otherwise the exit code + 1.
static int parse(int argc, char **argv, options *o)
{
    *o = (options){.pop_fd = -1, .pass_fd = -1};
    for (int c; (c = getopt_long(argc, argv, "vh", long_options, NULL)) != -1;) {
        if (c == 'h')
            return ds_cli_usage(usage, true) + 1;
        if (!take_option(o, c))
            return ds_cli_usage(usage, false) + 1;
    }
    o->port = optind + 1 == argc ? argv[optind] : NULL;
    return check_options(o) ? 0 : ds_cli_usage(usage, false) + 1;
}

// ---- What the owner knows

typedef struct knowledge {
    char name[DS_COMPANION_NAME_MAX + 1];
    ds_secret pop, passphrase;
    ds_buf roots;
} knowledge;

static void knowledge_free(knowledge *k)
{
    ds_secret_free(&k->pop);
    ds_secret_free(&k->passphrase);
    ds_buf_free(&k->roots);
}

static enum ds_class read_secret(const char *file, int fd, const char *prompt, size_t max, ds_secret *ret, ds_err *e)
{
    if (file)
        return ds_secret_read_file(file, max, ret, e);
    return fd >= 0 ? ds_secret_read_line(fd, max, ret, e) : ds_secret_prompt(prompt, max, ret, e);
}

static enum ds_class set_name(knowledge *k, const char *name, ds_err *e)
{
    if (strlen(name) < 1 || strlen(name) > DS_COMPANION_NAME_MAX)
        return ds_fail(e, DS_INPUT, "a serial number has 1 to %u characters", DS_COMPANION_NAME_MAX);
    snprintf(k->name, sizeof k->name, "%s", name);
    return DS_OK;
}

static enum ds_class take_label(knowledge *k, const ds_secret *text, ds_err *e)
{
    json_t *label = json_loadb((const char *)text->ptr, text->len, 0, NULL);
    const char *name = json_string_value(json_object_get(label, "name"));
    const char *pop = json_string_value(json_object_get(label, "pop"));
    enum ds_class rc =
        name && pop && *pop ? set_name(k, name, e) : ds_fail(e, DS_INPUT, "label: not the text of a device's QR code");
    if (!rc)
        rc = ds_secret_new(&k->pop, strlen(pop), e);
    if (!rc)
        memcpy(k->pop.ptr, pop, k->pop.len);
    json_decref(label);
    return rc ? ds_hint(e, "it is one line: {\"ver\":\"v1\",\"name\":\"...\",\"pop\":\"...\",...}") : DS_OK;
}

static enum ds_class learn_label(const char *label, knowledge *k, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret text = {0};
    enum ds_class rc = strcmp(label, "-") == 0 ? ds_secret_read_line(0, LABEL_MAX, &text, e)
                                               : ds_secret_read_file(label, LABEL_MAX, &text, e);
    return rc ? ds_wrap(e, "label") : take_label(k, &text, e);
}

static enum ds_class learn_device(const options *o, knowledge *k, ds_err *e)
{
    if (o->label)
        return learn_label(o->label, k, e);
    enum ds_class rc = set_name(k, o->name ? o->name : "", e);
    if (rc)
        return rc;
    rc = read_secret(o->pop_file, o->pop_fd, "Proof of possession on the label: ", DS_COMPANION_POP_MAX, &k->pop, e);
    return rc ? ds_wrap(e, "proof of possession") : DS_OK;
}

static enum ds_class learn(const options *o, knowledge *k, ds_err *e)
{
    enum ds_class rc = ds_file_read(o->root, ROOTS_MAX, &k->roots, e);
    if (!rc)
        rc = learn_device(o, k, e);
    if (rc || !o->ssid || o->open)
        return rc;
    rc = read_secret(o->pass_file, o->pass_fd, "Passphrase of the network: ", PASSPHRASE_MAX, &k->passphrase, e);
    return rc ? ds_wrap(e, "passphrase") : DS_OK;
}

// ---- The work

static void print_device(const options *o, const ds_companion_device *d, bool handed)
{
    char fingerprint[2 * sizeof d->fingerprint + 1];
    ds_hex(d->fingerprint, sizeof d->fingerprint, fingerprint);
    if (!o->json) {
        printf("genuine: %s, certified by %s under %s, valid until %s\n", d->serial, d->issuer, d->root, d->not_after);
        if (handed)
            printf("it has taken the credentials for '%s'\n", o->ssid);
        return;
    }
    json_t *j =
        json_pack("{s:b,s:s,s:s,s:s,s:s,s:s,s:b}", "genuine", 1, "serial", d->serial, "issuer", d->issuer, "root",
                  d->root, "not_after", d->not_after, "certificate", fingerprint, "credentials_taken", (int)handed);
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

// genuine: whether that much was established before it failed.
static int fail(const options *o, bool genuine, const ds_err *e)
{
    if (o->json) {
        json_t *j = json_pack("{s:b,s:{s:s,s:s,s:s}}", "genuine", (int)genuine, "error", "class", ds_class_name(e->cls),
                              "text", e->text, "hint", e->hint);
        json_dumpf(j, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(j);
    }
    return ds_cli_fail(e);
}

static enum ds_class hand_over(const options *o, const knowledge *k, ds_companion *c, const ds_companion_transport *t,
                               ds_err *e)
{
    const ds_companion_credentials w = {.ssid = (const uint8_t *)o->ssid,
                                        .ssid_len = strlen(o->ssid),
                                        .passphrase = k->passphrase.ptr,
                                        .passphrase_len = k->passphrase.len};
    return ds_companion_hand_over(c, t, &w, e) ? ds_wrap(e, "credentials") : DS_OK;
}

static int verify(const options *o, const knowledge *k)
{
    ds_err e = DS_ERR_INIT;
    const ds_companion_config g = {.roots = (const char *)k->roots.ptr,
                                   .roots_len = k->roots.len,
                                   .name = k->name,
                                   .pop = k->pop.ptr,
                                   .pop_len = k->pop.len,
                                   .now_utc = (int64_t)time(NULL)};
    ds_companion *c = NULL;
    ds_owner_carrier *w = NULL;
    bool genuine = false;
    enum ds_class rc = ds_companion_new(&g, &c, &e);
    if (!rc)
        rc = ds_owner_carrier_open(o->port, o->verbose, &w, &e);
    if (!rc) {
        const ds_companion_transport t = ds_owner_carrier_transport(w);
        rc = ds_companion_verify(c, &t, &e);
        genuine = !rc;
        ds_companion_device d = genuine ? *ds_companion_get_device(c) : (ds_companion_device){.serial = ""};
        if (!rc && o->ssid)
            rc = hand_over(o, k, c, &t, &e);
        if (!rc)
            print_device(o, &d, o->ssid != NULL);
    }
    ds_owner_carrier_close(w);
    ds_companion_free(c);
    return rc ? fail(o, genuine, &e) : DS_EXIT_OK;
}

static int verify_device(int argc, char **argv)
{
    options o;
    int stop = parse(argc, argv, &o);
    if (stop)
        return stop - 1;
    knowledge k = {.name = ""};
    ds_err e = DS_ERR_INIT;
    int code = DS_EXIT_OK;
    if (o.ssid && (!*o.ssid || strlen(o.ssid) > SSID_MAX))
        (void)ds_fail(&e, DS_INPUT, "a network's name has 1 to %d bytes", (int)SSID_MAX);
    code = e.cls || learn(&o, &k, &e) ? fail(&o, false, &e) : verify(&o, &k);
    knowledge_free(&k);
    return code;
}

int ds_cmd_verify(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"device", "is the device the genuine one of its label?", verify_device},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp verify", verbs, argc, argv);
}
