// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A non-blocking descriptor (tty or socket) read and written within a time: what the transports have in common.
#ifndef DS_LINK_FDIO_H
#define DS_LINK_FDIO_H

#include "src/base/buf.h"

typedef struct ds_fdio {
    int fd; // non-blocking
    bool is_socket;
} ds_fdio;

#define DS_FDIO_WRITE_MS 10000

// Wait at most timeout_ms for at least one byte; *ret_len = 0 on timeout. DS_DEVICE when the other side is gone.
enum ds_class ds_fdio_read(const ds_fdio *io, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len,
                           ds_err *e) DS_MUST;
// Write all of data within DS_FDIO_WRITE_MS.
enum ds_class ds_fdio_write(const ds_fdio *io, ds_view data, ds_err *e) DS_MUST;
// Read and forget what is there now, at most 1 MiB.
enum ds_class ds_fdio_discard(const ds_fdio *io, ds_err *e) DS_MUST;

#endif
