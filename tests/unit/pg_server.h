// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A PostgreSQL server of the test's own, in a folder under /tmp, reached by a socket there; made where it is first
// asked for and gone with the program. It runs as the user postgres where the tests run as root, whom it refuses.
// DS_PG_BIN names the folder of its programs.
#ifndef DS_TEST_PG_SERVER_H
#define DS_TEST_PG_SERVER_H

#include <dirent.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PG_UNUSED __attribute__((unused))

typedef struct pg_server {
    char folder[32]; // "" while there is none
    pid_t pid, owner;
} pg_server;
static pg_server pg_one;

static void pg_die(const char *what)
{
    fprintf(stderr, "PostgreSQL for the tests: %s\n", what);
    abort();
}

static void pg_exec(const char *program, const char *const *args)
{
    char path[512];
    const char *bin = getenv("DS_PG_BIN");
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    char *argv[16] = {path};
    snprintf(path, sizeof path, "%s/%s", bin ? bin : "/usr/lib/postgresql/bin", program);
    for (int i = 0; args[i]; i++)
        argv[i + 1] = strdup(args[i]);
    if (user && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); // it does not outlive a test that is killed
    if (chdir(pg_one.folder) != 0 || !freopen("log", "a", stderr) || !freopen("log", "a", stdout))
        _exit(126);
    execv(path, argv);
    _exit(127);
}

static pid_t pg_spawn(const char *program, const char *const *args)
{
    fflush(stdout), fflush(stderr);
    pid_t pid = fork();
    if (pid == 0)
        pg_exec(program, args);
    return pid;
}

static void pg_start(void)
{
    pg_one.pid = pg_spawn("postgres", (const char *const[]){"-D", "data", "-k", pg_one.folder, "-h", "", "-F", "-c",
                                                            "max_connections=100", "-c", "shared_buffers=16MB", NULL});
    char place[80];
    snprintf(place, sizeof place, "host=%s user=postgres", pg_one.folder);
    for (int i = 0; PQping(place) != PQPING_OK; i++) {
        int status;
        if (i == 1200 || waitpid(pg_one.pid, &status, WNOHANG) == pg_one.pid)
            pg_die("the server does not start");
        usleep(50000);
    }
}

static PG_UNUSED void pg_stop(int how)
{
    int status;
    kill(pg_one.pid, how);
    while (waitpid(pg_one.pid, &status, 0) < 0)
        ;
    pg_one.pid = 0;
}

// The server and each of its processes, which are groups of their own.
static PG_UNUSED void pg_signal_all(int sig)
{
    DIR *proc = opendir("/proc");
    struct dirent *d;
    kill(pg_one.pid, sig);
    while (proc && (d = readdir(proc)) != NULL) {
        char path[300], line[512] = "";
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", d->d_name);
        FILE *f = d->d_name[0] >= '0' && d->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        char *end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (end && sscanf(end, ") %*c %d", &parent) == 1 && parent == pg_one.pid)
            kill((pid_t)strtol(d->d_name, NULL, 10), sig);
        fclose(f);
    }
    closedir(proc);
}

static int pg_remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

static void pg_remove(void)
{
    if (!pg_one.folder[0] || pg_one.owner != getpid())
        return;
    if (pg_one.pid) {
        pg_signal_all(SIGCONT);
        pg_stop(SIGQUIT);
    }
    nftw(pg_one.folder, pg_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static PG_UNUSED const char *pg_folder(void)
{
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    int status = -1;
    if (pg_one.folder[0])
        return pg_one.folder;
    memcpy(pg_one.folder, "/tmp/ds-pg-XXXXXX", 18);
    if (!mkdtemp(pg_one.folder) || (user && chown(pg_one.folder, user->pw_uid, user->pw_gid) != 0))
        pg_die("no folder");
    pg_one.owner = getpid();
    atexit(pg_remove);
    pid_t pid = pg_spawn("initdb", (const char *const[]){"-D", "data", "-A", "trust", "-U", "postgres", "--no-sync",
                                                         "--no-locale", "-E", "UTF8", NULL});
    if (waitpid(pid, &status, 0) != pid || status != 0)
        pg_die("initdb failed");
    pg_start();
    return pg_one.folder;
}

// Run statements on the server beside the ledger; NULL, or what it said against them (to be freed).
static PG_UNUSED char *pg_try(const char *place, const char *sql)
{
    PGconn *c = PQconnectdb(place);
    PGresult *r = PQexec(c, sql);
    ExecStatusType st = PQresultStatus(r);
    char *said = st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK ? NULL : strdup(PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return said;
}

// A place of its own for a test: an empty schema.
static PG_UNUSED void pg_new_place(char *ret, size_t cap)
{
    static unsigned count;
    char sql[64];
    const char *folder = pg_folder();
    snprintf(ret, cap, "host=%s user=postgres", folder);
    snprintf(sql, sizeof sql, "CREATE SCHEMA t%u", ++count);
    char *said = pg_try(ret, sql);
    if (said)
        pg_die(said);
    snprintf(ret, cap, "host=%s user=postgres options=-csearch_path=t%u", folder, count);
}

#endif
