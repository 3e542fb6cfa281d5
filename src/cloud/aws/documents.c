// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Documents for the service; see documents.h.
#include "src/cloud/aws/documents.h"

#include <string.h>

#define COMMON_NAME "${iot:Certificate.Subject.CommonName}"

static json_t *resource(const char *region, const char *account, const char *what)
{
    DS_CLEANUP_FREE char *arn =
        ds_asprintf("arn:%s:iot:%s:%s:%s", strncmp(region, "cn-", 3) == 0 ? "aws-cn" : "aws", region, account, what);
    return json_string(arn);
}

static json_t *allow(json_t *action, json_t *on)
{
    return json_pack("{s:s, s:o, s:o}", "Effect", "Allow", "Action", action, "Resource", on);
}

json_t *ds_aws_device_policy(const char *region, const char *account)
{
    json_t *list = json_array();
    json_array_append_new(list, allow(json_string("iot:Connect"), resource(region, account, "client/" COMMON_NAME)));
    json_array_append_new(list, allow(json_pack("[s, s]", "iot:Publish", "iot:Receive"),
                                      resource(region, account, "topic/devstamp/" COMMON_NAME "/*")));
    json_array_append_new(
        list, allow(json_string("iot:Subscribe"), resource(region, account, "topicfilter/devstamp/" COMMON_NAME "/*")));
    return json_pack("{s:s, s:o}", "Version", "2012-10-17", "Statement", list);
}

static json_t *ref(const char *name)
{
    return json_pack("{s:s}", "Ref", name);
}

static json_t *template_of(json_t *parameters, json_t *thing, json_t *certificate, const char *policy)
{
    return json_pack("{s:o, s:{s:{s:s, s:o}, s:{s:s, s:o}, s:{s:s, s:{s:s}}}}", "Parameters", parameters, "Resources",
                     "thing", "Type", "AWS::IoT::Thing", "Properties", thing, "certificate", "Type",
                     "AWS::IoT::Certificate", "Properties", certificate, "policy", "Type", "AWS::IoT::Policy",
                     "Properties", "PolicyName", policy);
}

json_t *ds_aws_template_jitp(const char *policy)
{
    static const char name[] = "AWS::IoT::Certificate::CommonName", id[] = "AWS::IoT::Certificate::Id";
    json_t *parameters = json_pack("{s:{s:s}, s:{s:s}}", name, "Type", "String", id, "Type", "String");
    json_t *thing = json_pack("{s:o}", "ThingName", ref(name));
    json_t *certificate = json_pack("{s:o, s:s}", "CertificateId", ref(id), "Status", "ACTIVE");
    return template_of(parameters, thing, certificate, policy);
}

json_t *ds_aws_template_bulk(const char *policy, bool with_ca)
{
    static const char *const names[] = {"ThingName", "SerialNumber", "Product", "CertificatePem", "CACertificatePem"};
    json_t *parameters = json_object();
    for (size_t i = 0; i < (with_ca ? 5 : 4); i++)
        json_object_set_new(parameters, names[i], json_pack("{s:s}", "Type", "String"));
    json_t *thing = json_pack("{s:o, s:{s:o, s:o}}", "ThingName", ref("ThingName"), "AttributePayload", "product",
                              ref("Product"), "serialNumber", ref("SerialNumber"));
    json_t *certificate = json_pack("{s:o, s:s}", "CertificatePem", ref("CertificatePem"), "Status", "ACTIVE");
    if (with_ca)
        json_object_set_new(certificate, "CACertificatePem", ref("CACertificatePem"));
    return template_of(parameters, thing, certificate, policy);
}

json_t *ds_aws_jitr_rule(const char *ca_id, const char *function_arn)
{
    DS_CLEANUP_FREE char *sql = ds_asprintf("SELECT * FROM '$aws/events/certificates/registered/%s'", ca_id);
    return json_pack("{s:s, s:s, s:s, s:b, s:[{s:{s:s}}]}", "sql", sql, "description",
                     "devstamp: first connects of devices", "awsIotSqlVersion", "2016-03-23", "ruleDisabled", 0,
                     "actions", "lambda", "functionArn", function_arn);
}

char *ds_aws_jitr_function(const char *ca_id, const char *policy)
{
    return ds_asprintf(
        "# Lets a device in when it connects for the first time. Written by devstamp cloud aws jitr-rule.\n"
        "# Handler: handler. Runtime: Python 3. Its role needs iot:DescribeCertificate, iot:AttachPolicy and\n"
        "# iot:UpdateCertificate.\n"
        "import boto3\n"
        "\n"
        "CA = \"%s\"\n"
        "POLICY = \"%s\"\n"
        "iot = boto3.client(\"iot\")\n"
        "\n"
        "\n"
        "def handler(event, context):\n"
        "    if event[\"caCertificateId\"] != CA:\n"
        "        raise ValueError(\"the certificate is of another CA\")\n"
        "    found = iot.describe_certificate(certificateId=event[\"certificateId\"])"
        "[\"certificateDescription\"]\n"
        "    if found[\"caCertificateId\"] != CA or found[\"status\"] != \"PENDING_ACTIVATION\":\n"
        "        return found[\"status\"]  # told twice, or switched off in between: it stays so\n"
        "    iot.attach_policy(policyName=POLICY, target=found[\"certificateArn\"])\n"
        "    iot.update_certificate(certificateId=found[\"certificateId\"], newStatus=\"ACTIVE\")\n"
        "    return \"ACTIVE\"\n",
        ca_id, policy);
}
