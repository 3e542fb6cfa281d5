// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Name constraints of a Sub CA (RFC 5280, 4.2.1.10): built from checked parts, and asked before anything is signed
// below it; see cert.h.
#include "src/pki/cert.h"
#include "src/pki/dn.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

static enum ds_class host_name(const ds_constraint *c, GENERAL_NAME *name, ds_err *e)
{
    size_t len = strlen(c->text);
    if (len == 0 || len > 253 ||
        len != strspn(c->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ||
        strstr(c->text, "..") || (c->text[0] == '.' && c->kind == DS_CONSTRAINT_DNS))
        return ds_hint(
            (ds_fail(e, DS_INPUT, "name constraint \"%.100s\" is no host or domain", c->text), e),
            "dns:example.com covers what is below it; uri:.example.com likewise, uri:host.example.com one host");
    ASN1_STRING *value = ASN1_STRING_type_new(V_ASN1_IA5STRING);
    if (!value || ASN1_STRING_set(value, c->text, (int)len) != 1) {
        ASN1_STRING_free(value);
        return ds_ossl_fail(e, DS_INTERNAL, "name constraint");
    }
    GENERAL_NAME_set0_value(name, c->kind == DS_CONSTRAINT_DNS ? GEN_DNS : GEN_URI, value);
    return DS_OK;
}

static enum ds_class directory_name(const ds_constraint *c, GENERAL_NAME *name, ds_err *e)
{
    X509_NAME *dn = NULL;
    if (ds_dn_parse(c->text, &dn, e))
        return ds_wrap(e, "name constraint");
    GENERAL_NAME_set0_value(name, GEN_DIRNAME, dn);
    return DS_OK;
}

static enum ds_class add_tree(STACK_OF(GENERAL_SUBTREE) * *list, const ds_constraint *c, ds_err *e)
{
    GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
    if (!*list)
        *list = sk_GENERAL_SUBTREE_new_null();
    if (!tree || !*list || sk_GENERAL_SUBTREE_push(*list, tree) <= 0) {
        GENERAL_SUBTREE_free(tree);
        return ds_ossl_fail(e, DS_INTERNAL, "name constraint");
    }
    return c->kind == DS_CONSTRAINT_DN ? directory_name(c, tree->base, e) : host_name(c, tree->base, e);
}

enum ds_class ds_constraints_add(X509 *cert, const ds_constraint *list, size_t count, ds_err *e)
{
    NAME_CONSTRAINTS *all = NAME_CONSTRAINTS_new();
    enum ds_class rc = DS_OK;
    if (!all) {
        (void)ds_ossl_fail(e, DS_INTERNAL, "name constraints");
        return DS_INTERNAL;
    }
    for (size_t i = 0; i < count && !rc; i++)
        rc = add_tree(list[i].excluded ? &all->excludedSubtrees : &all->permittedSubtrees, &list[i], e);
    if (!rc && X509_add1_ext_i2d(cert, NID_name_constraints, all, 1, X509V3_ADD_DEFAULT) != 1)
        rc = ds_ossl_fail(e, DS_INTERNAL, "name constraints");
    NAME_CONSTRAINTS_free(all);
    return rc;
}

enum ds_class ds_constraints_check(X509 *cert, X509 *issuer, ds_err *e)
{
    NAME_CONSTRAINTS *all = X509_get_ext_d2i(issuer, NID_name_constraints, NULL, NULL);
    if (all)
        (void)X509_check_purpose(cert, -1, 0); // makes OpenSSL look at the alternative names
    int result = all ? NAME_CONSTRAINTS_check(cert, all) : X509_V_OK;
    if (all && result == X509_V_OK &&
        X509_check_ca(cert) == 0) // whoever verifies takes a common name with dots for a host
        result = NAME_CONSTRAINTS_check_CN(cert, all);
    NAME_CONSTRAINTS_free(all);
    ERR_clear_error();
    if (result == X509_V_OK)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "the names are not within the CA's name constraints: %s",
                            X509_verify_cert_error_string(result)),
                    e),
                   "a permitted directoryName is the beginning of the subject: \"O=Acme\" permits \"O=Acme,CN=...\"");
}
