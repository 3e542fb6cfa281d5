// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A release bundle, its manifest, an order or an answer as somebody else made it; the first byte chooses. What is
// accepted is in its one spelling, within bounds and printable.
#include "src/signer/order.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const ds_buf *again, ds_view text)
{
    if (again->len != text.len || memcmp(again->ptr, text.ptr, text.len) != 0)
        abort();
}

static void check_text(const char *text, size_t cap)
{
    if (strnlen(text, cap) == cap)
        abort();
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            abort();
}

static void check_manifest(const ds_manifest *m, ds_view text)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    check_text(m->product, sizeof m->product);
    check_text(m->app_version, sizeof m->app_version);
    if (m->burns.count > DS_BURNS_MAX || m->trusted_count > 3 || !m->parts[DS_PART_RECIPE].size)
        abort();
    for (unsigned i = 0; i < m->burns.count; i++)
        if (!*ds_burn_words(&m->burns.list[i]))
            abort();
    if (ds_manifest_write(m, &again, NULL))
        abort();
    same(&again, text);
}

static void take_bundle(ds_view in)
{
    ds_bundle b;
    ds_buf bytes = {0};
    const ds_bundle_policy nobody = {.release_count = 0};
    if (in.len)
        ds_buf_add(&bytes, in.ptr, in.len);
    if (ds_bundle_parse(&bytes, &b, NULL))
        return;
    check_manifest(&b.manifest, b.text);
    if (ds_bundle_judge(&b, &nobody, NULL) == DS_OK)
        abort();
    ds_bundle_free(&b);
}

static void take_order(ds_view in)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_order o;
    if (ds_order_parse(in, &o, NULL))
        return;
    if (ds_order_write(&o, &again, NULL))
        abort();
    same(&again, in);
    if (o.manifest)
        check_manifest(o.manifest, ds_buf_view(&o.text));
    ds_order_free(&o);
}

static void take_answer(ds_view in)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_answer a;
    if (ds_answer_parse(in, &a, NULL))
        return;
    if (ds_answer_write(&a, &again, NULL))
        abort();
    same(&again, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    ds_view in = {data + 1, size - 1};
    ds_manifest m;
    if (data[0] % 4 == 0)
        take_bundle(in);
    else if (data[0] % 4 == 1)
        take_order(in);
    else if (data[0] % 4 == 2)
        take_answer(in);
    else if (ds_manifest_parse(in, &m, NULL) == DS_OK)
        check_manifest(&m, in);
    return 0;
}
