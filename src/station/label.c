// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The label's QR code, for a terminal: two modules a character cell by half blocks, light on dark, with the quiet zone
// that ISO/IEC 18004 asks for.
#include "src/station/line.h"

#include "src/base/secret.h"

#include <jansson.h>
#include <qrencode.h>
#include <string.h>

enum { QUIET = 2 }; // modules; four by the standard, two are read by every phone and fit a small terminal

static bool dark(const QRcode *qr, int x, int y)
{
    return x >= 0 && y >= 0 && x < qr->width && y < qr->width && (qr->data[y * qr->width + x] & 1);
}

static void draw(const QRcode *qr, ds_buf *out)
{
    static const char *const cell[2][2] = {{"█", "▀"}, {"▄", " "}}; // [upper dark][lower dark]
    for (int y = -QUIET; y < qr->width + QUIET; y += 2) {
        for (int x = -QUIET; x < qr->width + QUIET; x++) {
            const char *c = cell[dark(qr, x, y)][dark(qr, x, y + 1)];
            for (; *c; c++)
                ds_buf_add_u8(out, (uint8_t)*c);
        }
        ds_buf_add_u8(out, '\n');
    }
    ds_buf_add_u8(out, '\0');
}

char *ds_label_text(const char *serial, const char *pop, ds_err *e)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "ver", "v1", "name", serial, "pop", pop, "transport", "ble");
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text)
        (void)ds_fail(e, DS_INTERNAL, "the label's text cannot be made");
    return text;
}

char *ds_label_qr(const char *serial, const char *pop, ds_err *e)
{
    char *text = ds_label_text(serial, pop, e);
    if (!text)
        return NULL;
    QRcode *qr = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
    ds_wipe_free(text);
    if (!qr) {
        (void)ds_fail(e, DS_INTERNAL, "the QR code cannot be made");
        return NULL;
    }
    ds_buf out = {0};
    draw(qr, &out);
    QRcode_free(qr);
    return (char *)out.ptr;
}
