// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim partitions: a binary partition table from CSV.
#include "sim/cmd.h"
#include "src/base/file.h"
#include "src/esp/ptable.h"

static const char usage[] = "usage: devstamp-sim partitions CSV -o FILE [--offset A]\n"
                            "\n"
                            "  --offset A    where the table will be in flash (0x10000)\n";

enum { OPT_OFFSET = 256 };

static const struct option options[] = {
    {"offset", required_argument, NULL, OPT_OFFSET},
    {"output", required_argument, NULL, 'o'},
    {0},
};

#define CSV_MAX (64u << 10)

static enum ds_class convert(const char *input, uint32_t offset, const char *output, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf csv = {0};
    ds_ptable table = {0};
    uint8_t binary[DS_PTABLE_SIZE];
    enum ds_class rc = ds_file_read(input, CSV_MAX, &csv, e);
    if (rc)
        return rc;
    ds_buf_add_u8(&csv, '\0');
    rc = ds_ptable_from_csv((const char *)csv.ptr, offset, &table, e);
    if (!rc)
        rc = ds_ptable_check(&table, offset, 0, e);
    if (!rc)
        rc = ds_ptable_build(&table, binary, e);
    if (rc)
        return ds_wrap(e, "%s", input);
    return ds_file_write(output, (ds_view){binary, sizeof binary}, 0644, e);
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    const char *output = NULL;
    uint64_t offset = 0x10000;
    enum ds_class rc = DS_OK;
    for (int c; !rc && (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == 'o')
            output = optarg;
        else if (c == OPT_OFFSET)
            rc = ds_sim_cmd_number("--offset", optarg, 16u << 20, &offset, e);
        else
            rc = DS_USAGE;
    }
    if (!rc)
        rc = ds_sim_cmd_arguments(argc, 1, e);
    if (!rc)
        rc = ds_sim_cmd_need(output, "-o", e);
    return rc ? rc : convert(argv[optind], (uint32_t)offset, output, e);
}

const ds_sim_verb ds_sim_cmd_partitions = {"partitions", "make a binary partition table from CSV", usage, run};
