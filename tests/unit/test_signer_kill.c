// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// kill -9 of the station and of the signer at every message between station, signer and log: before or after it, or in
// the middle of a write. Devices ask at once, more of them than the quota allows, each until it has its certificate or
// is refused; whatever was killed is started again. Then each certificate that was handed out is in the log, once,
// nothing else is, and there are exactly as many as the quota says.
//
// DS_KILLS: how many (24); DS_SEED: which. The system calls of this program are its own, below: they count, and kill.
#include "signer_support.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { QUOTA = 12, DEVICES = 15, THREADS = 5, SPAN_SIGNER = 40, SPAN_STATION = 40 };

// --- when to kill

static _Atomic long calls;
static _Atomic long kill_at; // which call; 0: none
static _Atomic unsigned how; // 0 before it, 1 after it, 2 in its middle

static uint64_t mixed(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15); // splitmix64
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void arm(uint64_t random, long span)
{
    kill_at = random % 8 == 0 ? 0 : (long)((random >> 8) % (unsigned)(random & 64 ? span : span / 4)) + 1;
    how = (unsigned)(random >> 4) % 3;
}

static _Noreturn void die(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool is_hit(void)
{
    return kill_at && ++calls == kill_at;
}

static void after(bool hit)
{
    if (hit)
        die();
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    bool hit = is_hit();
    if (hit && how == 0)
        die();
    ssize_t n = syscall(SYS_sendto, fd, data, hit && how == 2 ? (len + 1) / 2 : len, flags, NULL, 0);
    after(hit);
    return n;
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    bool hit = is_hit();
    if (hit && how == 0)
        die();
    ssize_t n = syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
    after(hit);
    return n;
}

ssize_t write(int fd, const void *data, size_t len)
{
    bool hit = is_hit();
    if (hit && how == 0)
        die();
    ssize_t n = syscall(SYS_write, fd, data, hit && how == 2 ? (len + 1) / 2 : len);
    after(hit);
    return n;
}

int fsync(int fd)
{
    bool hit = is_hit();
    if (hit && how == 0)
        die();
    int rc = (int)syscall(SYS_fsync, fd);
    after(hit);
    return rc;
}

// Of this start of a signer; the numbers of those before it are in the file.
static uint64_t number_of_start(const char *file)
{
    uint64_t n = 0;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &n, sizeof n, 0) != (ssize_t)sizeof n)
        return 0;
    n++;
    (void)!pwrite(fd, &n, sizeof n, 0);
    close(fd);
    return n;
}

// --- the station

// What outlives a station: as its ledger would.
typedef struct result {
    _Atomic int state; // 0 asks, 1 has its certificate, 2 refused
    size_t len;
    uint8_t der[2048];
} result;
static result *results;
static device devices[DEVICES];
static _Atomic int problem;

static void *ask_for(void *arg)
{
    ds_signer *s = arg;
    static _Atomic unsigned next_thread;
    for (unsigned i = next_thread++ % THREADS; i < DEVICES; i += THREADS) {
        DS_CLEANUP_BUF ds_buf der = {0};
        ds_err e = DS_ERR_INIT;
        enum ds_class rc = DS_TOKEN;
        while (results[i].state == 0 && rc == DS_TOKEN && !problem) {
            ds_buf_clear(&der);
            rc = ds_signer_sign(s, &devices[i].req, &der, &e);
        }
        if (results[i].state != 0)
            continue;
        if (rc == DS_OK && der.len <= sizeof results[i].der) {
            memcpy(results[i].der, der.ptr, der.len);
            results[i].len = der.len;
            results[i].state = 1;
        } else if (rc == DS_POLICY && strstr(e.text, "is used up")) {
            results[i].state = 2;
        } else if (rc != DS_TOKEN) {
            fprintf(stderr, "device %u: %s\n", i, e.text);
            problem = 1;
        }
    }
    return NULL;
}

static _Noreturn void be_station(const ds_signer_config *cfg, uint64_t random)
{
    ds_signer *s = NULL;
    ds_err e = DS_ERR_INIT;
    pthread_t threads[THREADS];
    // the signer of a station that was killed may be about to end; one of ours may be killed while it starts
    enum ds_class rc = DS_STORE;
    for (int i = 0; i < 3000 && (rc == DS_STORE || rc == DS_TOKEN); i++) {
        rc = ds_signer_start(cfg, &s, &e);
        if (rc && !strstr(e.text, "held by another") && rc != DS_TOKEN)
            break;
        if (rc)
            ds_sleep_ms(2);
    }
    if (rc) {
        fprintf(stderr, "station: %s\n", e.text);
        _exit(3);
    }
    arm(random, SPAN_STATION);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, ask_for, s);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kill_at = 0;
    ds_signer_stop(s);
    _exit(problem ? 4 : 0);
}

// --- the rounds

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, 0), len);
    close(fd);
}

static void check_round(void)
{
    unsigned with = 0;
    assert_int_equal(entries_of_log(), QUOTA);
    X509 *ca = NULL;
    ds_cert_info info;
    ds_log_file *l = NULL;
    assert_int_equal(ds_cert_read(sub_pem, &ca, NULL), DS_OK);
    assert_int_equal(ds_cert_describe(ca, &info, NULL), DS_OK);
    X509_free(ca);
    assert_int_equal(ds_log_open(log_path, info.fingerprint, &l, NULL), DS_OK);
    for (unsigned i = 0; i < DEVICES; i++) {
        uint8_t serial[16];
        ds_cert_serial(devices[i].serial, serial);
        const ds_log_entry *entry = ds_log_by_serial(l, serial);
        assert_int_not_equal(results[i].state, 0);
        assert_int_equal(results[i].state == 1, entry != NULL);
        if (!entry)
            continue;
        DS_CLEANUP_BUF ds_buf der = {0};
        assert_int_equal(ds_log_read(l, entry, &der, NULL), DS_OK);
        assert_int_equal(der.len, results[i].len);
        assert_memory_equal(der.ptr, results[i].der, der.len);
        with++;
    }
    ds_log_close(l);
    assert_int_equal(with, QUOTA); // and there are no other entries
}

// Until all devices are done; how many stations and signers were killed.
static unsigned run_round(const ds_signer_config *cfg, const char *starts, uint64_t seed, uint64_t *station)
{
    unsigned killed = 0;
    uint64_t before = 0, after_all = 0;
    int fd = open(starts, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, &before, sizeof before, 0), sizeof before);
    unsigned stations = 0;
    for (;;) {
        int status = 0;
        uint64_t random = mixed(seed ^ mixed(UINT64_C(0x5741) + ++*station));
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            be_station(cfg, random);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        stations++;
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        assert_int_equal(WTERMSIG(status), SIGKILL);
        killed++;
    }
    assert_int_equal(pread(fd, &after_all, sizeof after_all, 0), sizeof after_all);
    close(fd);
    return killed + (unsigned)(after_all - before) -
           stations; // each station starts a signer, others replace a killed one
}

static void test_signer_killed_at_every_message(void **state)
{
    (void)state;
    const char *given = getenv("DS_SEED"), *count = getenv("DS_KILLS");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)now, station = 0;
    unsigned kills = 0, wanted = count ? (unsigned)strtoul(count, NULL, 10) : 24, rounds = 0;
    DS_CLEANUP_FREE char *starts = ds_asprintf("%s/starts", folder), *quota = ds_asprintf("%s/quota", folder);
    DS_CLEANUP_FREE char *seed_text = ds_asprintf("%llu", (unsigned long long)seed);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("{\"quota\": 1, \"recipes\": [{\"recipe\": \"lamp\", \"certificates\": %d}]}", QUOTA);
    print_message("seed %s\n", seed_text);
    write_file(starts, &(uint64_t){0}, sizeof(uint64_t));
    write_file(quota, text, strlen(text));
    results = mmap(NULL, DEVICES * sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(results != MAP_FAILED);
    setenv("DS_KILL_FILE", starts, 1);
    setenv("DS_KILL_SEED", seed_text, 1);
    for (; kills < wanted; rounds++) {
        DS_CLEANUP_FREE char *head = ds_asprintf("%s/round%u.log.head", folder, rounds);
        snprintf(log_path, sizeof log_path, "%s/round%u.log", folder, rounds);
        ds_signer_config cfg = config();
        cfg.quota = quota;
        memset(results, 0, DEVICES * sizeof *results);
        for (int i = 0; i < DEVICES; i++)
            make_device(&devices[i]);
        kills += run_round(&cfg, starts, seed, &station);
        check_round();
        for (int i = 0; i < DEVICES; i++)
            free_device(&devices[i]);
        (void)unlink(log_path);
        (void)unlink(head);
    }
    unsetenv("DS_KILL_FILE");
    print_message("%u rounds, %u stations, at least %u killed\n", rounds, (unsigned)station, kills);
    munmap(results, DEVICES * sizeof *results);
}

int main(int argc, char **argv)
{
    const char *file = getenv("DS_KILL_FILE"), *seed = getenv("DS_KILL_SEED");
    if (argc > 1 && strcmp(argv[1], "signer") == 0) {
        if (file && seed)
            arm(mixed(strtoull(seed, NULL, 10) ^ number_of_start(file)), SPAN_SIGNER);
        ds_signer_run(argc - 1, argv + 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signer_killed_at_every_message),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
