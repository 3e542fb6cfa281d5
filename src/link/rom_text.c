// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a ROM loader's silence, noise and error bytes mean, in words. Error bytes: esptool serial-protocol.rst.
#include "src/link/rom_wire.h"

#include <errno.h>
#include <string.h>

const char *ds_rom_error_text(uint8_t code)
{
    static const char *const low[] = {
        "undefined error",   "invalid parameter",       "out of memory",
        "send failed",       "receive failed",          "unknown command or bad message",
        "operation failed",  "checksum wrong",          "flash read back differs",
        "flash read failed", "read length wrong",       "inflate failed",
        "adler-32 wrong",    "deflate parameter wrong", "RAM size wrong",
        "RAM address wrong",
    };
    if (code < sizeof low / sizeof *low)
        return low[code];
    switch (code) {
    case 0x64:
        return "invalid parameter";
    case 0x65:
        return "invalid format";
    case 0x66:
        return "description too long";
    case 0x67:
        return "bad encoding";
    case 0x69:
        return "insufficient storage";
    default:
        return "error unknown here";
    }
}

static const char *hint_for(const ds_rom_seen *s)
{
    if (s->bytes == 0)
        return "nothing came at all: check power, cable, the port's name and the boot strap, and that no other reset "
               "is needed";
    if (s->echo)
        return "the port sends back what is sent to it: check that RX and TX are not joined";
    if (strstr(s->tail, "waiting for download"))
        return "the device waits in download mode but does not hear: check the line from the station to the device's "
               "RX";
    if (strstr(s->tail, "Download boot modes disabled") || strstr(s->tail, "Download mode is disabled"))
        return "the ROM says that download mode is closed on this device, for good: only its app can change what is in "
               "its flash";
    if (s->printable * 10 >= s->bytes * 8)
        return "the device prints text, so it runs firmware instead of the loader: check boot strap and reset of the "
               "slot; "
               "or download mode is closed on this device";
    return "what came is no loader's answer: check baud rate, ground and cable, and that the port is the right one";
}

enum ds_class ds_rom_no_answer(const ds_rom_seen *seen, const char *what, int waited_ms, ds_err *e)
{
    if (seen->bytes == 0)
        ds_fail(e, DS_DEVICE, "%s: no answer within %d ms", what, waited_ms);
    else
        ds_fail(e, DS_DEVICE,
                "%s: no answer within %d ms; the last try saw %llu bytes that are none, %u damaged frames", what,
                waited_ms, (unsigned long long)seen->bytes, seen->damaged);
    if (e)
        e->code = ETIMEDOUT;
    return ds_hint(e, "%s", hint_for(seen));
}

enum ds_class ds_rom_refuse_restricted(const char *what, ds_err *e)
{
    ds_fail(e, DS_POLICY, "%s: the device is in secure download mode, which does not do this", what);
    return ds_hint(e, "in this mode flash can be written and erased, nothing else");
}
