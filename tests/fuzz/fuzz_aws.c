// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Text that the AWS client reads: profile files, the service's complaints, and a recipe whose endpoint is changed: what
// is put there must be found there, and nothing around it may be another.
#include "src/cloud/aws/fault.h"
#include "src/cloud/aws/keys.h"
#include "src/cloud/aws/recipe_line.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void profiles(ds_view text)
{
    static const char *const sections[] = {"default", "profile x"};
    for (size_t i = 0; i < 2; i++) {
        size_t len = 0;
        const char *found = ds_aws_ini_find(text, sections[i], "region", &len);
        if (found && (found < (const char *)text.ptr || found + len > (const char *)text.ptr + text.len))
            __builtin_trap();
    }
}

static void complaint(ds_view text)
{
    ds_err e = DS_ERR_INIT;
    ds_aws_answer a = {.status = 400 + (long)(text.len % 200)};
    ds_buf_add(&a.body, text.ptr, text.len);
    if (ds_aws_explain(&a, &e) == DS_OK || !e.text[0])
        __builtin_trap();
    ds_aws_answer_free(&a);
}

static void recipe(ds_view text)
{
    static const char first[] = "mqtts://a:1", second[] = "mqtts://longer.example:8883";
    DS_CLEANUP_BUF ds_buf once = {0}, twice = {0}, back = {0};
    ds_err e = DS_ERR_INIT;
    if (ds_aws_recipe_endpoint(text, first, &once, &e))
        return;
    if (ds_aws_recipe_endpoint(ds_buf_view(&once), second, &twice, &e) ||
        ds_aws_recipe_endpoint(ds_buf_view(&twice), first, &back, &e) ||
        twice.len != once.len + sizeof second - sizeof first || back.len != once.len ||
        memcmp(back.ptr, once.ptr, once.len) != 0)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const ds_view rest = {data + 1, size - 1};
    if (data[0] % 3 == 0)
        profiles(rest);
    else if (data[0] % 3 == 1)
        complaint(rest);
    else
        recipe(rest);
    return 0;
}
