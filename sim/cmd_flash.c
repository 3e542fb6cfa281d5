// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim flash: a programmer clipped to a device's flash chip.
#include "sim/cmd.h"
#include "sim/control.h"
#include "src/base/file.h"

#include <string.h>

static const char usage[] = "usage: devstamp-sim flash --state DIR --device N load ADDR FILE\n"
                            "       devstamp-sim flash --state DIR --device N dump ADDR LEN FILE\n"
                            "       devstamp-sim flash --state DIR --device N tamper ADDR FILE\n"
                            "\n"
                            "  load      write a file as it is\n"
                            "  dump      read as it is: what an attacker sees\n"
                            "  tamper    write a file through the device's own flash key, as one who knew it could\n"
                            "\n"
                            "load and tamper need the device switched off (ctl off) or its simulation ended.\n";

enum { OPT_STATE = 256, OPT_DEVICE };

static const struct option options[] = {
    {"state", required_argument, NULL, OPT_STATE},
    {"device", required_argument, NULL, OPT_DEVICE},
    {0},
};

#define FLASH_MAX (16u << 20)

static enum ds_class write_flash(ds_sim_offline *o, char **args, bool crypt, ds_err *e)
{
    uint64_t addr = 0;
    DS_CLEANUP_BUF ds_buf data = {0};
    enum ds_class rc = ds_sim_cmd_number("address", args[0], FLASH_MAX, &addr, e);
    if (!rc)
        rc = ds_file_read(args[1], FLASH_MAX, &data, e);
    return rc ? rc : ds_sim_offline_write(o, (uint32_t)addr, ds_buf_view(&data), crypt, e);
}

static enum ds_class load(ds_sim_offline *o, char **args, ds_err *e)
{
    return write_flash(o, args, false, e);
}

static enum ds_class tamper(ds_sim_offline *o, char **args, ds_err *e)
{
    return write_flash(o, args, true, e);
}

static enum ds_class dump(ds_sim_offline *o, char **args, ds_err *e)
{
    uint64_t addr = 0, len = 0;
    enum ds_class rc = ds_sim_cmd_number("address", args[0], FLASH_MAX, &addr, e);
    if (!rc)
        rc = ds_sim_cmd_number("length", args[1], FLASH_MAX, &len, e);
    if (rc)
        return rc;
    DS_CLEANUP_BUF ds_buf data = {0};
    ds_buf_resize(&data, len, 0);
    if (!ds_sim_flash_read(o->chip.flash, (uint32_t)addr, data.ptr, (uint32_t)len))
        return ds_fail(e, DS_INPUT, "0x%x and %u bytes: beyond the flash", (unsigned)addr, (unsigned)len);
    return ds_file_write(args[2], ds_buf_view(&data), 0600, e);
}

static const struct act {
    const char *name;
    unsigned args;
    bool writes;
    enum ds_class (*run)(ds_sim_offline *o, char **args, ds_err *e);
} acts[] = {{"load", 2, true, load}, {"dump", 3, false, dump}, {"tamper", 2, true, tamper}};

static enum ds_class perform(const struct act *a, const char *state, unsigned device, char **args, ds_err *e)
{
    ds_sim_offline o;
    enum ds_class rc = a->writes ? ds_sim_control_need_off(state, device, e) : DS_OK;
    if (!rc)
        rc = ds_sim_offline_open(&o, state, device, e);
    if (rc)
        return rc;
    rc = a->run(&o, args, e);
    ds_sim_offline_close(&o);
    return rc;
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    const char *state = NULL, *device = NULL;
    uint64_t index = 0;
    for (int c; (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == OPT_STATE)
            state = optarg;
        else if (c == OPT_DEVICE)
            device = optarg;
        else
            return DS_USAGE;
    }
    enum ds_class rc = ds_sim_cmd_need(state, "--state", e);
    if (!rc)
        rc = ds_sim_cmd_need(device, "--device", e);
    if (!rc)
        rc = ds_sim_cmd_number("--device", device, DS_SIM_DEVICES_MAX - 1, &index, e);
    if (rc)
        return rc;
    for (size_t i = 0; optind < argc && i < sizeof acts / sizeof *acts; i++)
        if (strcmp(acts[i].name, argv[optind]) == 0) {
            rc = ds_sim_cmd_arguments(argc, 1 + acts[i].args, e);
            return rc ? rc : perform(&acts[i], state, (unsigned)index, argv + optind + 1, e);
        }
    return ds_fail(e, DS_USAGE, "load, dump or tamper expected");
}

const ds_sim_verb ds_sim_cmd_flash = {"flash", "read or write a device's flash chip directly", usage, run};
