// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry config: mosquitto's configuration for a registry. The command writes files and says how to start
// the broker instead of starting it: who supervises it (a unit, a container, a test) is the owner's choice, and the
// file can be read and kept. Every limit that bounds the broker's memory is set here.
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/base/file.h"
#include "src/pki/cert.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct paths {
    char *registry, *dir, *cert, *key, *plugin, *ca, *conf;
} paths;

static void paths_free(paths *p)
{
    char *all[] = {p->registry, p->dir, p->cert, p->key, p->plugin, p->ca, p->conf};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

// Absolute, as the broker may start elsewhere; mosquitto's lines know no quoting.
static enum ds_class resolve(const char *what, const char *path, char **ret, ds_err *e)
{
    char *full = realpath(path, NULL);
    if (!full)
        return ds_fail_errno(e, DS_INPUT, errno, "%s %s", what, path);
    for (const char *p = full; *p; p++)
        if ((unsigned char)*p < 0x20) {
            free(full);
            return ds_fail(e, DS_INPUT, "%s: its path holds control characters", what);
        }
    *ret = full;
    return DS_OK;
}

// Installed: PREFIX/bin/devstamp and PREFIX/lib/devstamp/…; built: BUILD/src/cli/devstamp and BUILD/endpoint/….
static enum ds_class find_plugin(const char *given, char **ret, ds_err *e)
{
    static const char *const beside[] = {"../lib/devstamp/devstamp_endpoint.so", "../../endpoint/devstamp_endpoint.so"};
    char self[PATH_MAX];
    if (given)
        return resolve("plugin", given, ret, e);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        DS_CLEANUP_FREE char *path = ds_path_beside(self, beside[i]);
        if (access(path, R_OK) == 0)
            return resolve("plugin", path, ret, e);
    }
    ds_fail(e, DS_INPUT, "devstamp_endpoint.so is not beside this program");
    return ds_hint(e, "name it with --plugin");
}

static enum ds_class find_paths(const ds_registry_options *o, paths *p, ds_err *e)
{
    if (mkdir(o->dir, 0700) != 0 && errno != EEXIST)
        return ds_fail_errno(e, DS_STORE, errno, "folder %s", o->dir);
    enum ds_class rc = resolve("registry", o->registry, &p->registry, e);
    if (!rc)
        rc = resolve("folder", o->dir, &p->dir, e);
    if (!rc)
        rc = resolve("certificate", o->cert, &p->cert, e);
    if (!rc)
        rc = resolve("key", o->key, &p->key, e);
    if (!rc)
        rc = find_plugin(o->plugin, &p->plugin, e);
    if (rc)
        return rc;
    p->ca = ds_asprintf("%s/ca.pem", p->dir);
    p->conf = ds_asprintf("%s/mosquitto.conf", p->dir);
    return DS_OK;
}

typedef struct bundle {
    ds_buf pem;
    ds_err e;
    unsigned admitting;
} bundle;

static bool add_ca(void *arg, const ds_registry_ca *ca)
{
    bundle *b = arg;
    DS_CLEANUP_X509 X509 *cert = NULL;
    if (!ca->active)
        return true;
    b->admitting += ca->role != DS_REGISTRY_ANCHOR;
    return !ds_cert_parse(ca->der, &cert, &b->e) && !ds_cert_pem(cert, &b->pem, &b->e);
}

static enum ds_class write_bundle(const paths *p, ds_err *e)
{
    bundle b = {.e = DS_ERR_INIT};
    ds_registry *r = NULL;
    enum ds_class rc = ds_registry_open_read_only(p->registry, &r, e);
    if (!rc)
        rc = ds_registry_each_ca(r, add_ca, &b, e);
    ds_registry_close(r);
    if (!rc && b.e.cls) {
        rc = b.e.cls;
        if (e)
            *e = b.e;
    }
    if (!rc && !b.admitting)
        rc = ds_fail(e, DS_INPUT, "registry %s: has no active CA", p->registry);
    if (!rc)
        rc = ds_file_write(p->ca, ds_buf_view(&b.pem), 0644, e);
    ds_buf_free(&b.pem);
    return rc;
}

static char *text_of(const ds_registry_options *o, const paths *p, const char *user, long port)
{
    return ds_asprintf("# Written by: devstamp registry config\n"
                       "user %s\n"
                       "per_listener_settings false\n"
                       "allow_anonymous false\n"
                       "persistence false\n"
                       "log_dest stderr\n"
                       "log_type error\n"
                       "log_type warning\n"
                       "log_type notice\n"
                       "log_type information\n"
                       "connection_messages true\n"
                       "set_tcp_nodelay true\n"
                       "\n"
                       "# What one client, and all together, may occupy\n"
                       "retain_available false\n"
                       "max_packet_size 131072\n"
                       "max_inflight_messages 20\n"
                       "max_inflight_bytes 1048576\n"
                       "max_queued_messages 200\n"
                       "max_queued_bytes 1048576\n"
                       "max_keepalive 3600\n"
                       "persistent_client_expiration 1d\n"
                       "memory_limit 1073741824\n"
                       "\n"
                       "listener %ld %s\n"
                       "tls_version tlsv1.2\n"
                       "cafile %s\n"
                       "certfile %s\n"
                       "keyfile %s\n"
                       "require_certificate true\n"
                       "use_identity_as_username false\n"
                       "use_subject_as_username false\n"
                       "\n"
                       "plugin %s\n"
                       "plugin_opt_registry %s\n",
                       user, port, o->address, p->ca, p->cert, p->key, p->plugin, p->registry);
}

static enum ds_class check_words(const ds_registry_options *o, long *ret_port, ds_err *e)
{
    char *end = NULL;
    long port = strtol(o->port, &end, 10);
    if (end == o->port || *end || port < 1 || port > 65535)
        return ds_fail(e, DS_USAGE, "port '%s' is none of 1 to 65535", o->port);
    const char *words[] = {o->address, o->user ? o->user : ""};
    for (size_t i = 0; i < 2; i++)
        if (strpbrk(words[i], " \t\r\n"))
            return ds_fail(e, DS_USAGE, "address and user are one word each");
    *ret_port = port;
    return DS_OK;
}

int ds_registry_cmd_config(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    paths p = {0};
    long port = 0;
    struct passwd *me = getpwuid(geteuid());
    const char *user = o->user ? o->user : me ? me->pw_name : "root";
    enum ds_class rc = check_words(o, &port, &e);
    if (!rc)
        rc = find_paths(o, &p, &e);
    if (!rc)
        rc = write_bundle(&p, &e);
    if (!rc) {
        DS_CLEANUP_FREE char *text = text_of(o, &p, user, port);
        rc = ds_file_write(p.conf, (ds_view){(const uint8_t *)text, strlen(text)}, 0644, &e);
    }
    if (!rc) {
        printf("%s\n%s\nstart the endpoint with: mosquitto -c %s\n", p.conf, p.ca, p.conf);
        if (strcmp(user, "root") == 0)
            printf(
                "it will run as root; with --user NAME it does not, if NAME may write the registry and its folder\n");
    }
    paths_free(&p);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
