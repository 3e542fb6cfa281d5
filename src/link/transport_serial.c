// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A serial port. libserialport configures it (any line rate, USB ids); bytes go straight to its descriptor. Pseudo-
// terminals are not in the system's list of serial ports, so that libserialport refuses them: they are made raw here
// and have neither rate nor lines. An advisory lock and the exclusive mode keep a second program away.
#include "src/link/transport_open.h"

#include <errno.h>
#include <fcntl.h>
#include <libserialport.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

typedef struct serial {
    ds_transport base;
    ds_fdio io;
    int lock_fd;          // holds the lock; is io.fd for a pseudo-terminal
    struct sp_port *port; // NULL for a pseudo-terminal
} serial;

static serial *self(ds_transport *t)
{
    return (serial *)(void *)t;
}

static enum ds_class serial_read(ds_transport *t, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e)
{
    return ds_fdio_read(&self(t)->io, buf, cap, timeout_ms, ret_len, e);
}

static enum ds_class serial_write(ds_transport *t, ds_view data, ds_err *e)
{
    return ds_fdio_write(&self(t)->io, data, e);
}

static enum ds_class serial_set_baud(ds_transport *t, uint32_t baud, ds_err *e)
{
    serial *s = self(t);
    if (!s->port)
        return DS_OK;
    if (baud > INT_MAX || sp_set_baudrate(s->port, (int)baud) != SP_OK) {
        ds_fail_errno(e, DS_DEVICE, errno, "set the line to %u baud", baud);
        return ds_hint(e, "choose a lower rate; not every adapter can do every rate");
    }
    return DS_OK;
}

static enum ds_class serial_set_lines(ds_transport *t, bool dtr, bool rts, ds_err *e)
{
    serial *s = self(t);
    int lines = 0;
    if (ioctl(s->io.fd, TIOCMGET, &lines) == 0) {
        lines &= ~(TIOCM_DTR | TIOCM_RTS);
        lines |= (dtr ? TIOCM_DTR : 0) | (rts ? TIOCM_RTS : 0);
        if (ioctl(s->io.fd, TIOCMSET, &lines) == 0)
            return DS_OK;
    }
    ds_fail_errno(e, DS_DEVICE, errno, "set the control lines");
    return ds_hint(e, s->port ? "check the cable" : "a pseudo-terminal has no lines: give the slot a reset command");
}

static enum ds_class serial_flush(ds_transport *t, ds_err *e)
{
    if (tcflush(self(t)->io.fd, TCIFLUSH)) {
        ds_fail_errno(e, DS_DEVICE, errno, "the port vanished");
        return ds_hint(e, "check the cable and the device's power, then run again");
    }
    return DS_OK;
}

static void serial_close(ds_transport *t)
{
    serial *s = self(t);
    if (s->port) {
        sp_close(s->port);
        sp_free_port(s->port);
    }
    if (s->lock_fd >= 0)
        close(s->lock_fd); // after the port: the lock goes last
    free(s);
}

static enum ds_class in_use(int err, ds_err *e)
{
    ds_fail_errno(e, DS_DEVICE, err, "the port is in use by another program");
    return ds_hint(e, "another devstamp or a terminal program holds this port: end it, or wait until it is done");
}

static enum ds_class open_locked(serial *s, const char *path, ds_err *e)
{
    s->lock_fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (s->lock_fd < 0) {
        int err = errno;
        if (err == EBUSY)
            return in_use(err, e);
        ds_fail_errno(e, DS_DEVICE, err, "no such port can be opened");
        if (err == EACCES)
            return ds_hint(e, "add the user to the group that owns serial ports (often dialout)");
        return ds_hint(e, "check that the adapter is plugged in and the name is right");
    }
    if (!isatty(s->lock_fd)) {
        ds_fail(e, DS_DEVICE, "this is not a serial port");
        return ds_hint(e, "check the name of the port");
    }
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB))
        return in_use(errno, e);
    return DS_OK;
}

static enum ds_class make_raw(serial *s, ds_err *e)
{
    struct termios tio;
    if (tcgetattr(s->lock_fd, &tio))
        return ds_fail_errno(e, DS_DEVICE, errno, "read the terminal's settings");
    cfmakeraw(&tio);
    tio.c_cflag |= CLOCAL | CREAD;
    if (tcsetattr(s->lock_fd, TCSANOW, &tio))
        return ds_fail_errno(e, DS_DEVICE, errno, "set the terminal to raw mode");
    s->io.fd = s->lock_fd;
    return DS_OK;
}

static enum ds_class configure(serial *s, ds_err *e)
{
    if (sp_open(s->port, SP_MODE_READ_WRITE) != SP_OK)
        return errno == EBUSY ? in_use(errno, e) : ds_fail_errno(e, DS_DEVICE, errno, "open the serial port");
    if (sp_get_port_handle(s->port, &s->io.fd) != SP_OK)
        return ds_fail(e, DS_INTERNAL, "no descriptor of the serial port");
    if (sp_set_baudrate(s->port, (int)DS_BAUD_START) != SP_OK || sp_set_bits(s->port, 8) != SP_OK ||
        sp_set_parity(s->port, SP_PARITY_NONE) != SP_OK || sp_set_stopbits(s->port, 1) != SP_OK ||
        sp_set_flowcontrol(s->port, SP_FLOWCONTROL_NONE) != SP_OK)
        return ds_fail_errno(e, DS_DEVICE, errno, "configure the serial port");
    int vid = 0, pid = 0;
    if (sp_get_port_usb_vid_pid(s->port, &vid, &pid) == SP_OK) {
        s->base.usb_vid = (uint16_t)vid;
        s->base.usb_pid = (uint16_t)pid;
    }
    return DS_OK;
}

enum ds_class ds_serial_open(const char *path, ds_transport **ret, ds_err *e)
{
    serial *s = ds_alloc(sizeof *s);
    s->base = (ds_transport){
        .read = serial_read,
        .write = serial_write,
        .set_baud = serial_set_baud,
        .set_lines = serial_set_lines,
        .flush_input = serial_flush,
        .close = serial_close,
        .tight_lines = true,
    };
    s->io.fd = s->lock_fd = -1;
    // names under /dev/serial/by-id are links; libserialport wants the device itself
    DS_CLEANUP_FREE char *real = realpath(path, NULL);
    enum ds_class cls = open_locked(s, real ? real : path, e);
    if (!cls && sp_get_port_by_name(real ? real : path, &s->port) == SP_OK) {
        cls = configure(s, e);
    } else if (!cls) {
        s->port = NULL;
        cls = make_raw(s, e);
    }
    if (cls) {
        serial_close(&s->base);
        return cls;
    }
    ioctl(s->io.fd, TIOCEXCL); // a second open() fails from now on, except for root: hence the lock too
    int lines;
    s->base.has_lines = ioctl(s->io.fd, TIOCMGET, &lines) == 0;
    *ret = &s->base;
    return DS_OK;
}
