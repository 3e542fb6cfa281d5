// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// CAs in the registry: registered, listed and changed.
#include "src/base/clock.h"
#include "src/cloud/internal.h"
#include "src/pki/cert.h"

#include <string.h>

// registration NULL: as it is; auto where the CA is new.
static enum ds_class insert_ca(ds_registry *r, X509 *ca, enum ds_registry_role role,
                               const enum ds_registry_registration *registration, uint8_t ret_id[32], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_cert_info info;
    int64_t had = 0, change = 0;
    enum ds_class rc = ds_cert_der(ca, &der, e);
    if (!rc)
        rc = ds_cert_describe(ca, &info, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT role FROM ca WHERE id = ?", DS_ARGS(DS_BLOB(info.fingerprint, 32)), 0, &had,
                           e);
    if (!rc)
        rc = ds_registry_count_change(r, &change, e);
    if (rc)
        return rc;
    memcpy(ret_id, info.fingerprint, 32);
    if (had && had != (int64_t)role)
        return ds_fail(e, DS_POLICY, "%s: is registered already, as %s", info.subject,
                       ds_registry_role_name((enum ds_registry_role)had));
    if (had && !registration)
        return DS_OK;
    if (had)
        return ds_sql_run(&r->sql, "UPDATE ca SET registration = ? WHERE id = ?",
                          DS_ARGS(DS_INT(*registration), DS_BLOB(info.fingerprint, 32)), e);
    return ds_sql_run(&r->sql,
                      "INSERT INTO ca(number, id, role, der, subject, registration, registered_at) "
                      "VALUES((SELECT ifnull(max(number), 0) + 1 FROM ca), ?, ?, ?, ?, ?, ?)",
                      DS_ARGS(DS_BLOB(info.fingerprint, 32), DS_INT(role), DS_BLOB(der.ptr, der.len),
                              DS_TEXT(info.subject), DS_INT(registration ? *registration : DS_REGISTRY_AUTO),
                              DS_INT(ds_utc_now())),
                      e);
}

enum ds_class ds_registry_find_ca(ds_registry *r, const uint8_t id[32], const ds_known_ca **ret, ds_err *e)
{
    enum ds_class rc = ds_registry_refresh(r, e);
    for (size_t i = 0; !rc && i < r->ca_count; i++)
        if (memcmp(r->cas[i].info.id, id, 32) == 0) {
            *ret = &r->cas[i];
            return DS_OK;
        }
    return rc ? rc : ds_fail(e, DS_INPUT, "the registry knows no such CA");
}

// Those that may be NULL stay as they are.
static enum ds_class change_ca(ds_registry *r, int64_t number, const ds_registry_ca_change *c, ds_err *e)
{
    int64_t change = 0;
    const ds_sql_arg none = DS_NULL_ARG;
    enum ds_class rc = ds_registry_count_change(r, &change, e);
    if (rc)
        return rc;
    return ds_sql_run(&r->sql,
                      "UPDATE ca SET active = ifnull(?2, active), registration = ifnull(?3, registration), "
                      "policy = ifnull(?4, policy), rate = ifnull(?5, rate), log_key = ifnull(?6, log_key), "
                      "changed = ?7 WHERE number = ?1",
                      DS_ARGS(DS_INT(number), c->active ? DS_INT(*c->active ? 1 : 0) : none,
                              c->registration ? DS_INT(*c->registration) : none, c->policy ? DS_INT(*c->policy) : none,
                              c->rate ? DS_INT(*c->rate) : none, c->log_key ? DS_BLOB(c->log_key, 32) : none,
                              DS_INT(change)),
                      e);
}

static enum ds_class parse_ca(ds_view certificate, X509 **ret, ds_err *e)
{
    if (ds_cert_parse(certificate, ret, e))
        return DS_INPUT;
    if (!ds_admission_ca(*ret, e))
        return DS_OK;
    if (e)
        e->cls = DS_INPUT;
    return DS_INPUT;
}

enum ds_class ds_registry_add_ca(ds_registry *r, ds_view certificate, enum ds_registry_role role,
                                 enum ds_registry_registration registration, uint8_t ret_id[32], ds_err *e)
{
    uint8_t id[32];
    DS_CLEANUP_X509 X509 *ca = NULL;
    enum ds_class rc = parse_ca(certificate, &ca, e);
    if (!rc)
        rc = ds_sql_begin(&r->sql, e);
    if (rc)
        return rc;
    rc = ds_sql_end(&r->sql, insert_ca(r, ca, role, &registration, id, e), e);
    if (!rc)
        memcpy(ret_id, id, sizeof id);
    return rc;
}

static enum ds_class insert_wished(ds_registry *r, X509 *ca, const ds_registry_ca_change *wished, uint8_t ret_id[32],
                                   ds_err *e)
{
    int64_t number = 0;
    enum ds_class rc = insert_ca(r, ca, DS_REGISTRY_DEVICES, wished->registration, ret_id, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT number FROM ca WHERE id = ?", DS_ARGS(DS_BLOB(ret_id, 32)), 0, &number, e);
    return rc ? rc : change_ca(r, number, wished, e);
}

enum ds_class ds_registry_add_devices_ca(ds_registry *r, ds_view certificate, const ds_registry_ca_change *wished,
                                         uint8_t ret_id[32], ds_err *e)
{
    uint8_t id[32];
    DS_CLEANUP_X509 X509 *ca = NULL;
    enum ds_class rc = parse_ca(certificate, &ca, e);
    if (!rc)
        rc = ds_sql_begin(&r->sql, e);
    if (rc)
        return rc;
    rc = ds_sql_end(&r->sql, insert_wished(r, ca, wished, id, e), e);
    if (!rc)
        memcpy(ret_id, id, sizeof id);
    return rc;
}

enum ds_class ds_registry_set_ca(ds_registry *r, const uint8_t id[32], const ds_registry_ca_change *change, ds_err *e)
{
    const ds_known_ca *ca = NULL;
    enum ds_class rc = ds_registry_find_ca(r, id, &ca, e);
    if (!rc && ca->info.role != DS_REGISTRY_DEVICES &&
        (change->registration || change->policy || change->rate || change->log_key))
        rc = ds_fail(e, DS_INPUT, "%s: policy, registration, rate and log are of CAs that sign devices",
                     ca->info.subject);
    if (rc)
        return rc;
    int64_t number = ca->number;
    rc = ds_sql_begin(&r->sql, e);
    return rc ? rc : ds_sql_end(&r->sql, change_ca(r, number, change, e), e);
}

bool ds_registry_ca_is_active(const ds_registry *r, unsigned ca_number)
{
    return ca_number >= 1 && ca_number <= r->ca_count && r->cas[ca_number - 1].info.active;
}

enum ds_class ds_registry_each_ca(ds_registry *r, ds_registry_ca_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    enum ds_class rc = ds_registry_refresh(r, e);
    for (size_t i = 0; !rc && i < r->ca_count; i++) {
        ds_registry_ca ca = r->cas[i].info;
        ds_buf_clear(&der);
        rc = ds_cert_der(r->cas[i].cert, &der, e);
        ca.der = ds_buf_view(&der);
        if (!rc && !fn(arg, &ca))
            break;
    }
    return rc;
}
