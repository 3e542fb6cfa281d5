// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What AWS IoT is told in documents of its own: policies, provisioning templates, topic rules and the Lambda function
// that lets a device in. Source: AWS IoT Core Developer Guide, "X.509 certificate AWS IoT Core policy variables",
// "Provisioning templates", "Just-in-time registration", "Just-in-time provisioning", "Bulk registration".
#ifndef DS_AWS_DOCUMENTS_H
#define DS_AWS_DOCUMENTS_H

#include "src/base/buf.h"

#include <jansson.h>

// A device may connect as its certificate's common name, and use the topics below devstamp/<name>/ alone: what the
// self-hosted endpoint grants too. account: 12 digits. json_decref.
json_t *ds_aws_device_policy(const char *region, const char *account);

// A template that makes a thing named as the certificate's common name (JITP) or as a manifest's entry says (bulk:
// parameters ThingName, SerialNumber, Product, CertificatePem, and CACertificatePem), with this policy, active.
// json_decref.
json_t *ds_aws_template_jitp(const char *policy);
json_t *ds_aws_template_bulk(const char *policy, bool with_ca);

// The rule by which a first connect of a device of this CA calls a function: CreateTopicRule's payload. json_decref.
json_t *ds_aws_jitr_rule(const char *ca_id, const char *function_arn);

// The function's source, Python: it attaches the policy and activates the certificate, of this CA alone. free().
char *ds_aws_jitr_function(const char *ca_id, const char *policy);

#endif
