// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws endpoint: where the account's devices connect, printed or written to a recipe.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/base/file.h"
#include "src/cloud/aws/recipe_line.h"

#include <errno.h>
#include <sys/stat.h>

enum { RECIPE_MAX = 1 << 20 };

static const char usage[] =
    "usage: devstamp cloud aws endpoint [--recipe FILE]\n"
    "\n"
    "Prints the address at which this account's devices connect (iot:Data-ATS), as a recipe has it.\n"
    "\n"
    "  --recipe FILE       write it to the recipe's stamp.endpoint; everything else in the file stays as it is\n"
    "\n" DS_CLOUD_COMMON;

static enum ds_class write_recipe(const char *path, const char *url, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf old = {0}, changed = {0};
    struct stat st;
    if (stat(path, &st) != 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    enum ds_class rc = ds_file_read(path, RECIPE_MAX, &old, e);
    if (!rc && ds_aws_recipe_endpoint(ds_buf_view(&old), url, &changed, e))
        rc = ds_wrap(e, "%s", path);
    return rc ? rc : ds_file_write(path, ds_buf_view(&changed), st.st_mode & 0777, e);
}

int ds_cloud_cmd_endpoint(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    ds_aws *c = NULL;
    char address[256];
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "recipe", usage, &o, &code))
        return code;
    if (o.operands != argc)
        return ds_cli_usage(usage, false);
    enum ds_class rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = ds_aws_endpoint(c, address, &e);
    bool dry = !rc && ds_aws_is_dry(c);
    ds_aws_close(c);
    if (!rc && !dry) {
        DS_CLEANUP_FREE char *url = ds_asprintf("mqtts://%s:8883", address);
        if (o.recipe)
            rc = write_recipe(o.recipe, url, &e);
        if (!rc)
            printf("%s\n", url);
    }
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
