// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of devstamp ca share.
#ifndef DS_CLI_CMD_CA_H
#define DS_CLI_CMD_CA_H

#include "src/base/buf.h"
#include "src/cli/cli.h"
#include "src/pki/csr.h"
#include "src/signer/ceremony.h"

// Print a certificate in plain words under a heading.
enum ds_class ds_ca_print(ds_view certificate, const char *heading, ds_err *e) DS_MUST;

// "CN=NAME ROLE,O=NAME", escaped. Caller frees.
char *ds_ca_subject(const char *name, const char *role);

// Make the folder where it is not there; ret_made: it was not.
enum ds_class ds_ca_make_folder(const char *dir, bool *ret_made, ds_err *e) DS_MUST;

// The protocol of a ceremony that made these certificates (either may be empty).
enum ds_class ds_ca_protocol_of(const char *dir, const char *step, const char *title, const ds_ceremony_result *made,
                                ds_err *e) DS_MUST;

// Read a CA's request, PEM or DER, and check it; its DER is appended to ret.
enum ds_class ds_ca_read_request(const char *path, ds_buf *ret, ds_csr_info *ret_info, ds_err *e) DS_MUST;

// Is the digest the one of that text, 64 digits in groups or not? DS_POLICY where not, DS_USAGE where it is no text.
enum ds_class ds_ca_fingerprint_is(const char *text, const uint8_t digest[32], const char *whose, ds_err *e) DS_MUST;

int ds_cmd_ca_chain(int argc, char **argv);
int ds_cmd_ca_crl(int argc, char **argv);
int ds_cmd_ca_install(int argc, char **argv);
int ds_cmd_ca_lint(int argc, char **argv);
int ds_cmd_ca_request(int argc, char **argv);
int ds_cmd_ca_revoke(int argc, char **argv);
int ds_cmd_ca_root(int argc, char **argv);
int ds_cmd_ca_sign(int argc, char **argv);
int ds_cmd_ca_show(int argc, char **argv);

#endif
