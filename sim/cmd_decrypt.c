// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim decrypt: the whole flash as the chip's own cache shows it to its CPU.
#include "sim/cmd.h"
#include "sim/device_files.h"
#include "src/base/file.h"

static const char usage[] = "usage: devstamp-sim decrypt --state DIR --device N -o FILE\n"
                            "\n"
                            "Dumps the flash through the device's flash key; as it is where encryption is off.\n";

enum { OPT_STATE = 256, OPT_DEVICE };

static const struct option options[] = {
    {"state", required_argument, NULL, OPT_STATE},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"output", required_argument, NULL, 'o'},
    {0},
};

static enum ds_class decrypt(const char *state, unsigned device, const char *output, ds_err *e)
{
    ds_sim_offline o;
    DS_CLEANUP_BUF ds_buf data = {0};
    enum ds_class rc = ds_sim_offline_open(&o, state, device, e);
    if (rc)
        return rc;
    uint32_t size = ds_sim_flash_size(o.chip.flash);
    ds_buf_resize(&data, size, 0);
    if (!ds_sim_cache_read(&o.chip, 0, data.ptr, size))
        rc = ds_fail(e, DS_INPUT, "device %u: its flash cannot be decrypted", device);
    ds_sim_offline_close(&o);
    return rc ? rc : ds_file_write(output, ds_buf_view(&data), 0600, e);
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    const char *state = NULL, *device = NULL, *output = NULL;
    uint64_t index = 0;
    for (int c; (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == OPT_STATE)
            state = optarg;
        else if (c == OPT_DEVICE)
            device = optarg;
        else if (c == 'o')
            output = optarg;
        else
            return DS_USAGE;
    }
    enum ds_class rc = ds_sim_cmd_arguments(argc, 0, e);
    if (!rc)
        rc = ds_sim_cmd_need(state, "--state", e);
    if (!rc)
        rc = ds_sim_cmd_need(device, "--device", e);
    if (!rc)
        rc = ds_sim_cmd_need(output, "-o", e);
    if (!rc)
        rc = ds_sim_cmd_number("--device", device, DS_SIM_DEVICES_MAX - 1, &index, e);
    return rc ? rc : decrypt(state, (unsigned)index, output, e);
}

const ds_sim_verb ds_sim_cmd_decrypt = {"decrypt", "dump a device's flash as its own CPU sees it", usage, run};
