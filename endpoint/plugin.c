// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The mosquitto plugin of the self-hosted endpoint (plugin interface 5): registers a device just in time at its first
// connect, refuses everybody else, and gives each device its own topics only. The listener must ask for certificates
// (require_certificate true) and must not take the name from them by itself (use_identity_as_username false), because
// mosquitto 2.0 then skips the event used here. Nothing is kept per client: what a connection is, stands in its user
// name, which only this plugin sets. Option: plugin_opt_registry PATH.
#include "endpoint/rights.h"

#include "src/base/clock.h"
#include "src/cloud/limit.h"
#include "src/cloud/outbox.h"
#include "src/cloud/registry.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_MS = 250,      // how often the registry is asked for changes
    BUDGET_MS = 200,    // how long the broker waits for us at most, where many are to be disconnected
    WAIT_MS = 500,      // how long for another program that writes to the registry
    FLUSH_MS = 1000,    // how often it is written who was there
    PUT_OFF_MS = 15000, // how long until that is tried again where it failed
    SUMMARY_MS = 10000  // how often refusals that have no line of their own are counted in one
};
static const ds_rate refusal_lines = {.per_s = 1, .burst = 50};

typedef struct plugin {
    mosquitto_plugin_id_t *id;
    ds_registry *registry;
    ds_topics topics;
    ds_registry_watch watch;
    bool more; // the watch has more to tell
    int64_t look_at_ms, flush_at_ms, summary_at_ms;
    ds_bucket lines;
    unsigned long refused_silently;
    ds_outbox outbox; // registrations not yet told
} plugin;

static void log_err(int level, const char *what, const ds_err *e)
{
    mosquitto_log_printf(level, "devstamp: %s: %s", what, e->text);
}

// What a stranger called itself, fit for a log line.
static void clean_copy(const char *text, char *ret, size_t cap)
{
    size_t i = 0;
    for (; text && text[i] && i + 1 < cap; i++)
        ret[i] = text[i] > 0x20 && text[i] < 0x7F ? text[i] : '?';
    ret[i] = '\0';
}

// A flood must not fill the disk with its own complaints.
static int refuse(plugin *p, struct mosquitto *client, const char *why)
{
    char id[80];
    const char *address = mosquitto_client_address(client);
    if (!ds_bucket_open(&p->lines, refusal_lines, ds_now_ms())) {
        p->refused_silently++;
        return MOSQ_ERR_AUTH;
    }
    ds_bucket_count(&p->lines, refusal_lines, ds_now_ms());
    clean_copy(mosquitto_client_id(client), id, sizeof id);
    mosquitto_log_printf(MOSQ_LOG_NOTICE, "devstamp: refused '%s' from %s: %s", id, address ? address : "unknown", why);
    return MOSQ_ERR_AUTH;
}

// The broker frees the payload as memory it counted. It must come from its counted allocator, which the _copy variant
// of mosquitto 2.0 does not use: each message would lower the count, until it wraps and every client is refused for
// want of memory.
static bool publish(const char *topic, const char *payload)
{
    size_t len = strlen(payload);
    char *counted = mosquitto_malloc(len + 1);
    if (!counted)
        return false;
    memcpy(counted, payload, len + 1);
    if (mosquitto_broker_publish(NULL, topic, (int)len, counted, 1, false, NULL) == MOSQ_ERR_SUCCESS)
        return true; // the broker owns it now
    mosquitto_free(counted);
    return false;
}

// As AWS IoT tells it, so that one consumer serves both; the name is ours. A broker at its memory limit tells it later;
// one that is ended before leaves it to the registry, which has every registration.
static void tell(plugin *p, const ds_registry_client *c, int64_t now_utc)
{
    char id[65], ca[65];
    const char *status = c->news == DS_REGISTRY_REGISTERED ? "ACTIVE" : "PENDING_ACTIVATION";
    ds_hex(c->id, sizeof c->id, id);
    ds_hex(c->ca, sizeof c->ca, ca);
    DS_CLEANUP_FREE char *topic = ds_asprintf("$aws/events/certificates/registered/%s", ca);
    DS_CLEANUP_FREE char *payload =
        ds_asprintf("{\"certificateId\":\"%s\",\"caCertificateId\":\"%s\",\"timestamp\":%lld,"
                    "\"certificateStatus\":\"%s\",\"awsAccountId\":\"\","
                    "\"certificateRegistrationTimestamp\":\"%lld\",\"name\":\"%s\"}",
                    id, ca, (long long)now_utc * 1000, status, (long long)c->registered_utc * 1000, c->name);
    if (!ds_outbox_send(&p->outbox, publish, topic, payload))
        mosquitto_log_printf(MOSQ_LOG_WARNING, "devstamp: registration of %s is in the registry and is not published",
                             c->name);
}

static enum ds_class admit(plugin *p, struct mosquitto *client, int64_t now_utc, ds_registry_client *ret, ds_err *e)
{
    X509 *cert = mosquitto_client_certificate(client);
    const char *id = mosquitto_client_id(client);
    unsigned char *der = NULL;
    int len = cert ? i2d_X509(cert, &der) : 0;
    const ds_registry_attempt a = {.der = {der, len > 0 ? (size_t)len : 0},
                                   .cert = cert,
                                   .client_id = id ? id : "",
                                   .source = mosquitto_client_address(client),
                                   .now_utc = now_utc};
    *ret = (ds_registry_client){0};
    enum ds_class rc =
        len > 0 ? ds_registry_admit(p->registry, &a, ret, e) : ds_fail(e, DS_POLICY, "no client certificate");
    OPENSSL_free(der);
    X509_free(cert);
    ERR_clear_error(); // the broker would read what a refusal left as another connection's failure
    return rc;
}

static int on_connect(int event, void *event_data, void *userdata)
{
    (void)event;
    plugin *p = userdata;
    struct mosquitto *client = ((struct mosquitto_evt_basic_auth *)event_data)->client;
    int64_t now = ds_utc_now();
    ds_registry_client c;
    ds_err e = DS_ERR_INIT;
    char user[DS_RIGHTS_USER_MAX];
    enum ds_class rc = admit(p, client, now, &c, &e);
    if (c.news != DS_REGISTRY_NOTHING)
        tell(p, &c, now);
    if (rc)
        return refuse(p, client, e.text);
    ds_rights_user(&(ds_rights_who){c.ca_number, c.service, c.name}, user);
    if (mosquitto_set_username(client, user) != MOSQ_ERR_SUCCESS)
        return refuse(p, client, "its name could not be set");
    if (c.news == DS_REGISTRY_REGISTERED)
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "devstamp: registered %s", c.name);
    return MOSQ_ERR_SUCCESS;
}

static int on_access(int event, void *event_data, void *userdata)
{
    (void)event;
    const plugin *p = userdata;
    const struct mosquitto_evt_acl_check *check = event_data;
    ds_rights_who who;
    enum ds_rights_act act = check->access == MOSQ_ACL_WRITE         ? DS_RIGHTS_PUBLISH
                             : check->access == MOSQ_ACL_UNSUBSCRIBE ? DS_RIGHTS_UNSUBSCRIBE
                                                                     : DS_RIGHTS_READ;
    if (!ds_rights_read(mosquitto_client_username(check->client), &who))
        return MOSQ_ERR_ACL_DENIED;
    if (!ds_registry_ca_is_active(p->registry, who.ca))
        return MOSQ_ERR_ACL_DENIED; // switched off since it connected: silent at once, and disconnected soon
    if (check->access == MOSQ_ACL_WRITE && check->retain)
        return MOSQ_ERR_ACL_DENIED; // kept for nobody: one client's topics could fill the broker for all
    return ds_rights_allow(&p->topics, &who, check->topic, act) ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

// By its client id, which is its name: the broker finds that at once, a user name only by looking at everybody.
static void kick(void *arg, const char *name)
{
    (void)arg;
    mosquitto_kick_client_by_clientid(name, false); // most are not connected
}

static enum ds_class read_topics(plugin *p, ds_err *e)
{
    char text[DS_TOPICS_TEXT];
    enum ds_class rc = ds_registry_topics(p->registry, text, e);
    return rc ? rc : ds_topics_parse(text, &p->topics, e);
}

// Who was connected when the registry changed its mind about it does not stay.
static void look(plugin *p, int64_t now_ms)
{
    ds_err e = DS_ERR_INIT;
    if (!p->more && now_ms < p->look_at_ms)
        return;
    p->look_at_ms = now_ms + LOOK_MS;
    ds_outbox_retry(&p->outbox, publish);
    enum ds_class rc = ds_registry_watch_next(p->registry, &p->watch, BUDGET_MS, kick, NULL, &p->more, &e);
    if (!rc && p->watch.topics_changed)
        rc = read_topics(p, &e);
    if (!rc)
        p->watch.topics_changed = false;
    else
        log_err(MOSQ_LOG_WARNING, "look at the registry", &e);
}

static void write_seen(plugin *p, int64_t now_ms)
{
    ds_err e = DS_ERR_INIT;
    if (now_ms < p->flush_at_ms)
        return;
    p->flush_at_ms = now_ms + FLUSH_MS;
    if (!ds_registry_flush(p->registry, &e))
        return;
    p->flush_at_ms = now_ms + PUT_OFF_MS;
    log_err(MOSQ_LOG_WARNING, "write who was seen", &e);
}

static void summarise(plugin *p, int64_t now_ms)
{
    if (!p->refused_silently || now_ms < p->summary_at_ms)
        return;
    p->summary_at_ms = now_ms + SUMMARY_MS;
    mosquitto_log_printf(MOSQ_LOG_WARNING, "devstamp: refused %lu more, not named here, since the last such line",
                         p->refused_silently);
    p->refused_silently = 0;
}

static int on_tick(int event, void *event_data, void *userdata)
{
    (void)event, (void)event_data; // mosquitto 2.0 leaves its times zero
    plugin *p = userdata;
    int64_t now_ms = ds_now_ms();
    look(p, now_ms);
    write_seen(p, now_ms);
    summarise(p, now_ms);
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++)
        if (supported_versions[i] == MOSQ_PLUGIN_VERSION)
            return MOSQ_PLUGIN_VERSION;
    return -1;
}

static const char *option(const struct mosquitto_opt *options, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (strcmp(options[i].key, key) == 0)
            return options[i].value;
    return NULL;
}

static const struct {
    int event;
    MOSQ_FUNC_generic_callback fn;
} callbacks[] = {
    {MOSQ_EVT_BASIC_AUTH, on_connect},
    {MOSQ_EVT_ACL_CHECK, on_access},
    {MOSQ_EVT_TICK, on_tick},
};

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count)
{
    ds_err e = DS_ERR_INIT;
    const char *path = option(options, option_count, "registry");
    if (!path) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "devstamp: plugin_opt_registry PATH is missing");
        return MOSQ_ERR_INVAL;
    }
    plugin *p = ds_alloc(sizeof *p);
    p->id = identifier;
    enum ds_class opened = ds_registry_open(path, false, &p->registry, &e);
    if (!opened)
        opened = ds_registry_watch_init(p->registry, &p->watch, &e);
    if (!opened)
        opened = read_topics(p, &e);
    if (opened) {
        ds_registry_close(p->registry);
        log_err(MOSQ_LOG_ERR, "start", &e);
        free(p);
        return MOSQ_ERR_UNKNOWN;
    }
    ds_registry_wait_at_most(p->registry, WAIT_MS);
    *userdata = p;
    for (size_t i = 0; i < sizeof callbacks / sizeof *callbacks; i++) {
        int rc = mosquitto_callback_register(identifier, callbacks[i].event, callbacks[i].fn, NULL, p);
        if (rc != MOSQ_ERR_SUCCESS)
            return rc; // the broker ends, and calls cleanup
    }
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
    (void)options, (void)option_count;
    plugin *p = userdata;
    if (!p)
        return MOSQ_ERR_SUCCESS;
    for (size_t i = 0; i < sizeof callbacks / sizeof *callbacks; i++)
        mosquitto_callback_unregister(p->id, callbacks[i].event, callbacks[i].fn, NULL);
    ds_err e = DS_ERR_INIT;
    if (ds_registry_flush(p->registry, &e))
        log_err(MOSQ_LOG_WARNING, "write who was seen", &e);
    ds_registry_close(p->registry);
    ds_outbox_clear(&p->outbox);
    free(p);
    return MOSQ_ERR_SUCCESS;
}
