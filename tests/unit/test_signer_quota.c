// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The quota: files that cannot be, and a signer that is killed at any moment and never signs one too many.
#include "signer_support.h"

#include "src/signer/quota.h"

static char quota_path[96];

static void write_quota(const char *text)
{
    snprintf(quota_path, sizeof quota_path, "%s/quota.json", folder);
    assert_int_equal(ds_file_write(quota_path, (ds_view){(const uint8_t *)text, strlen(text)}, 0600, NULL), DS_OK);
}

static ds_signer *started_with(const char *quota)
{
    ds_signer *s = NULL;
    ds_err e = DS_ERR_INIT;
    ds_signer_config cfg = config();
    write_quota(quota);
    cfg.quota = quota_path;
    if (ds_signer_start(&cfg, &s, &e))
        fail_msg("%s", e.text);
    return s;
}

static void test_quota_file_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "quota.json:1: "},
        {"{\"quota\": 2, \"recipes\": []}", "version"},
        {"{\"quota\": 1}", "members are"},
        {"{\"quota\": 1, \"recipes\": [], \"more\": 1}", "members are"},
        {"{\"quota\": 1, \"quota\": 1, \"recipes\": []}", "duplicate"},
        {"{\"quota\": 1, \"ca\": \"00\", \"recipes\": []}", "ca must be"},
        {"{\"quota\": 1, \"recipes\": [7]}", "recipe 1: members are"},
        {"{\"quota\": 1, \"recipes\": [{\"certificates\": 1}]}", "recipe must be"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": -1}]}", "certificates must be"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1.5}]}", "certificates must be"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1, \"first\": \"A\"}]}", "both or none"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1, \"first\": \"10\", \"last\": \"9\"}]}",
         "in their order"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1, \"until\": \"tomorrow\"}]}",
         "until must be"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1, \"serials\": 3}]}", "members are"},
        {"{\"quota\": 1, \"recipes\": [{\"recipe\": \"a\", \"certificates\": 1}, {\"recipe\": \"a\", "
         "\"certificates\": 2}]}",
         "recipe 2: the recipe is there twice"},
    };
    const uint8_t ca[32] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ds_quota *q = NULL;
        ds_err e = DS_ERR_INIT;
        write_quota(cases[i].text);
        if (ds_quota_read(quota_path, ca, &q, &e) != DS_INPUT || !strstr(e.text, cases[i].words))
            fail_msg("%s: \"%s\"", cases[i].text, e.text);
    }
    ds_quota *q = NULL;
    DS_CLEANUP_FREE char *other = ds_asprintf("{\"quota\": 1, \"ca\": \"%064d\", \"recipes\": []}", 1);
    write_quota(other);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_quota_read(quota_path, ca, &q, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "is for another CA"));
}

static void test_quota_refusals_say_what_is_left(void **state)
{
    (void)state;
    device d, again;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_signer *s =
        started_with("{\"quota\": 1, \"recipes\": [{\"recipe\": \"lamp\", \"certificates\": 1, \"first\": "
                     "\"SN0040\", \"last\": \"SN0042\"}, {\"recipe\": \"long\", \"certificates\": 9, \"until\": "
                     "\"2020-01-01T00:00:00Z\"}]}");
    const ds_signer_status *status = ds_signer_get_status(s);
    assert_int_equal(status->quota_count, 2);
    assert_string_equal(status->quota[0].recipe, "lamp");
    assert_int_equal(status->quota[0].left, 1);
    make_device_of(&d, DS_KEY_ECDSA_P256, "CN=SN0043,O=Acme Devices,serialNumber=SN0043");
    d.req.device_serial = "SN0043";
    expect_refusal(s, &d.req, DS_POLICY, "SN0043 is not within the quota's SN0040 to SN0042; 1 of 1 certificates left");
    free_device(&d);
    make_device(&d);
    d.req.recipe = "long";
    d.req.not_after_utc = d.req.not_before_utc + 9 * 86400 + 3600;
    expect_refusal(s, &d.req, DS_POLICY, "the quota for recipe long ended on 2020-01-01T00:00:00Z, with 9 of 9");
    d.req.recipe = "lamp";
    d.req.not_before_utc = now - 3600;
    d.req.not_after_utc = now + 86400;
    if (ds_signer_sign(s, &d.req, &der, &e))
        fail_msg("%s", e.text);
    make_device(&again);
    expect_refusal(s, &again.req, DS_POLICY, "used up: 0 of 1 certificates left");
    assert_int_equal(ds_signer_sign(s, &d.req, &der, &e), DS_OK); // what was signed is handed out again
    ds_signer_stop(s);
    s = started_with("{\"quota\": 1, \"recipes\": [{\"recipe\": \"plug\", \"certificates\": 5}]}");
    expect_refusal(s, &again.req, DS_POLICY, "the quota names no certificates for recipe lamp");
    assert_int_equal(ds_signer_get_status(s)->quota[0].left, 5);
    ds_signer_stop(s);
    free_device(&again);
    free_device(&d);
}

// The signer is killed around every answer: the quota is exact all the same, because the log is what is counted.
static void test_quota_is_exact_when_the_signer_is_killed(void **state)
{
    (void)state;
    enum { QUOTA = 20, DEVICES = 40 };
    const char *seed = getenv("DS_SEED");
    unsigned random = seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)now, given = 0, lost = 0;
    uint64_t before = entries_of_log();
    print_message("seed %u\n", random);
    DS_CLEANUP_FREE char *quota =
        ds_asprintf("{\"quota\": 1, \"recipes\": [{\"recipe\": \"other\", \"certificates\": %d}]}", QUOTA);
    ds_signer *s = started_with(quota);
    for (int i = 0; i < DEVICES; i++) {
        device d;
        DS_CLEANUP_BUF ds_buf der = {0};
        ds_err e = DS_ERR_INIT;
        enum ds_class rc = DS_TOKEN;
        make_device_of(&d, DS_KEY_ECDSA_P256, "CN=SN0042,O=Other Devices");
        d.req.recipe = "other";
        for (int tries = 0; rc == DS_TOKEN && tries < 100; tries++) {
            random = random * 1103515245U + 12345U;
            pid_t victim = random >> 16 & 1 ? fork() : -1;
            if (victim == 0) { // kills the signer a moment later, wherever that finds it
                usleep((random >> 17) % 20000);
                pid_t pid = child_of(getppid());
                _exit(pid == getpid() ? 0 : kill(pid, SIGKILL));
            }
            rc = ds_signer_sign(s, &d.req, &der, &e);
            if (victim > 0)
                (void)waitpid(victim, NULL, 0);
            lost += rc == DS_TOKEN;
        }
        given += rc == DS_OK;
        assert_true(rc == DS_OK || rc == DS_POLICY);
        if (rc == DS_POLICY)
            assert_non_null(strstr(e.text, "used up: 0 of 20"));
        free_device(&d);
    }
    print_message("%u calls lost\n", lost);
    ds_signer_stop(s);
    assert_int_equal(given, QUOTA);
    assert_int_equal(entries_of_log(), before + QUOTA);
}

// A log put back gives no certificate back: the head beside it knows better. Where that was put back as well, the
// ledger does (test_ledger_signer.c, tests/e2e/test_issuance_log.py).
static void test_quota_is_not_won_back_by_an_older_log(void **state)
{
    (void)state;
    enum { MANY = 1000, LOG_MAX = 1 << 24 };
    DS_CLEANUP_FREE char *many =
        ds_asprintf("{\"quota\": 1, \"recipes\": [{\"recipe\": \"lamp\", \"certificates\": %d}]}", MANY);
    ds_signer *s = started_with(many);
    int allowed = MANY - (int)ds_signer_get_status(s)->quota[0].left + 1;
    ds_signer_stop(s);
    DS_CLEANUP_FREE char *one_more =
        ds_asprintf("{\"quota\": 1, \"recipes\": [{\"recipe\": \"lamp\", \"certificates\": %d}]}", allowed);
    DS_CLEANUP_BUF ds_buf older = {0};
    DS_CLEANUP_BUF ds_buf newer = {0};
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    device d;
    assert_int_equal(ds_file_read(log_path, LOG_MAX, &older, NULL), DS_OK);
    make_device(&d);
    s = started_with(one_more);
    assert_int_equal(ds_signer_sign(s, &d.req, &der, NULL), DS_OK);
    free_device(&d);
    make_device(&d);
    expect_refusal(s, &d.req, DS_POLICY, "used up");
    ds_signer_stop(s);
    assert_int_equal(ds_file_read(log_path, LOG_MAX, &newer, NULL), DS_OK);
    assert_int_equal(ds_file_write(log_path, ds_buf_view(&older), 0600, NULL), DS_OK);
    ds_signer_config cfg = config();
    cfg.quota = quota_path;
    assert_int_equal(ds_signer_start(&cfg, &s, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "its end was cut off"));
    assert_int_equal(ds_file_write(log_path, ds_buf_view(&newer), 0600, NULL), DS_OK);
    s = started_with(one_more);
    expect_refusal(s, &d.req, DS_POLICY, "used up");
    free_device(&d);
    ds_signer_stop(s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "signer") == 0)
        ds_signer_run(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota_file_that_cannot_be_is_refused),
        cmocka_unit_test(test_quota_refusals_say_what_is_left),
        cmocka_unit_test(test_quota_is_exact_when_the_signer_is_killed),
        cmocka_unit_test(test_quota_is_not_won_back_by_an_older_log),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
