// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Files: read whole within a limit, replace atomically and durably.
#ifndef DS_BASE_FILE_H
#define DS_BASE_FILE_H

#include "src/base/buf.h"

#include <sys/types.h>

// Read a whole regular file of at most max bytes; appends to ret. DS_INPUT with path and reason otherwise.
enum ds_class ds_file_read(const char *path, size_t max, ds_buf *ret, ds_err *e) DS_MUST;

// Write path through a temporary file beside it: fsync, rename, fsync of the folder. On failure the old file stays.
enum ds_class ds_file_write(const char *path, ds_view data, mode_t mode, ds_err *e) DS_MUST;

// The same without waiting for the disk: whole or not at all whatever happens to the process, but not to the machine.
enum ds_class ds_file_write_unsynced(const char *path, ds_view data, mode_t mode, ds_err *e) DS_MUST;

// Write all of len bytes to fd / read until len bytes or end (ret_len short at end). Restarts on EINTR.
enum ds_class ds_fd_write_all(int fd, const void *data, size_t len, ds_err *e) DS_MUST;
enum ds_class ds_fd_read_full(int fd, void *data, size_t len, size_t *ret_len, ds_err *e) DS_MUST;

// Directory of path joined with name, unless name is absolute: how a recipe names the files beside it. Caller frees.
char *ds_path_beside(const char *path, const char *name);

#endif
