// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's desk (src/signer/desk.c): two workers decide and sign, one committer writes what is ready, syncs, and only then
// answers; the process may be killed between any two steps, and the disk may refuse a write. Three requests ask again until they are
// answered: 0 and 1 show the same key with the same serial number, 2 another key. The quota allows QUOTA certificates.
//
// Durable: the log. On a kill everything else is forgotten. Checked: an answer is in the log; no key is in the log twice; never more
// entries than the quota; nobody is refused while a certificate is left; from every state in which nothing is killed any more all
// are answered.
//
// cc: -DNFAIR=4 -DNOREDUCE
// check: -a -m200000 -N answered_is_logged
// check: -a -m200000 -N once
// check: -a -m200000 -N within_quota
// check: -a -m200000 -N refused_when_used_up
// check: -a -f -m2000000 -N all_answered

#define REQUESTS 3
#define KEY(r) (r / 2) // 0 and 1 share theirs
#ifndef QUOTA
#define QUOTA 1
#endif

mtype = { ASKS, TAKEN, PENDING, READY, WRITING, ANSWERED, REFUSED };

// durable, and what the askers hold
byte logged[2];                // how often each key is in the log
mtype state[REQUESTS] = ASKS;  // ANSWERED and REFUSED are for ever
bool calm = false;             // nothing is killed and no write fails any more
bool wrong_refusal = false;

#define ENTRIES (logged[0] + logged[1])

inline is_pending(r, ret)
{
    ret = (state[r] == PENDING || state[r] == READY || state[r] == WRITING)
}

// In one step: the lock is held.
inline decide(r)
{
    d_step {
        conflict = false;
        count = 0;
        i = 0;
        do
        :: i < REQUESTS ->
            is_pending(i, busy);
            if
            :: busy -> count = count + 1; conflict = conflict || KEY(i) == KEY(r)
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: conflict || (count > 0 && QUOTA - ENTRIES <= count) -> skip // waits
        :: else ->
            if
            :: logged[KEY(r)] > 0 -> state[r] = ANSWERED // from the log
            :: logged[KEY(r)] == 0 && ENTRIES >= QUOTA -> state[r] = REFUSED; wrong_refusal = wrong_refusal || ENTRIES < QUOTA
            :: else -> state[r] = PENDING
            fi
        fi;
        i = 0;
        count = 0;
        conflict = false;
        busy = false
    }
}

proctype worker()
{
    byte r = 0, i = 0, count = 0;
    bool conflict = false, busy = false;

    do
    :: atomic {
        if
        :: state[0] == ASKS -> r = 0
        :: state[1] == ASKS -> r = 1
        :: state[2] == ASKS -> r = 2
        fi;
        state[r] = TAKEN
       }
       do
       :: state[r] == TAKEN -> decide(r)
       :: state[r] == PENDING -> atomic { if :: state[r] == PENDING -> state[r] = READY :: else fi }; break // signed
       :: state[r] == ANSWERED || state[r] == REFUSED || state[r] == ASKS -> break // ASKS: it was killed
       :: state[r] == READY || state[r] == WRITING -> break // killed, and taken by the other worker meanwhile
       od
    od
}

proctype committer()
{
    byte i = 0;

    do
    :: d_step {
        (state[0] == READY || state[1] == READY || state[2] == READY);
        i = 0;
        do
        :: i < REQUESTS -> if :: state[i] == READY -> state[i] = WRITING :: else fi; i++
        :: else -> break
        od;
        i = 0
       }
       if
       :: d_step { // written and synced: all of it, or, where the process was killed before, nothing
            i = 0;
            do
            :: i < REQUESTS -> if :: state[i] == WRITING -> logged[KEY(i)]++ :: else fi; i++
            :: else -> break
            od;
            i = 0
          }
          d_step {
            i = 0;
            do
            :: i < REQUESTS -> if :: state[i] == WRITING -> state[i] = ANSWERED :: else fi; i++
            :: else -> break
            od;
            i = 0
          }
       :: d_step { // the disk refused: none of it is in the log, all are told and ask again
            !calm;
            i = 0;
            do
            :: i < REQUESTS -> if :: state[i] == WRITING -> state[i] = ASKS :: else fi; i++
            :: else -> break
            od;
            i = 0
          }
       fi
    od
}

// kill -9, and a fresh process at once: whoever has no answer asks again
proctype world()
{
    byte i = 0;

    do
    :: d_step {
        !calm;
        i = 0;
        do
        :: i < REQUESTS ->
            if
            :: state[i] == ANSWERED || state[i] == REFUSED
            :: else -> state[i] = ASKS
            fi;
            i++
        :: else -> break
        od;
        i = 0
       }
    :: calm = true -> break
    od
}

init {
    atomic { run worker(); run worker(); run committer(); run world() }
}

#define LOGGED(r) (state[r] != ANSWERED || logged[KEY(r)] > 0)
ltl answered_is_logged { [] (LOGGED(0) && LOGGED(1) && LOGGED(2)) }
ltl once { [] (logged[0] <= 1 && logged[1] <= 1) }
ltl within_quota { [] (ENTRIES <= QUOTA) }
ltl refused_when_used_up { [] (!wrong_refusal && ((state[0] != REFUSED && state[1] != REFUSED && state[2] != REFUSED) || ENTRIES == QUOTA)) }
#define DONE(r) (state[r] == ANSWERED || state[r] == REFUSED)
ltl all_answered { [] (calm -> <> (DONE(0) && DONE(1) && DONE(2))) }
