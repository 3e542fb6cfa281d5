// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Text of others on a person's screen; see shown.h.
#include "src/cli/shown.h"

#include <stdio.h>
#include <string.h>

// Characters that show nothing, end a line, or turn the direction of what stands beside them (Unicode 15, categories
// Cc, Cf, Zl and Zp, and the space that looks like one).
static bool is_hidden(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0x00, 0x1F},     {0x7F, 0xA0},     {0xAD, 0xAD},     {0x034F, 0x034F},   {0x0600, 0x0605},   {0x061C, 0x061C},
        {0x06DD, 0x06DD}, {0x070F, 0x070F}, {0x115F, 0x1160}, {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x200B, 0x200F},
        {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164}, {0xD800, 0xF8FF},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
        {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0xE0000, 0xE0FFF}, {0xF0000, 0x10FFFF}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

// Bytes of the visible character at the begin of text; 0: none is there (RFC 3629: shortest form alone).
static size_t visible(ds_view text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!text.len)
        return 0;
    uint8_t first = text.ptr[0];
    size_t len = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
    if (!len || len > text.len)
        return 0;
    uint32_t c = len == 1 ? first : first & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (text.ptr[i] >> 6 != 2)
            return 0;
        c = c << 6 | (text.ptr[i] & 0x3F);
    }
    return c < least[len] || c > 0x10FFFF || is_hidden(c) ? 0 : len;
}

void ds_print_shown(const char *text)
{
    ds_view left = {(const uint8_t *)text, strlen(text)};
    while (left.len) {
        size_t len = visible(left);
        if (!len)
            printf("\\x%02x", left.ptr[0]);
        else if (left.ptr[0] == '\\')
            printf("\\\\");
        else
            (void)fwrite(left.ptr, 1, len, stdout);
        len = len ? len : 1;
        left = (ds_view){left.ptr + len, left.len - len};
    }
}

enum ds_class ds_shown_check(ds_view text, ds_err *e)
{
    unsigned line = 1;
    while (text.len) {
        size_t len = visible(text);
        if (text.ptr[0] == '\n' || text.ptr[0] == '\t' || (text.len > 1 && memcmp(text.ptr, "\r\n", 2) == 0))
            len = 1;
        line += text.ptr[0] == '\n';
        if (!len) {
            (void)ds_fail(e, DS_INPUT, "line %u: it hides something: a character (byte 0x%02x) that is not seen", line,
                          text.ptr[0]);
            (void)ds_hint(e, "use visible characters, tabs and line ends alone");
            return DS_INPUT;
        }
        text = (ds_view){text.ptr + len, text.len - len};
    }
    return DS_OK;
}
