// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry: the self-hosted endpoint's record: made, listed, changed, and carried into the ledger.
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/pki/cert.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp registry init --registry FILE --ca FILE [--root FILE] [--services FILE] [POLICY...]\n"
    "       devstamp registry list --registry FILE [--json]\n"
    "       devstamp registry set --registry FILE --device NAME|ID --state active|inactive|revoked\n"
    "       devstamp registry set --registry FILE --ca-id ID [--state active|inactive] [POLICY...]\n"
    "       devstamp registry set --registry FILE --ca-id ID --issued-from TIME [--issued-until TIME]\n"
    "                             --state inactive|revoked|active\n"
    "       devstamp registry set --registry FILE --topics LIST\n"
    "       devstamp registry import-log --registry FILE --log FILE [--head FILE] [--json]\n"
    "       devstamp registry import-crl --registry FILE --crl FILE [--json]\n"
    "       devstamp registry report --registry FILE [--ca-id ID] [--json]\n"
    "       devstamp registry sync --registry FILE --ledger FILE [--json]\n"
    "       devstamp registry config --registry FILE --dir DIR --port PORT --cert FILE --key FILE\n"
    "                                [--address ADDRESS] [--user NAME] [--plugin FILE]\n"
    "\n"
    "  init        make the registry, or add a CA to it; further certificates in the CA's file complete its chain\n"
    "  list        registered CAs and devices\n"
    "  set         activate a pending device, switch a device or a CA off or on, or revoke a device for good; by\n"
    "              certificate id also one that never connected; change what a CA's devices need (POLICY); or\n"
    "              isolate what a CA signed in some time by its issuance log, and all that is not in the log\n"
    "  import-log  take the certificates of a signer's issuance log, or of a mirror of it, once it was verified\n"
    "  import-crl  take a registered CA's revocation list: what it names is revoked, also what never connected\n"
    "  report      who is not admitted, and why; and what is isolated\n"
    "  sync        carry registrations into the ledger, and the ledger's revocations back\n"
    "  config      write mosquitto's configuration for this registry, and say how to start it\n"
    "\n"
    "  --ca FILE                 the CA that signs devices (PEM)\n"
    "  --root FILE               its root (PEM), which completes the chain for TLS\n"
    "  --services FILE           a CA whose clients are the owner's services: they read all topics\n"
    "  --issued-from, --issued-until TIME\n"
    "                            the first second and the one after the last (for ever), as 2026-01-31T14:00:00Z;\n"
    "                            taken back with the same times and --state active\n"
    "  --head FILE               the log's head, where it does not lie beside the log\n"
    "  --topics LIST             what a device may use, in patterns with {name}, between commas (devstamp/{name}/#)\n"
    "  --cert, --key FILE        the endpoint's own certificate and key (PEM)\n"
    "  --address ADDRESS         where to listen (127.0.0.1)\n"
    "  --user NAME               whom mosquitto runs as when root starts it (who runs this command)\n"
    "  --plugin FILE             devstamp_endpoint.so, where it is not found beside this program\n"
    "POLICY, of the CA:\n"
    "  --policy jitr|logged|manifest\n"
    "                            admit all it signed (as set at first); only what was imported from its issuance log;\n"
    "                            only what a manifest announced\n"
    "  --registration auto|pending|off\n"
    "                            a first connect registers the device; registers it, refused until it is activated;\n"
    "                            is refused (--no-auto-registration)\n"
    "  --rate N                  new devices a second at most; 0: any number (as set at first)\n"
    "  --log-key FILE            the public key (PEM) that signs the heads of its issuance log\n";

enum {
    OPT_REGISTRY = 1,
    OPT_LEDGER,
    OPT_DEVICE,
    OPT_CA_ID,
    OPT_STATE,
    OPT_CA,
    OPT_ROOT,
    OPT_SERVICES,
    OPT_POLICY,
    OPT_REGISTRATION,
    OPT_RATE,
    OPT_LOG_KEY,
    OPT_TOPICS,
    OPT_ISSUED_FROM,
    OPT_ISSUED_UNTIL,
    OPT_LOG,
    OPT_HEAD,
    OPT_CRL,
    OPT_DIR,
    OPT_CERT,
    OPT_KEY,
    OPT_ADDRESS,
    OPT_PORT,
    OPT_USER,
    OPT_PLUGIN,
    OPT_TEXTS,
    OPT_JSON,
    OPT_NO_AUTO
};

static const struct option options[] = {
    {"registry", required_argument, NULL, OPT_REGISTRY},
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"ca-id", required_argument, NULL, OPT_CA_ID},
    {"state", required_argument, NULL, OPT_STATE},
    {"ca", required_argument, NULL, OPT_CA},
    {"root", required_argument, NULL, OPT_ROOT},
    {"services", required_argument, NULL, OPT_SERVICES},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"registration", required_argument, NULL, OPT_REGISTRATION},
    {"rate", required_argument, NULL, OPT_RATE},
    {"log-key", required_argument, NULL, OPT_LOG_KEY},
    {"topics", required_argument, NULL, OPT_TOPICS},
    {"issued-from", required_argument, NULL, OPT_ISSUED_FROM},
    {"issued-until", required_argument, NULL, OPT_ISSUED_UNTIL},
    {"log", required_argument, NULL, OPT_LOG},
    {"head", required_argument, NULL, OPT_HEAD},
    {"crl", required_argument, NULL, OPT_CRL},
    {"dir", required_argument, NULL, OPT_DIR},
    {"cert", required_argument, NULL, OPT_CERT},
    {"key", required_argument, NULL, OPT_KEY},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"port", required_argument, NULL, OPT_PORT},
    {"user", required_argument, NULL, OPT_USER},
    {"plugin", required_argument, NULL, OPT_PLUGIN},
    {"json", no_argument, NULL, OPT_JSON},
    {"no-auto-registration", no_argument, NULL, OPT_NO_AUTO},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool parse(int argc, char **argv, ds_registry_options *o, bool *ret_help)
{
    const char **texts[OPT_TEXTS] = {
        [OPT_REGISTRY] = &o->registry,
        [OPT_LEDGER] = &o->ledger,
        [OPT_DEVICE] = &o->device,
        [OPT_CA_ID] = &o->ca_id,
        [OPT_STATE] = &o->state,
        [OPT_CA] = &o->ca,
        [OPT_ROOT] = &o->root,
        [OPT_SERVICES] = &o->services,
        [OPT_POLICY] = &o->policy,
        [OPT_REGISTRATION] = &o->registration,
        [OPT_RATE] = &o->rate,
        [OPT_LOG_KEY] = &o->log_key,
        [OPT_TOPICS] = &o->topics,
        [OPT_ISSUED_FROM] = &o->issued_from,
        [OPT_ISSUED_UNTIL] = &o->issued_until,
        [OPT_LOG] = &o->log,
        [OPT_HEAD] = &o->head,
        [OPT_CRL] = &o->crl,
        [OPT_DIR] = &o->dir,
        [OPT_CERT] = &o->cert,
        [OPT_KEY] = &o->key,
        [OPT_ADDRESS] = &o->address,
        [OPT_PORT] = &o->port,
        [OPT_USER] = &o->user,
        [OPT_PLUGIN] = &o->plugin,
    };
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt > 0 && opt < OPT_TEXTS)
            *texts[opt] = optarg;
        else if (opt == OPT_JSON)
            o->json = true;
        else if (opt == OPT_NO_AUTO)
            o->no_auto_registration = true;
        else if (opt == 'h')
            *ret_help = true;
        else
            return false;
    }
    return optind == argc;
}

// The first certificate of the file in this role; further ones (a chain up to the root) as anchors. What is wished is
// of a CA of devices.
static enum ds_class add_file(ds_registry *r, const char *path, enum ds_registry_role role, const ds_registry_wishes *w,
                              ds_err *e)
{
    STACK_OF(X509) *all = NULL;
    uint8_t id[32];
    char hex[65];
    enum ds_class rc = ds_cert_read_all(path, &all, e);
    for (int i = 0; !rc && i < sk_X509_num(all); i++) {
        DS_CLEANUP_BUF ds_buf der = {0};
        enum ds_registry_role as = i == 0 ? role : DS_REGISTRY_ANCHOR;
        rc = ds_cert_der(sk_X509_value(all, i), &der, e);
        if (!rc && as == DS_REGISTRY_DEVICES)
            rc = ds_registry_add_devices_ca(r, ds_buf_view(&der), &w->change, id, e);
        else if (!rc)
            rc = ds_registry_add_ca(r, ds_buf_view(&der), as, DS_REGISTRY_OFF, id, e);
        if (rc)
            break;
        ds_hex(id, sizeof id, hex);
        printf("%-9s %s\n", ds_registry_role_name(as), hex);
    }
    sk_X509_pop_free(all, X509_free);
    return rc ? ds_wrap(e, "register %s", path) : DS_OK;
}

static int cmd_init(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    ds_registry_wishes w;
    enum ds_class rc = ds_registry_read_wishes(o, &w, &e);
    if (!rc)
        rc = ds_registry_open(o->registry, true, &r, &e);
    if (!rc && o->root)
        rc = add_file(r, o->root, DS_REGISTRY_ANCHOR, NULL, &e);
    if (!rc && o->services)
        rc = add_file(r, o->services, DS_REGISTRY_SERVICES, NULL, &e);
    if (!rc)
        rc = add_file(r, o->ca, DS_REGISTRY_DEVICES, &w, &e);
    if (!rc && o->topics)
        rc = ds_registry_set_topics(r, o->topics, &e);
    ds_registry_close(r);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static void sync_line(void *arg, const char *line)
{
    json_t *lines = arg;
    if (lines)
        json_array_append_new(lines, json_string(line));
    else
        puts(line);
}

static int cmd_sync(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    ds_ledger *l = NULL;
    ds_registry_sync_result done = {0};
    json_t *lines = o->json ? json_array() : NULL;
    enum ds_class rc = ds_registry_open(o->registry, false, &r, &e);
    if (!rc)
        rc = ds_ledger_open(o->ledger, false, &l, &e);
    if (!rc)
        rc = ds_registry_sync(r, l, sync_line, lines, &done, &e);
    ds_ledger_close(l);
    ds_registry_close(r);
    if (rc) {
        json_decref(lines);
        return ds_cli_fail(&e);
    }
    if (o->json)
        return ds_registry_print_json(json_pack("{s:i, s:i, s:i, s:i, s:o}", "marked", (int)done.marked, "already",
                                                (int)done.already, "revoked", (int)done.revoked, "unknown",
                                                (int)done.unknown, "lines", lines));
    printf("%u newly registered, %u registered before, %u revoked, %u unknown to the ledger\n", done.marked,
           done.already, done.revoked, done.unknown);
    return DS_EXIT_OK;
}

static const struct {
    const char *name;
    int (*run)(const ds_registry_options *o);
} verbs[] = {
    {"init", cmd_init},
    {"list", ds_registry_cmd_list},
    {"set", ds_registry_cmd_set},
    {"import-log", ds_registry_cmd_import_log},
    {"import-crl", ds_registry_cmd_import_crl},
    {"report", ds_registry_cmd_report},
    {"sync", cmd_sync},
    {"config", ds_registry_cmd_config},
};

static bool set_is_complete(const ds_registry_options *o)
{
    bool wishes = o->policy || o->registration || o->rate || o->log_key || o->no_auto_registration;
    bool span = o->issued_from || o->issued_until;
    bool revoked = o->state && strcmp(o->state, "revoked") == 0;
    if (o->state && !revoked && strcmp(o->state, "active") != 0 && strcmp(o->state, "inactive") != 0)
        return false;
    if (o->topics)
        return !o->device && !o->ca_id && !o->state && !wishes && !span;
    if (span)
        return o->issued_from && o->ca_id && o->state && !o->device && !wishes;
    if (o->ca_id)
        return (o->state || wishes) && !revoked && !o->device;
    return o->device && o->state && !wishes;
}

static bool complete(const char *verb, const ds_registry_options *o)
{
    if (!o->registry)
        return false;
    if (strcmp(verb, "init") == 0)
        return o->ca;
    if (strcmp(verb, "set") == 0)
        return set_is_complete(o);
    if (strcmp(verb, "sync") == 0)
        return o->ledger;
    if (strcmp(verb, "import-log") == 0)
        return o->log;
    if (strcmp(verb, "import-crl") == 0)
        return o->crl;
    if (strcmp(verb, "config") == 0)
        return o->dir && o->port && o->cert && o->key;
    return true;
}

int ds_cmd_registry(int argc, char **argv)
{
    ds_registry_options o = {.address = "127.0.0.1"};
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (help || argc < 2)
        return ds_cli_usage(usage, help);
    bool good = parse(argc - 1, argv + 1, &o, &help);
    if (help)
        return ds_cli_usage(usage, true);
    for (size_t i = 0; good && complete(argv[1], &o) && i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(&o);
    return ds_cli_usage(usage, false);
}
