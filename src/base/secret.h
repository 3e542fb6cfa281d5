// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Secrets in memory: PINs, keys and unsealed settings live in libsodium guarded memory (locked, not dumped, between
// guard pages), are wiped when freed, and have no format for logging. What wiping cannot promise: copies the kernel, a
// library or a token module made for itself.
#ifndef DS_BASE_SECRET_H
#define DS_BASE_SECRET_H

#include "src/base/buf.h"

typedef struct ds_secret {
    uint8_t *ptr; // guarded; NULL when empty
    size_t len;
} ds_secret;

// len zero bytes. DS_INTERNAL where memory cannot be guarded.
enum ds_class ds_secret_new(ds_secret *ret, size_t len, ds_err *e) DS_MUST;
void ds_secret_free(ds_secret *s);

// Read one line (without its end) of at most max bytes from fd into ret. DS_INPUT on empty or oversized input.
enum ds_class ds_secret_read_line(int fd, size_t max, ds_secret *ret, ds_err *e) DS_MUST;

// As above from a file that only its owner can read; refuses (DS_POLICY) any group or other permission.
enum ds_class ds_secret_read_file(const char *path, size_t max, ds_secret *ret, ds_err *e) DS_MUST;

// Open such a file for reading by ds_secret_read_line, once for each line. *ret is the caller's to close.
enum ds_class ds_secret_open_file(const char *path, int *ret, ds_err *e) DS_MUST;

// All that is behind fd, at most max bytes, whatever they are. DS_INPUT on nothing, or more.
enum ds_class ds_secret_read_all(int fd, size_t max, ds_secret *ret, ds_err *e) DS_MUST;

// Ask on the controlling terminal without echo.
enum ds_class ds_secret_prompt(const char *prompt, size_t max, ds_secret *ret, ds_err *e) DS_MUST;

// No core dump of this process, whatever the limits and the kernel's core_pattern say, no tracing by others of the same
// user, /proc/PID/mem closed to them. Lost by execve; LeakSanitizer lifts it for the moment of its search.
enum ds_class ds_secret_no_dumps(ds_err *e) DS_MUST;

void ds_wipe(void *p, size_t len);
// free() of all that the C library gave for p, wiped; NULL is fine. For libraries that take allocators.
void ds_wipe_free(void *p);
void ds_random(void *p, size_t len);

#define DS_CLEANUP_SECRET __attribute__((cleanup(ds_secret_free)))

#endif
