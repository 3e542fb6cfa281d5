// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim image: firmware for virtual devices, in the real image format.
#include "sim/cmd.h"
#include "sim/image.h"
#include "src/base/file.h"

#include <string.h>

static const char usage[] =
    "usage: devstamp-sim image --chip C --kind K -o FILE [options]\n"
    "\n"
    "  --chip C            esp32, esp32c3\n"
    "  --kind K            bootloader, secure-bootloader, mfg, app\n"
    "  --version V         apps: version (1.0.0)\n"
    "  --project P         apps: project (devstamp-mfg for mfg, devstamp-app for app)\n"
    "  --secure-version N  apps: for anti-rollback\n"
    "  --secure-pad        apps: padded as for signing with Secure Boot V2\n"
    "  --table-offset A    bootloaders: where the partition table is (0x10000)\n"
    "  --development       secure bootloader: flash encryption in development mode, not release\n"
    "  --body BYTES        how much code it pretends to hold (32768)\n";

enum {
    OPT_CHIP = 256,
    OPT_KIND,
    OPT_VERSION,
    OPT_PROJECT,
    OPT_SECURE_VERSION,
    OPT_PAD,
    OPT_TABLE,
    OPT_DEVELOPMENT,
    OPT_BODY,
};

static const struct option options[] = {
    {"chip", required_argument, NULL, OPT_CHIP},
    {"kind", required_argument, NULL, OPT_KIND},
    {"version", required_argument, NULL, OPT_VERSION},
    {"project", required_argument, NULL, OPT_PROJECT},
    {"secure-version", required_argument, NULL, OPT_SECURE_VERSION},
    {"secure-pad", no_argument, NULL, OPT_PAD},
    {"table-offset", required_argument, NULL, OPT_TABLE},
    {"development", no_argument, NULL, OPT_DEVELOPMENT},
    {"body", required_argument, NULL, OPT_BODY},
    {"output", required_argument, NULL, 'o'},
    {0},
};

#define BODY_MAX (4u << 20)

static enum ds_class parse_kind(const char *text, enum ds_sim_image_kind *ret, ds_err *e)
{
    static const char *const names[] = {"bootloader", "secure-bootloader", "mfg", "app"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum ds_sim_image_kind)i;
            return DS_OK;
        }
    return ds_fail(e, DS_USAGE, "--kind: no such kind '%s'", text);
}

static enum ds_class parse_number(const char *what, uint32_t max, uint32_t *ret, ds_err *e)
{
    uint64_t v = 0;
    enum ds_class rc = ds_sim_cmd_number(what, optarg, max, &v, e);
    if (!rc)
        *ret = (uint32_t)v;
    return rc;
}

static enum ds_class set(ds_sim_image_spec *s, int c, bool *has_kind, ds_err *e)
{
    switch (c) {
    case OPT_CHIP:
        s->chip = ds_chip_by_name(optarg);
        return s->chip ? DS_OK : ds_fail(e, DS_USAGE, "--chip: no such chip '%s'", optarg);
    case OPT_KIND:
        *has_kind = true;
        return parse_kind(optarg, &s->kind, e);
    case OPT_VERSION:
        s->version = optarg;
        return DS_OK;
    case OPT_PROJECT:
        s->project = optarg;
        return DS_OK;
    case OPT_SECURE_VERSION:
        return parse_number("--secure-version", UINT32_MAX, &s->secure_version, e);
    case OPT_PAD:
        s->secure_pad = true;
        return DS_OK;
    case OPT_TABLE:
        return parse_number("--table-offset", 16u << 20, &s->table_offset, e);
    case OPT_DEVELOPMENT:
        s->release = false;
        return DS_OK;
    case OPT_BODY:
        return parse_number("--body", BODY_MAX, &s->body, e);
    default:
        return DS_USAGE;
    }
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    ds_sim_image_spec s = {.version = "1.0.0", .table_offset = 0x10000, .release = true, .body = 32768};
    const char *output = NULL;
    bool has_kind = false;
    enum ds_class rc = DS_OK;
    for (int c; !rc && (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == 'o')
            output = optarg;
        else
            rc = set(&s, c, &has_kind, e);
    }
    if (!rc)
        rc = ds_sim_cmd_arguments(argc, 0, e);
    if (!rc)
        rc = ds_sim_cmd_need(s.chip, "--chip", e);
    if (!rc)
        rc = ds_sim_cmd_need(has_kind ? &s : NULL, "--kind", e);
    if (!rc)
        rc = ds_sim_cmd_need(output, "-o", e);
    if (rc)
        return rc;
    if (!s.project)
        s.project = s.kind == DS_SIM_IMAGE_MFG ? "devstamp-mfg" : "devstamp-app";
    DS_CLEANUP_BUF ds_buf image = {0};
    rc = ds_sim_image_make(&s, &image, e);
    return rc ? rc : ds_file_write(output, ds_buf_view(&image), 0644, e);
}

const ds_sim_verb ds_sim_cmd_image = {"image", "make a firmware image for virtual devices", usage, run};
