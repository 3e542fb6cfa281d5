// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A run of the line: one thread a slot, each taking its device through the table of steps. See line.h.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WALKS = 3,      // of one device in one run
    MAX_RESETS = 4, // a first boot resets twice, and is begun by one
};

static pthread_mutex_t observer_lock = PTHREAD_MUTEX_INITIALIZER;

// Which device each slot works on: one device wired to two slots must not be driven by both.
static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const ds_job *job; // NULL: free
    uint16_t chip_id;
    uint8_t mac[6];
} claims[DS_STATION_MAX_SLOTS];

static void give_up_claim(const ds_job *j)
{
    pthread_mutex_lock(&claims_lock);
    for (size_t i = 0; i < DS_STATION_MAX_SLOTS; i++)
        if (claims[i].job == j)
            claims[i].job = NULL;
    pthread_mutex_unlock(&claims_lock);
}

enum ds_class ds_job_claim(ds_job *j, const ds_chip *chip, const uint8_t mac[6], ds_err *e)
{
    give_up_claim(j);
    enum ds_class rc = DS_OK;
    pthread_mutex_lock(&claims_lock);
    size_t place = DS_STATION_MAX_SLOTS;
    for (size_t i = 0; i < DS_STATION_MAX_SLOTS; i++) {
        if (!claims[i].job)
            place = i;
        else if (claims[i].chip_id == chip->id && memcmp(claims[i].mac, mac, 6) == 0)
            rc = ds_hint((ds_fail(e, DS_POLICY, "this device is also on slot %s", claims[i].job->slot->name), e),
                         "one device, one slot: correct the wiring or the station file");
    }
    if (!rc && place < DS_STATION_MAX_SLOTS) {
        claims[place].job = j;
        claims[place].chip_id = chip->id;
        memcpy(claims[place].mac, mac, 6);
    }
    pthread_mutex_unlock(&claims_lock);
    return rc;
}

static void tell(ds_job *j)
{
    if (!j->o->observer)
        return;
    pthread_mutex_lock(&observer_lock);
    j->o->observer(j->o->observer_arg, (unsigned)(j->slot - j->o->station->slots), j->result);
    pthread_mutex_unlock(&observer_lock);
}

void ds_job_say(ds_job *j, const char *text)
{
    if (strcmp(j->result->wants, text) == 0)
        return;
    snprintf(j->result->wants, sizeof j->result->wants, "%s", text);
    tell(j);
}

// What ROMs and ESP-IDF's bootloader print where they will not run what is in flash.
static bool is_refusal(const char *line)
{
    static const char *const words[] = {
        "invalid header", "secure boot verification failed", "csum err", "ets_main.c", "waiting for download",
        "No bootable app"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(line, words[i]))
            return true;
    return false;
}

// A ROM with the boot strap low and download mode closed: it says nothing of what is in flash, and a reset without the
// strap helps.
static bool is_closed(const char *line)
{
    return strstr(line, "Download boot modes disabled") || strstr(line, "Download mode is disabled");
}

static void on_console(void *arg, const char *line)
{
    ds_job *j = arg;
    // A reset the station did not ask for: the answer waited for will not come. Again and again: nothing boots.
    if (strstr(line, "rst:0x") && ++j->resets == 1)
        ds_agent_client_interrupt(j->agent);
    if (is_closed(line))
        j->resets = 0;
    if (is_refusal(line) || j->resets > MAX_RESETS)
        j->saw_refusal = true;
    if (j->saw_refusal)
        ds_agent_client_interrupt(j->agent);
    if (strstr(line, "Encrypting") || strstr(line, "encrypting"))
        j->saw_encryption = true;
    if (j->o->verbose)
        ds_log(DS_LOG_INFO, "slot %s: | %s", j->slot->name, line);
}

static void state(ds_job *j, unsigned step, enum ds_step_state s)
{
    j->result->step = step;
    j->result->step_state[step] = s;
    tell(j);
}

static unsigned steps_recorded(const ds_job *j)
{
    for (unsigned i = 0; i < DS_STEP_COUNT; i++)
        if (strcmp(j->device.stage, ds_step_names[i]) == 0)
            return i + 1;
    return 0;
}

// How far the device came. It goes back only where a step had to be done again, not because a rerun passes by it.
static enum ds_class record_stage(ds_job *j, unsigned i, enum ds_ready ready, ds_err *e)
{
    bool again = ready == DS_READY && i > 0; // connect is always done
    if (!j->device.id || (!again && i < steps_recorded(j)))
        return DS_OK;
    if (ds_ledger_device_stage(j->o->ledger, j->device.id, ds_steps[i].name, e))
        return e->cls;
    snprintf(j->device.stage, sizeof j->device.stage, "%s", ds_steps[i].name);
    return DS_OK;
}

static enum ds_class take_step(ds_job *j, unsigned i, ds_err *e)
{
    const ds_step *s = &ds_steps[i];
    if (j->o->stop && *j->o->stop)
        return ds_hint((ds_fail(e, DS_USAGE, "stopped before this step, as asked"), e),
                       "run again: it goes on from here");
    if (s->locks && !ds_chip_can_lock(j->recipe->chip)) { // connect, which comes first, chose the recipe
        state(j, i, DS_STEP_NOT_HERE);
        return DS_OK;
    }
    ds_job_forget_console(j); // resets of earlier steps are no news: one from now on interrupts what is asked
    j->deadline_ms = ds_now_ms() + ds_step_deadline(s, j);
    enum ds_ready ready = DS_READY;
    if (s->precondition(j, &ready, e))
        return e->cls;
    if (ready == DS_READY && s->apply(j, e))
        return e->cls;
    if (s->check(j, e))
        return e->cls;
    if (record_stage(j, i, ready, e))
        return e->cls;
    bool done = ready == DS_READY || j->done[i];
    j->done[i] = done;
    state(j, i, done ? DS_STEP_DONE : DS_STEP_SKIPPED);
    return DS_OK;
}

// What went wrong goes into the record too, where the device is known.
static void record_failure(ds_job *j, const ds_err *e)
{
    ds_err lost = DS_ERR_INIT;
    char text[sizeof e->text + 64];
    snprintf(text, sizeof text, "slot %.48s: %s", j->slot->name, e->text);
    if (j->device.id && ds_ledger_event(j->o->ledger, j->device.id, "fault", text, &lost))
        ds_log(DS_LOG_WARN, "slot %s: %s", j->slot->name, lost.text);
}

static bool walk(ds_job *j, ds_err *e)
{
    for (unsigned i = 0; i < DS_STEP_COUNT; i++) {
        int64_t start = ds_now_ms();
        state(j, i, DS_STEP_RUNNING);
        enum ds_class rc = take_step(j, i, e);
        j->result->step_ms[i] += ds_now_ms() - start;
        if (rc) {
            state(j, i, DS_STEP_FAILED);
            (void)ds_wrap(e, "%s", ds_steps[i].name);
            record_failure(j, e);
            return false;
        }
    }
    return true;
}

static enum ds_class open_wire(ds_job *j, ds_err *e)
{
    if (ds_transport_open(j->slot->port, &j->wire, e))
        return e->cls;
    ds_err slow = DS_ERR_INIT;
    if (j->wire->set_baud(j->wire, j->o->station->baud, &slow))
        ds_log(DS_LOG_WARN, "slot %s: %s", j->slot->name, slow.text);
    j->agent = ds_agent_client_new(j->wire, on_console, j);
    return DS_OK;
}

static void close_wire(ds_job *j)
{
    ds_agent_client_free(j->agent);
    ds_transport_close(j->wire);
    j->agent = NULL;
    j->wire = NULL;
    j->device = (ds_ledger_device){0}; // who is there is asked anew
    j->has_hello = false;
    ds_job_forget_console(j);
}

// A device that was there and was lost on the way (power, cable, adapter) is looked for once more: a line does not wait
// for somebody to press a key. What the device or the ledger refused is not asked again.
static bool worth_another_walk(const ds_job *j, unsigned failed_before, const ds_err *e)
{
    return e->cls == DS_DEVICE && j->result->step > 0 && j->result->step != failed_before && e->code >> 24 == 0;
}

static void run_slot(ds_job *j, ds_err *e)
{
    unsigned failed_before = DS_STEP_COUNT;
    for (int left = WALKS; left > 0 && !j->result->ok; left--) {
        ds_err lost = *e;
        if (open_wire(j, e)) {
            j->result->step_state[0] = DS_STEP_FAILED;
            if (lost.cls)
                *e = lost; // what went wrong first tells more
            break;
        }
        j->result->ok = walk(j, e);
        close_wire(j);
        if (!j->result->ok && !worth_another_walk(j, failed_before, e))
            break;
        failed_before = j->result->step;
        if (!j->result->ok)
            snprintf(j->result->note, sizeof j->result->note, "lost at %s, went on", ds_step_names[j->result->step]);
    }
    ds_ledger_cert_free(&j->cert);
    give_up_claim(j);
}

static void *slot_main(void *arg)
{
    ds_job *j = arg;
    int64_t start = ds_now_ms();
    ds_err e = DS_ERR_INIT;
    run_slot(j, &e);
    if (!j->result->ok) {
        (void)ds_wrap(&e, j->result->serial[0] ? "slot %s: %s" : "slot %s", j->slot->name, j->result->serial);
        j->result->err = e;
    }
    j->result->total_ms = ds_now_ms() - start;
    j->result->finished = true;
    tell(j);
    return NULL;
}

static ds_job make_job(const ds_line_options *o, unsigned i, ds_slot_result *result)
{
    const ds_slot_config *slot = &o->station->slots[i];
    *result = (ds_slot_result){.slot = slot->name};
    return (ds_job){
        .o = o,
        .slot = slot,
        .result = result,
        .reset = {.kind = (enum ds_reset_kind)slot->reset, .command = slot->command, .slot = slot->name},
    };
}

unsigned ds_line_run(const ds_line_options *o, ds_slot_result *results)
{
    unsigned n = o->station->slot_count, failed = 0;
    ds_job *jobs = ds_alloc(n * sizeof *jobs);
    pthread_t *threads = ds_alloc(n * sizeof *threads);
    bool *started = ds_alloc(n * sizeof *started);
    for (unsigned i = 0; i < n; i++) {
        jobs[i] = make_job(o, i, &results[i]);
        started[i] = pthread_create(&threads[i], NULL, slot_main, &jobs[i]) == 0;
        if (!started[i])
            slot_main(&jobs[i]); // no thread to be had: one after the other is slower, not wrong
    }
    for (unsigned i = 0; i < n; i++) {
        if (started[i])
            pthread_join(threads[i], NULL);
        failed += !results[i].ok;
    }
    free(started);
    free(threads);
    free(jobs);
    return failed;
}
