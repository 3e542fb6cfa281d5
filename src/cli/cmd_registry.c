// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry: the self-hosted endpoint's record: made, listed, changed, and carried into the ledger.
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/cert.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp registry init --registry FILE --ca FILE [--root FILE] [--services FILE] [--no-auto-registration]\n"
    "       devstamp registry list --registry FILE [--json]\n"
    "       devstamp registry set --registry FILE (--device NAME|ID | --ca-id ID) --state active|inactive|revoked\n"
    "       devstamp registry sync --registry FILE --ledger FILE [--json]\n"
    "       devstamp registry config --registry FILE --dir DIR --port PORT --cert FILE --key FILE\n"
    "                                [--address ADDRESS] [--user NAME] [--plugin FILE]\n"
    "\n"
    "  init      make the registry, or add a CA to it; further certificates in the CA's file complete its chain\n"
    "  list      registered CAs and devices\n"
    "  set       switch a device or a CA off or on, or revoke a device for good; by certificate id also one that\n"
    "            never connected\n"
    "  sync      carry registrations into the ledger, and the ledger's revocations back\n"
    "  config    write mosquitto's configuration for this registry, and say how to start it\n"
    "\n"
    "  --ca FILE                 the CA that signs devices (PEM)\n"
    "  --root FILE               its root (PEM), which completes the chain for TLS\n"
    "  --services FILE           a CA whose clients are the owner's services: they read all topics\n"
    "  --no-auto-registration    devices of this CA are not registered by connecting\n"
    "  --cert, --key FILE        the endpoint's own certificate and key (PEM)\n"
    "  --address ADDRESS         where to listen (127.0.0.1)\n"
    "  --user NAME               whom mosquitto runs as when root starts it (who runs this command)\n"
    "  --plugin FILE             devstamp_endpoint.so, where it is not found beside this program\n";

enum {
    OPT_REGISTRY = 1,
    OPT_LEDGER,
    OPT_DEVICE,
    OPT_CA_ID,
    OPT_STATE,
    OPT_CA,
    OPT_ROOT,
    OPT_SERVICES,
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

static bool parse(int argc, char **argv, ds_registry_options *o, bool *ret_help)
{
    static const struct option options[] = {
        {"registry", required_argument, NULL, OPT_REGISTRY},
        {"ledger", required_argument, NULL, OPT_LEDGER},
        {"device", required_argument, NULL, OPT_DEVICE},
        {"ca-id", required_argument, NULL, OPT_CA_ID},
        {"state", required_argument, NULL, OPT_STATE},
        {"ca", required_argument, NULL, OPT_CA},
        {"root", required_argument, NULL, OPT_ROOT},
        {"services", required_argument, NULL, OPT_SERVICES},
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
    const char **texts[OPT_TEXTS] = {
        [OPT_REGISTRY] = &o->registry, [OPT_LEDGER] = &o->ledger,     [OPT_DEVICE] = &o->device,
        [OPT_CA_ID] = &o->ca_id,       [OPT_STATE] = &o->state,       [OPT_CA] = &o->ca,
        [OPT_ROOT] = &o->root,         [OPT_SERVICES] = &o->services, [OPT_DIR] = &o->dir,
        [OPT_CERT] = &o->cert,         [OPT_KEY] = &o->key,           [OPT_ADDRESS] = &o->address,
        [OPT_PORT] = &o->port,         [OPT_USER] = &o->user,         [OPT_PLUGIN] = &o->plugin,
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

// The first certificate of the file in this role; further ones (a chain up to the root) as anchors.
static enum ds_class add_file(ds_registry *r, const char *path, enum ds_registry_role role, bool automatic, ds_err *e)
{
    STACK_OF(X509) *all = NULL;
    uint8_t id[32];
    char hex[65];
    enum ds_class rc = ds_cert_read_all(path, &all, e);
    for (int i = 0; !rc && i < sk_X509_num(all); i++) {
        DS_CLEANUP_BUF ds_buf der = {0};
        enum ds_registry_role as = i == 0 ? role : DS_REGISTRY_ANCHOR;
        rc = ds_cert_der(sk_X509_value(all, i), &der, e);
        if (!rc)
            rc = ds_registry_add_ca(r, ds_buf_view(&der), as, as == DS_REGISTRY_DEVICES && automatic, id, e);
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
    enum ds_class rc = ds_registry_open(o->registry, true, &r, &e);
    if (!rc && o->root)
        rc = add_file(r, o->root, DS_REGISTRY_ANCHOR, false, &e);
    if (!rc && o->services)
        rc = add_file(r, o->services, DS_REGISTRY_SERVICES, false, &e);
    if (!rc)
        rc = add_file(r, o->ca, DS_REGISTRY_DEVICES, !o->no_auto_registration, &e);
    ds_registry_close(r);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static void hex_of(const uint8_t id[32], char ret[65])
{
    ds_hex(id, 32, ret);
}

static bool list_ca(void *arg, const ds_registry_ca *ca)
{
    char id[65], at[21];
    json_t *cas = arg;
    hex_of(ca->id, id);
    ds_utc_format(ca->registered_utc, at);
    if (!cas) {
        printf("CA      %-9s %-8s %-6s %s  %.16s  %s\n", ds_registry_role_name(ca->role),
               ca->active ? "active" : "inactive", ca->auto_registration ? "auto" : "-", at, id, ca->subject);
        return true;
    }
    json_array_append_new(cas, json_pack("{s:s, s:s, s:b, s:b, s:s, s:s}", "id", id, "role",
                                         ds_registry_role_name(ca->role), "active", ca->active, "auto_registration",
                                         ca->auto_registration, "registered_at", at, "subject", ca->subject));
    return true;
}

static bool list_device(void *arg, const ds_registry_device *d)
{
    char id[65], ca[65], at[21], seen[21];
    json_t *devices = arg;
    hex_of(d->id, id);
    hex_of(d->ca, ca);
    ds_utc_format(d->registered_utc, at);
    ds_utc_format(d->last_seen_utc, seen);
    if (!devices) {
        printf("device  %-24s %-8s registered %s  seen %s  %.16s\n", d->name, ds_registry_state_name(d->state), at,
               seen, id);
        return true;
    }
    json_array_append_new(devices, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "certificate_id", id, "name", d->name,
                                             "ca_id", ca, "state", ds_registry_state_name(d->state), "registered_at",
                                             at, "last_seen", seen));
    return true;
}

static void list_unseen(void *arg, const uint8_t id[32], int64_t refused_utc)
{
    char hex[65], at[21];
    hex_of(id, hex);
    ds_utc_format(refused_utc, at);
    if (!arg)
        printf("never   %-24s %-8s since %s  %.16s\n", "-", "revoked", at, hex);
    else
        json_array_append_new(arg, json_pack("{s:s, s:s}", "certificate_id", hex, "revoked_at", at));
}

static int print_json(json_t *value)
{
    int rc = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(value);
    return rc == 0 ? DS_EXIT_OK : DS_EXIT_INTERNAL;
}

static int cmd_list(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    json_t *cas = o->json ? json_array() : NULL, *devices = o->json ? json_array() : NULL,
           *unseen = o->json ? json_array() : NULL;
    enum ds_class rc = ds_registry_open_read_only(o->registry, &r, &e);
    if (!rc)
        rc = ds_registry_each_ca(r, list_ca, cas, &e);
    if (!rc)
        rc = ds_registry_each(r, list_device, devices, &e);
    if (!rc)
        rc = ds_registry_each_unseen(r, list_unseen, unseen, &e);
    ds_registry_close(r);
    if (!rc && o->json)
        return print_json(json_pack("{s:o, s:o, s:o}", "cas", cas, "devices", devices, "revoked_unseen", unseen));
    json_decref(unseen);
    json_decref(cas);
    json_decref(devices);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static bool parse_state(const char *text, enum ds_registry_state *ret)
{
    for (enum ds_registry_state s = DS_REGISTRY_ACTIVE; s <= DS_REGISTRY_REVOKED; s++)
        if (strcmp(text, ds_registry_state_name(s)) == 0) {
            *ret = s;
            return true;
        }
    return false;
}

static int cmd_set(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    enum ds_registry_state state;
    uint8_t id[32];
    if (!parse_state(o->state, &state) || (o->ca_id && state == DS_REGISTRY_REVOKED))
        return ds_cli_usage(usage, false);
    enum ds_class rc = ds_registry_open(o->registry, false, &r, &e);
    if (!rc && o->device)
        rc = ds_registry_set_device(r, o->device, state, &e);
    else if (!rc && !ds_unhex(o->ca_id, id, sizeof id))
        rc = ds_fail(&e, DS_USAGE, "--ca-id takes the 64 hexadecimal digits that list --json shows");
    else if (!rc)
        rc = ds_registry_set_ca(r, id, state == DS_REGISTRY_ACTIVE, &e);
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
        return print_json(json_pack("{s:i, s:i, s:i, s:i, s:o}", "marked", (int)done.marked, "already",
                                    (int)done.already, "revoked", (int)done.revoked, "unknown", (int)done.unknown,
                                    "lines", lines));
    printf("%u newly registered, %u registered before, %u revoked, %u unknown to the ledger\n", done.marked,
           done.already, done.revoked, done.unknown);
    return DS_EXIT_OK;
}

static const struct {
    const char *name;
    int (*run)(const ds_registry_options *o);
} verbs[] = {
    {"init", cmd_init}, {"list", cmd_list}, {"set", cmd_set}, {"sync", cmd_sync}, {"config", ds_registry_cmd_config}};

static bool complete(const char *verb, const ds_registry_options *o)
{
    if (!o->registry)
        return false;
    if (strcmp(verb, "init") == 0)
        return o->ca;
    if (strcmp(verb, "set") == 0)
        return o->state && !o->device != !o->ca_id;
    if (strcmp(verb, "sync") == 0)
        return o->ledger;
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
