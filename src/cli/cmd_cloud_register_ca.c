// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws register-ca: the account's registration code, a certificate by which the signer shows that it has
// the CA's key, and the registration. Source: AWS IoT Core Developer Guide, "Register your CA certificate".
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"
#include "src/signer/ceremony.h"

#include <stdlib.h>
#include <string.h>

enum { HOUR = 3600, DAY = 86400 };

static const char usage[] =
    "usage: devstamp cloud aws register-ca (--dir DIR | --certificate FILE [--sub-key URI]) [options]\n"
    "\n"
    "Registers the CA that signs devices. The service gives a code, the signer process signs a certificate that "
    "carries\n"
    "it, with the CA's key (CA.verification.log beside the CA keeps it), and both are handed in. Again is fine.\n"
    "\n"
    "  --dir DIR           the CA is DIR/subca.pem, its key file:DIR/subca.key\n"
    "  --certificate FILE  the CA's certificate, instead\n"
    "  --sub-key URI       its key\n"
    "  --module PATH, --pin-file FILE, --pin-fd N  as of 'devstamp ca init'\n"
    "  --subject DN        of the verification certificate, with {code} (default CN={code}); where the CA has name\n"
    "                      constraints: CN={code},O=...\n"
    "  --sni-only          no proof and no code: devices must name the endpoint when they connect (SNI), and the same "
    "CA\n"
    "                      may be registered in other accounts and regions\n"
    "  --inactive          not to be used yet\n"
    "  --auto-registration devices of this CA are registered when they connect (JITR, JITP)\n"
    "  --template-name N   JITP: by this provisioning template of the account\n"
    "  --template FILE --role-arn ARN  JITP: by this template, with this role\n"
    "\n" DS_CLOUD_COMMON;

typedef struct job {
    const ds_cloud_args *o;
    char *certificate, *key, *stem;
    ds_buf ca_pem, verification_pem, template_body;
    ds_cert_info info;
} job;

static void name_files(job *j)
{
    const ds_cloud_args *o = j->o;
    j->certificate = o->dir ? ds_asprintf("%s/subca.pem", o->dir) : ds_strdup(o->certificate);
    j->stem = ds_strdup(j->certificate);
    size_t len = strlen(j->stem);
    if (len > 4 && strcmp(j->stem + len - 4, ".pem") == 0)
        j->stem[len - 4] = '\0';
    j->key = o->sub_key ? ds_strdup(o->sub_key) : ds_asprintf("file:%s.key", j->stem);
}

static enum ds_class read_inputs(job *j, ds_err *e)
{
    DS_CLEANUP_X509 X509 *ca = NULL;
    enum ds_class rc = ds_cert_read(j->certificate, &ca, e);
    if (!rc)
        rc = ds_cert_describe(ca, &j->info, e);
    if (!rc && !j->info.ca)
        rc = ds_fail(e, DS_INPUT, "%s is no CA's certificate", j->certificate);
    if (!rc)
        rc = ds_cert_pem(ca, &j->ca_pem, e);
    ds_buf_add_u8(&j->ca_pem, 0);
    if (!rc && j->o->template_file)
        rc = ds_cloud_text(j->o->template_file, &j->template_body, e);
    return rc;
}

// "{code}" in the subject stands for the code.
static char *subject_of(const char *form, const char *code)
{
    const char *at = strstr(form, "{code}");
    return at ? ds_asprintf("%.*s%s%s", (int)(at - form), form, code, at + 6) : ds_strdup(form);
}

static enum ds_class verification(job *j, const char *code, ds_err *e)
{
    DS_CLEANUP_FREE char *subject = subject_of(j->o->subject ? j->o->subject : "CN={code}", code);
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_ceremony_result made = {0};
    int64_t now = ds_utc_now(), from = now - HOUR, to = now + DAY;
    const ds_verification_request req = {
        .key = j->key,
        .certificate = j->certificate,
        .stem = j->stem,
        .subject = subject,
        .not_before_utc = from > j->info.not_before_utc ? from : j->info.not_before_utc,
        .not_after_utc = to < j->info.not_after_utc ? to : j->info.not_after_utc,
    };
    enum ds_class rc = ds_ceremony_make_verification(&j->o->access, &req, &made, e);
    if (!rc)
        rc = ds_cert_parse(ds_buf_view(&made.certificate), &cert, e);
    if (!rc)
        rc = ds_cert_pem(cert, &j->verification_pem, e);
    ds_buf_add_u8(&j->verification_pem, 0);
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return rc ? ds_wrap(e, "verification certificate") : DS_OK;
}

static enum ds_class prove(job *j, ds_aws *c, ds_err *e)
{
    static const char stands_for[] = "<the verification certificate, signed for that code>";
    char code[65];
    enum ds_class rc = ds_aws_registration_code(c, code, e);
    if (rc || !ds_aws_is_dry(c))
        return rc ? rc : verification(j, code, e);
    ds_buf_add(&j->verification_pem, stands_for, sizeof stands_for);
    return DS_OK;
}

// Asked first, so that nothing is signed for a CA that is registered.
static enum ds_class is_there(ds_aws *c, const char *id, bool *ret, ds_err *e)
{
    json_t *answer = NULL;
    enum ds_class rc = ds_aws_describe_ca(c, id, &answer, e);
    json_decref(answer);
    *ret = !rc && !ds_aws_is_dry(c);
    return ds_aws_is(rc, e, DS_AWS_NOT_FOUND) ? DS_OK : rc;
}

static enum ds_class hand_in(job *j, ds_aws *c, bool *ret_fresh, ds_err *e)
{
    const ds_cloud_args *o = j->o;
    enum ds_class rc = o->sni_only ? DS_OK : prove(j, c, e);
    const ds_aws_ca_registration r = {
        .ca_pem = (const char *)j->ca_pem.ptr,
        .verification_pem = o->sni_only ? NULL : (const char *)j->verification_pem.ptr,
        .active = !o->inactive,
        .auto_registration = o->auto_registration,
        .jitp = {(const char *)j->template_body.ptr, o->role_arn, o->template_name},
    };
    return rc ? rc : ds_aws_register_ca(c, &r, j->info.fingerprint, ret_fresh, e);
}

static enum ds_class run(job *j, ds_aws *c, ds_err *e)
{
    char id[65];
    bool there = false, fresh = false;
    ds_hex(j->info.fingerprint, 32, id);
    enum ds_class rc = is_there(c, id, &there, e);
    if (!rc && !there)
        rc = hand_in(j, c, &fresh, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("%s %s\n", id,
               fresh ? "registered" : "was registered before, and is left as it is ('devstamp cloud aws ca')");
    return rc;
}

static void release(job *j)
{
    free(j->certificate);
    free(j->key);
    free(j->stem);
    ds_buf_free(&j->ca_pem);
    ds_buf_free(&j->verification_pem);
    ds_buf_free(&j->template_body);
}

static bool is_sensible(int argc, const ds_cloud_args *o)
{
    bool one_ca = !o->dir != !o->certificate, template_whole = !o->template_file == !o->role_arn;
    return o->operands == argc && one_ca && template_whole && !(o->template_file && o->template_name);
}

int ds_cloud_cmd_register_ca(int argc, char **argv)
{
    static const char allowed[] = "dir certificate sub-key module pin-file pin-fd subject sni-only inactive "
                                  "auto-registration template-name template role-arn";
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, allowed, usage, &o, &code))
        return code;
    if (!is_sensible(argc, &o))
        return ds_cli_usage(usage, false);
    job j = {.o = &o};
    ds_aws *c = NULL;
    name_files(&j);
    enum ds_class rc = read_inputs(&j, &e);
    if (!rc)
        rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = run(&j, c, &e);
    ds_aws_close(c);
    release(&j);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
