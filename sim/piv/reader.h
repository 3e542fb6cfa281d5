// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A reader for the virtual YubiKey: Debian's pcscd with its driver vpcd, in network and mount namespaces of their own,
// because vpcd listens on all addresses and pcscd on one fixed socket. Programs reach it by
// PCSCLITE_CSOCK_NAME=<state>/run/pcscd.comm; the computer's own pcscd and its readers are left alone. Needs root, or
// user namespaces.
//
// vpcd's wire: a 16-bit big-endian length, then that many bytes. One byte: 0 power off, 1 power on, 2 reset, 4 say the
// ATR; longer: an APDU. The card answers the ATR and APDUs.
#ifndef DS_PIV_READER_H
#define DS_PIV_READER_H

#include "src/base/buf.h"

#include <sys/types.h>

typedef struct ds_piv_reader {
    pid_t pcscd;
    char *socket; // pcscd's, as others reach it
    int link;     // to vpcd; -1: the card is not in the reader
} ds_piv_reader;

// Enter the namespaces and start pcscd. The calling process has one thread, and stays in the namespaces.
enum ds_class ds_piv_reader_open(const char *state, ds_piv_reader *ret, ds_err *e) DS_MUST;
void ds_piv_reader_close(ds_piv_reader *r);

// Put the card in; pull it out.
enum ds_class ds_piv_reader_insert(ds_piv_reader *r, ds_err *e) DS_MUST;
void ds_piv_reader_eject(ds_piv_reader *r);

// Receive one message; DS_DEVICE where the link has ended.
enum ds_class ds_piv_reader_receive(ds_piv_reader *r, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_piv_reader_send(ds_piv_reader *r, ds_view message, ds_err *e) DS_MUST;

#endif
