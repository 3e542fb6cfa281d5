// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How a run is shown; see progress.h.
#include "src/cli/progress.h"

#include "src/base/file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool tall_enough(unsigned rows)
{
    struct winsize w;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > rows + 3 && w.ws_col >= 78;
}

void ds_progress_init(ds_progress *p, const ds_slot_result *results, unsigned count, bool json)
{
    *p = (ds_progress){.results = results, .count = count, .shown = ds_alloc(count * sizeof *p->shown)};
    p->mode = json ? DS_PROGRESS_JSON : tall_enough(count) ? DS_PROGRESS_TABLE : DS_PROGRESS_LINES;
}

void ds_progress_deinit(ds_progress *p)
{
    free(p->shown);
    p->shown = NULL;
}

static double seconds(int64_t ms)
{
    return (double)ms / 1000;
}

// A pass that leaves the device open says so.
#define NO_LOCK "no lock: the platform has none"

static void show_line(const ds_slot_result *r)
{
    if (r->finished) {
        printf("slot %-8s %-12s %s in %.1f s%s%s%s\n", r->slot, r->ok ? "PASS" : "FAIL",
               r->serial[0] ? r->serial : r->mac, seconds(r->total_ms), r->ok && r->no_lock ? "; " NO_LOCK : "",
               r->note[0] ? "; " : "", r->note);
        return;
    }
    static const char *const words[] = {"waiting", "...", "holds already", "done", "failed", "not for this platform"};
    enum ds_step_state s = r->step_state[r->step];
    if (r->wants[0])
        printf("slot %-8s %-12s %s\n", r->slot, ds_step_names[r->step], r->wants);
    else if (s != DS_STEP_RUNNING)
        printf("slot %-8s %-12s %s\n", r->slot, ds_step_names[r->step], words[s]);
}

// One character a step: what is done, skipped, going on, failed.
static void draw_row(const ds_slot_result *r)
{
    static const char *const marks[] = {"\033[2m·\033[0m",  "\033[33m▶\033[0m", "\033[32m=\033[0m",
                                        "\033[32m●\033[0m", "\033[31m✗\033[0m", "\033[2m-\033[0m"};
    printf("\033[K %-8.8s %-10.10s %-18.18s ", r->slot ? r->slot : "", r->chip ? r->chip : "",
           r->serial[0] ? r->serial : r->mac);
    for (unsigned i = 0; i < DS_STEP_COUNT; i++)
        fputs(marks[r->step_state[i]], stdout);
    if (!r->finished && r->wants[0])
        printf("  \033[1;33m%.24s\033[0m\n", r->wants);
    else if (!r->finished)
        printf("  %s\n", r->slot ? ds_step_names[r->step] : "");
    else if (r->ok)
        printf("  \033[1;32mPASS\033[0m %6.1f s  %.30s\n", seconds(r->total_ms), r->no_lock ? NO_LOCK : r->note);
    else
        printf("  \033[1;31mFAIL\033[0m at %s\n", ds_step_names[r->step]);
}

static void draw_table(ds_progress *p)
{
    if (p->drawn)
        printf("\033[%uA", p->drawn);
    printf("\033[K \033[1m%-8s %-10s %-18s steps\033[0m\n", "slot", "chip", "device");
    for (unsigned i = 0; i < p->count; i++)
        draw_row(&p->shown[i]);
    p->drawn = p->count + 1;
    fflush(stdout);
}

void ds_progress_observe(void *arg, unsigned slot_index, const ds_slot_result *r)
{
    ds_progress *p = arg;
    p->shown[slot_index] = *r;
    if (p->mode == DS_PROGRESS_TABLE) {
        draw_table(p);
    } else if (p->mode == DS_PROGRESS_LINES) {
        show_line(r);
        fflush(stdout);
    }
}

static json_t *error_json(const ds_err *e)
{
    return json_pack("{s:s,s:s,s:s}", "class", ds_class_name(e->cls), "text", e->text, "hint", e->hint);
}

static json_t *slot_json(const ds_slot_result *r)
{
    json_t *steps = json_array();
    for (unsigned i = 0; i < DS_STEP_COUNT; i++) {
        static const char *const words[] = {"waiting", "running", "skipped", "done", "failed", "not-applicable"};
        json_array_append_new(steps, json_pack("{s:s,s:s,s:I}", "name", ds_step_names[i], "state",
                                               words[r->step_state[i]], "ms", (json_int_t)r->step_ms[i]));
    }
    json_t *j = json_pack("{s:s,s:b,s:b,s:s,s:s,s:s,s:s,s:s,s:I,s:o}", "slot", r->slot, "ok", r->ok, "can_lock",
                          !r->no_lock, "serial", r->serial, "mac", r->mac, "chip", r->chip ? r->chip : "", "product",
                          r->product ? r->product : "", "note", r->note, "ms", (json_int_t)r->total_ms, "steps", steps);
    if (j && !r->ok)
        json_object_set_new(j, "error", error_json(&r->err));
    return j;
}

static unsigned count_failed(const ds_progress *p)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < p->count; i++)
        failed += !p->results[i].ok;
    return failed;
}

// The whole run as one document; caller frees. NULL where memory or text fails.
static char *document(const ds_progress *p)
{
    unsigned failed = count_failed(p);
    json_t *slots = json_array();
    for (unsigned i = 0; i < p->count; i++)
        json_array_append_new(slots, slot_json(&p->results[i]));
    json_t *all = json_pack("{s:i,s:i,s:o}", "passed", (int)(p->count - failed), "failed", (int)failed, "slots", slots);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    return text;
}

void ds_progress_no_run(const ds_err *why)
{
    json_t *all = json_pack("{s:i,s:i,s:[],s:o}", "passed", 0, "failed", 0, "slots", "error", error_json(why));
    DS_CLEANUP_FREE char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    puts(text ? text : "{}");
}

enum ds_class ds_progress_report(const ds_progress *p, const char *path, ds_err *e)
{
    DS_CLEANUP_FREE char *text = document(p);
    if (!text)
        return ds_fail(e, DS_INTERNAL, "the report cannot be written down");
    return ds_file_write(path, (ds_view){(const uint8_t *)text, strlen(text)}, 0644, e);
}

void ds_progress_summary(const ds_progress *p)
{
    unsigned failed = count_failed(p);
    if (p->mode == DS_PROGRESS_JSON) {
        DS_CLEANUP_FREE char *text = document(p);
        puts(text ? text : "{}");
        return;
    }
    for (unsigned i = 0; i < p->count; i++) {
        const ds_slot_result *r = &p->results[i];
        if (r->ok)
            continue;
        printf("%s\n", r->err.text);
        if (r->err.hint[0])
            printf("  hint: %s\n", r->err.hint);
    }
    printf("%u passed, %u failed\n", p->count - failed, failed);
}
