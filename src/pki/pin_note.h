// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What is remembered of a PIN file that a token refused, so that no restart tries it again: tokens count wrong PINs and
// lock. A note file names tokens (serial number) and PIN files (device, inode, size, time of last change in
// nanoseconds); it holds no PIN and nothing made of one.
//
// The note is on disk before the token is asked and goes when the token accepts. An end in between leaves it as well,
// because nobody knows whether the token counted that try: touching the PIN file (touch FILE) says that it is to be
// tried again.
//
// The file, mode 0600, one line an entry, newest last, at most 32:
//   trying|refused SERIAL DEVICE INODE SIZE SECONDS NANOSECONDS WHEN
// SERIAL is the token's serial number in hexadecimal (16 bytes), WHEN in seconds since 1970 UTC, the rest decimal.
#ifndef DS_PKI_PIN_NOTE_H
#define DS_PKI_PIN_NOTE_H

#include "src/base/buf.h"

#include <sys/stat.h>

typedef struct ds_pin_note {
    char *path; // of the note
    char *file; // the PIN file, as messages name it
    bool seal;  // that is a seal, and the PIN in it
    uint64_t device, inode;
    int64_t size, seconds, nanoseconds;
} ds_pin_note;

// The token that is asked.
typedef struct ds_pin_token {
    uint8_t serial[16];
    char label[33];
} ds_pin_token;

// Take down which file the PIN is read from; st is that file's. ds_pin_note_free.
void ds_pin_note_set(ds_pin_note *n, const char *path, const char *file, const struct stat *st);
void ds_pin_note_free(ds_pin_note *n);

// Before a login: write down that it is tried. DS_TOKEN (code CKR_PIN_INCORRECT): this file was tried before and not
// accepted. DS_STORE: the note cannot be read or written, so that nothing may be tried. NULL or empty note: DS_OK.
enum ds_class ds_pin_note_try(const ds_pin_note *n, const ds_pin_token *token, ds_err *e) DS_MUST;

// After it. Failures are logged: what ds_pin_note_try wrote stays, which is the safe side.
void ds_pin_note_accepted(const ds_pin_note *n, const ds_pin_token *token);
void ds_pin_note_refused(const ds_pin_note *n, const ds_pin_token *token);

#endif
