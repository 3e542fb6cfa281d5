// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// AWS IoT's calls on CAs, certificates, policies, things and rules, as devstamp uses them. Source: AWS IoT API
// Reference (2015-05-28). Ids of certificates are the SHA-256 of their DER, as hex text: what is registered can be
// asked for without having been told.
#ifndef DS_AWS_IOT_H
#define DS_AWS_IOT_H

#include "src/cloud/aws/client.h"

// ret: 64 hex digits (in a dry run a placeholder).
enum ds_class ds_aws_registration_code(ds_aws *c, char ret[65], ds_err *e) DS_MUST;

// How devices are provisioned when they connect first (JITP): by a template with its role, or by a provisioning
// template of the account. All NULL: not at all.
typedef struct ds_aws_jitp {
    const char *template_body, *role_arn, *template_name;
} ds_aws_jitp;

typedef struct ds_aws_ca_registration {
    const char *ca_pem;
    const char *verification_pem; // NULL: SNI-only mode, for which nothing is proved
    bool active, auto_registration;
    ds_aws_jitp jitp;
} ds_aws_ca_registration;
// Idempotent: one that is registered already is fine; ret_fresh: it was not. Its state is left as it is then.
enum ds_class ds_aws_register_ca(ds_aws *c, const ds_aws_ca_registration *r, const uint8_t id[32], bool *ret_fresh,
                                 ds_err *e) DS_MUST;

// *ret: the answer of DescribeCACertificate; json_decref.
enum ds_class ds_aws_describe_ca(ds_aws *c, const char *id, json_t **ret, ds_err *e) DS_MUST;
// NULL: as it is. status "ACTIVE", "INACTIVE"; automatic "ENABLE", "DISABLE".
enum ds_class ds_aws_update_ca(ds_aws *c, const char *id, const char *status, const char *automatic, ds_err *e) DS_MUST;
// Give a registered CA that, or take from it what it has.
enum ds_class ds_aws_set_jitp(ds_aws *c, const char *id, const ds_aws_jitp *jitp, ds_err *e) DS_MUST;

enum ds_class ds_aws_endpoint(ds_aws *c, char ret[256], ds_err *e) DS_MUST;

// One object of a list in pages; what fn fails with ends the walk.
typedef enum ds_class (*ds_aws_item_fn)(void *arg, const json_t *item, ds_err *e);
enum ds_class ds_aws_each_ca(ds_aws *c, ds_aws_item_fn fn, void *arg, ds_err *e) DS_MUST;
// All certificates of the account, or of one CA where ca_id is not NULL.
enum ds_class ds_aws_each_certificate(ds_aws *c, const char *ca_id, ds_aws_item_fn fn, void *arg, ds_err *e) DS_MUST;

// Register a device's certificate, active or not. ca_pem: of its CA, NULL: without one. *ret_arn: malloc'ed.
// Idempotent: where it is there already and is this account's, that is fine (ret_status: its state, e.g. "ACTIVE").
// id is the certificate's.
typedef struct ds_aws_device {
    const char *pem, *ca_pem;
    uint8_t id[32];
    bool active;
} ds_aws_device;
enum ds_class ds_aws_register_device(ds_aws *c, const ds_aws_device *d, char **ret_arn, char ret_status[24],
                                     bool *ret_fresh, ds_err *e) DS_MUST;

// "ACTIVE", "INACTIVE", "REVOKED"
enum ds_class ds_aws_set_certificate(ds_aws *c, const char *id, const char *status, ds_err *e) DS_MUST;
// Take it from its things, switch it off where it is on, and delete it with its policies' attachments. What is gone
// already is fine.
enum ds_class ds_aws_delete_certificate(ds_aws *c, const char *id, ds_err *e) DS_MUST;

// Idempotent, all of them.
enum ds_class ds_aws_attach_policy(ds_aws *c, const char *policy, const char *arn, ds_err *e) DS_MUST;
enum ds_class ds_aws_make_thing(ds_aws *c, const char *name, const char *arn, ds_err *e) DS_MUST;

// Make a policy; one of this name with the same document is fine, with another DS_POLICY. ret_fresh: it was not there.
enum ds_class ds_aws_make_policy(ds_aws *c, const char *name, const json_t *document, bool *ret_fresh,
                                 ds_err *e) DS_MUST;
// Make a topic rule; one of this name with the same SQL and actions is fine, with others DS_POLICY.
enum ds_class ds_aws_make_rule(ds_aws *c, const char *name, const json_t *payload, bool *ret_fresh, ds_err *e) DS_MUST;

// Start a bulk registration from an object of S3. Not idempotent, and so not tried again where the answer is lost: the
// hint says how to see what became of it.
typedef struct ds_aws_bulk {
    const char *template_body, *bucket, *key, *role_arn;
} ds_aws_bulk;
enum ds_class ds_aws_start_bulk(ds_aws *c, const ds_aws_bulk *b, char ret_task[41], ds_err *e) DS_MUST;
// *ret: DescribeThingRegistrationTask's answer; json_decref.
enum ds_class ds_aws_describe_bulk(ds_aws *c, const char *task, json_t **ret, ds_err *e) DS_MUST;
// *ret: the ids (texts) of those that are in progress; json_decref.
enum ds_class ds_aws_list_bulk(ds_aws *c, json_t **ret, ds_err *e) DS_MUST;

#endif
