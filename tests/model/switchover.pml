/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The switchover of a migration (docs/stream-format.md, "Commit" and "Giving back"), from the moment at which all has
 * been sent: who runs the guest, whatever is lost, cut, killed or said by users and operators, in any order.
 *
 * Never two: asserted wherever a side begins to run the guest. Never none for ever: asserted when nothing can happen
 * any more. tests/model/check verifies it exhaustively for the faults that it is given:
 * CUTS: how often the network is cut, which ends all connections, in silence.
 * DEATHS: how many of the two sides die. Their process alone, whose kernel ends its connections in order or, where
 * something had not been read, by a reset; or their host, in silence.
 * KEEPS_THE_OLD_LINK, TRUSTS_A_RESET, FORGETS_THE_PAUSE, GUESSES: faults that it has to find.
 */
#ifndef CUTS
#define CUTS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#ifdef FORGETS_THE_PAUSE
#define ARRIVED_OUTCOME IS_COMMITTED
#else
#define ARRIVED_OUTCOME IS_ARRIVED
#endif

mtype = {
    READY, COMMIT, RUNNING, ARRIVED, ABORT, /* frames */
    ASK, IS_COMMITTED, IS_ARRIVED, IS_READY, IS_NOT_READY,
    /* the source */
    S_LOADING, S_COMMITTING, S_ASKING, S_COMPLETED, S_ARRIVED, S_HERE, S_DEAD,
    /* the destination */
    D_LOADING, D_READY, D_TAKING_OVER, D_COMPLETED, D_ARRIVED, D_FAILED, D_DEAD,
    /* a connection */
    NONE, OPEN, CUT, CLOSED_BY_SOURCE, CLOSED_BY_DESTINATION, DESTINATION_DIED, SOURCE_DIED /* by a reset */
};

/* Connections: that over which the migration goes, and the one over which the source asks. */
#define CONTROL 0
#define CALL 1
chan to_destination[2] = [4] of { mtype };
chan to_source[2] = [4] of { mtype };
mtype connection[2] = NONE;
bool source_end[2], destination_end[2]; /* whether that side still holds its end */

mtype source = S_LOADING, destination = D_LOADING;
bool source_runs, destination_runs;
bool has_run_there;             /* its disks may have changed */
bool arrives_paused;            /* -S at the destination, or the guest was paused */
bool committing_over_call;      /* the source has sent Commit over the ask connection */
bool wanted_back;               /* the source's user has said cont of a guest that arrived paused */
bool asked_for_it;              /* and the destination was asked */
bool link_broke;                /* what the destination said last may not have come: silence, or a reset */
bool tells_that_it_stays;       /* the source, which had not committed, tells a destination that may be Ready */
bool answered_ready;            /* over the ask connection */
bool reply_by_control, reply_by_call, outcome_owed;
bool given_back;

inline empty_queue(queue)
{
    do
    :: nempty(queue) -> queue?_
    :: empty(queue) -> break
    od
}

inline open_connection(which)
{
    empty_queue(to_destination[which]);
    empty_queue(to_source[which]);
    connection[which] = OPEN;
    source_end[which] = true;
    destination_end[which] = true;
}

inline source_says(which, frame)
{
    if
    :: connection[which] == OPEN -> to_destination[which]!frame
    :: else
    fi
}

inline destination_says(which, frame)
{
    if
    :: connection[which] == OPEN -> to_source[which]!frame
    :: else
    fi
}

inline source_closes(which)
{
    source_end[which] = false;
    empty_queue(to_source[which]);
    if
    :: connection[which] == OPEN -> connection[which] = CLOSED_BY_SOURCE
    :: else
    fi
}

inline destination_closes(which)
{
    destination_end[which] = false;
    empty_queue(to_destination[which]);
    if
    :: connection[which] == OPEN -> connection[which] = CLOSED_BY_DESTINATION
    :: else
    fi
}

/* What was sent before a peer closed is read first; what was under way when it died, or the network was cut, may be. */
#define source_sees_end(which) (source_end[which] && (connection[which] == CUT || connection[which] == DESTINATION_DIED \
    || (connection[which] == CLOSED_BY_DESTINATION && empty(to_source[which]))))
#define destination_sees_end(which) (destination_end[which] && (connection[which] == CUT || connection[which] == SOURCE_DIED \
    || (connection[which] == CLOSED_BY_SOURCE && empty(to_destination[which]))))

inline source_has_it(by_itself)
{
    assert(!destination_runs);
    assert(!by_itself || !has_run_there);
    source = S_HERE;
    source_runs = true;
}

inline destination_has_it()
{
    if
    :: arrives_paused -> destination = D_ARRIVED
    :: else -> destination_runs_it()
    fi
}

inline destination_runs_it()
{
    assert(!source_runs);
    destination = D_COMPLETED;
    destination_runs = true;
    has_run_there = true;
}

inline reply(frame)
{
    if
    :: reply_by_control -> destination_says(CONTROL, frame)
    :: else
    fi;
    if
    :: reply_by_call -> destination_says(CALL, frame)
    :: else
    fi;
    reply_by_control = false;
    reply_by_call = false
}

inline reply_outcome(frame)
{
    if
    :: outcome_owed -> destination_says(CALL, frame)
    :: else
    fi;
    outcome_owed = false
}

proctype Source()
{
    mtype frame;
endless:
    do
    /* The control connection, and what it says. */
    :: atomic { source != S_DEAD && source_end[CONTROL] && nempty(to_source[CONTROL]) ->
        to_source[CONTROL]?frame;
        if
        :: frame == READY && source == S_LOADING ->
            source = S_COMMITTING;
            source_says(CONTROL, COMMIT)
        :: frame == RUNNING && (source == S_COMMITTING || source == S_ARRIVED) ->
            source = S_COMPLETED; source_closes(CONTROL)
        :: frame == ARRIVED && source == S_COMMITTING -> source = S_ARRIVED
        :: frame == ABORT && (source == S_LOADING || source == S_COMMITTING || source == S_ARRIVED) ->
            source_has_it(true); source_closes(CONTROL)
        :: else
        fi }
    :: atomic { source != S_DEAD && source_sees_end(CONTROL) ->
        if
#ifdef TRUSTS_A_RESET
        :: connection[CONTROL] == CUT -> link_broke = true
#else
        :: connection[CONTROL] == CUT || connection[CONTROL] == DESTINATION_DIED -> link_broke = true
#endif
        :: else
        fi;
        source_closes(CONTROL);
        asked_for_it = false;
        if
        :: source == S_LOADING -> source_has_it(true); tells_that_it_stays = true
        :: source == S_COMMITTING -> source = S_ASKING
        :: else
        fi }
    /* A cancel, or a time limit. */
    :: atomic { source == S_LOADING ->
        source_has_it(true);
        source_says(CONTROL, ABORT);
        source_closes(CONTROL);
        tells_that_it_stays = true }
    /* The ask connection. */
    :: atomic { source != S_DEAD && !source_end[CALL] && destination != D_DEAD && (source == S_ASKING
            || tells_that_it_stays || (source == S_ARRIVED && wanted_back && !source_end[CONTROL])) ->
        open_connection(CALL);
        committing_over_call = false;
        asked_for_it = false;
        answered_ready = false;
        source_says(CALL, ASK) }
    :: atomic { source != S_DEAD && source_end[CALL] && nempty(to_source[CALL]) ->
        to_source[CALL]?frame;
        if
        :: tells_that_it_stays && frame == IS_READY -> source_says(CALL, ABORT)
        :: tells_that_it_stays && (frame == IS_NOT_READY || frame == ABORT) ->
            tells_that_it_stays = false; source_closes(CALL)
        :: source == S_ASKING && frame == IS_READY && !committing_over_call ->
            committing_over_call = true; source_says(CALL, COMMIT)
        :: source == S_ASKING && (frame == IS_COMMITTED || frame == RUNNING) ->
            source = S_COMPLETED; source_closes(CALL)
        :: source == S_ASKING && (frame == ARRIVED || frame == IS_ARRIVED) ->
            source = S_ARRIVED; link_broke = true; source_closes(CALL) /* nobody will tell that it was run */
        :: source == S_ASKING && (frame == IS_NOT_READY || frame == ABORT) ->
            source_has_it(true); source_closes(CALL)
        :: source == S_ARRIVED && frame == IS_COMMITTED -> source = S_COMPLETED; source_closes(CALL)
        :: source == S_ARRIVED && frame == IS_ARRIVED && !asked_for_it ->
            asked_for_it = true; source_says(CALL, ABORT)
        :: source == S_ARRIVED && (frame == IS_NOT_READY || frame == ABORT) ->
            source_has_it(true); source_closes(CALL)
        :: source == S_ARRIVED && frame == RUNNING -> source = S_COMPLETED; source_closes(CALL)
        :: else
        fi }
    :: atomic { source != S_DEAD && source_sees_end(CALL) -> source_closes(CALL) }
    /* Its user wants the guest that arrived paused back: over the connection that was kept, if there is one. */
    :: atomic { source == S_ARRIVED && wanted_back && source_end[CONTROL] && !asked_for_it ->
        asked_for_it = true;
        source_says(CONTROL, ABORT) }
    /* A connection that its peer ended, and nobody who listens there. */
    :: atomic { source == S_ARRIVED && wanted_back && !source_end[CONTROL] && !link_broke && destination == D_DEAD ->
        source_has_it(true) }
#ifdef GUESSES
    :: atomic { source == S_ASKING && !source_end[CALL] -> source_has_it(true) }
#endif
    :: source == S_DEAD -> break
    od
}

proctype Destination()
{
    mtype frame;
endless:
    do
    :: atomic { destination == D_LOADING -> destination = D_READY; destination_says(CONTROL, READY) }
    :: atomic { destination == D_LOADING ->
        destination = D_FAILED; destination_says(CONTROL, ABORT); destination_closes(CONTROL) }
    :: atomic { destination != D_DEAD && destination_end[CONTROL] && nempty(to_destination[CONTROL]) ->
        to_destination[CONTROL]?frame;
        if
        :: frame == COMMIT && destination == D_READY -> destination = D_TAKING_OVER; reply_by_control = true
        :: frame == ABORT && (destination == D_LOADING || destination == D_READY) ->
            destination = D_FAILED; destination_closes(CONTROL)
        :: frame == ABORT && destination == D_ARRIVED ->
            destination = D_FAILED; given_back = true; destination_says(CONTROL, ABORT); destination_closes(CONTROL)
        :: frame == ABORT && destination == D_COMPLETED -> destination_says(CONTROL, RUNNING)
        :: else
        fi }
    :: atomic { destination != D_DEAD && destination_sees_end(CONTROL) ->
        destination_closes(CONTROL);
        if
        :: destination == D_LOADING -> destination = D_FAILED
        :: else
        fi }
    :: atomic { destination == D_TAKING_OVER ->
        destination_has_it();
        if
        :: destination == D_ARRIVED -> reply(ARRIVED); reply_outcome(ARRIVED_OUTCOME)
        :: else -> reply(RUNNING); destination_closes(CONTROL); reply_outcome(IS_COMMITTED)
        fi }
    :: atomic { destination == D_TAKING_OVER -> /* it could not be started, and never ran */
        destination = D_FAILED; reply(ABORT); reply_outcome(IS_NOT_READY); destination_closes(CONTROL) }
    :: atomic { destination == D_ARRIVED -> /* its user says cont */
        destination_says(CONTROL, RUNNING);
        destination_closes(CONTROL);
        destination_runs_it() }
    :: atomic { destination != D_DEAD && destination_end[CALL] && nempty(to_destination[CALL]) ->
        to_destination[CALL]?frame;
        if
        :: frame == ASK ->
#ifndef KEEPS_THE_OLD_LINK
            destination_closes(CONTROL); /* nothing is taken from it any more */
#endif
            reply_by_control = false;
            if
            :: destination == D_READY -> answered_ready = true; destination_says(CALL, IS_READY)
            :: destination == D_TAKING_OVER -> outcome_owed = true
            :: destination == D_COMPLETED -> destination_says(CALL, IS_COMMITTED)
            :: destination == D_ARRIVED -> destination_says(CALL, ARRIVED_OUTCOME)
            :: destination == D_LOADING -> destination = D_FAILED; destination_says(CALL, IS_NOT_READY)
            :: destination == D_FAILED -> destination_says(CALL, IS_NOT_READY)
            fi
        :: frame == COMMIT && destination == D_READY && answered_ready ->
            destination = D_TAKING_OVER; reply_by_call = true
        :: frame == COMMIT && destination == D_FAILED -> destination_says(CALL, ABORT)
        :: frame == COMMIT && (destination == D_COMPLETED || destination == D_ARRIVED) ->
            destination_says(CALL, RUNNING)
        :: frame == ABORT && (destination == D_READY) ->
            destination = D_FAILED; destination_says(CALL, ABORT)
        :: frame == ABORT && destination == D_ARRIVED ->
            destination = D_FAILED; given_back = true; destination_says(CALL, ABORT)
        :: frame == ABORT && destination == D_COMPLETED -> destination_says(CALL, RUNNING)
        :: frame == ABORT && destination == D_FAILED -> destination_says(CALL, ABORT)
        :: else
        fi }
    :: atomic { destination != D_DEAD && destination_sees_end(CALL) ->
        destination_closes(CALL); reply_by_call = false; outcome_owed = false; answered_ready = false }
    :: destination == D_DEAD -> break
    od
}

/* What its other end has closed may still be on its way. */
inline end_of(which, how)
{
    if
    :: connection[which] != NONE && connection[which] != CUT -> connection[which] = how
    :: else
    fi
}

proctype Faults()
{
    byte cuts = CUTS, deaths = DEATHS;
    do
    :: atomic { cuts > 0 -> cuts--; end_of(CONTROL, CUT); end_of(CALL, CUT) }
    :: atomic { deaths > 0 && source != S_DEAD -> deaths--;
        source = S_DEAD; source_runs = false; tells_that_it_stays = false;
        if
        :: true -> end_of(CONTROL, SOURCE_DIED); end_of(CALL, SOURCE_DIED)
        :: true -> end_of(CONTROL, CLOSED_BY_SOURCE); end_of(CALL, CLOSED_BY_SOURCE)
        :: true -> end_of(CONTROL, CUT); end_of(CALL, CUT)
        fi;
        source_end[CONTROL] = false; source_end[CALL] = false }
    :: atomic { deaths > 0 && destination != D_DEAD -> deaths--;
        destination = D_DEAD; destination_runs = false;
        if
        :: true -> end_of(CONTROL, DESTINATION_DIED); end_of(CALL, DESTINATION_DIED)
        :: true -> end_of(CONTROL, CLOSED_BY_DESTINATION); end_of(CALL, CLOSED_BY_DESTINATION)
        :: true -> end_of(CONTROL, CUT); end_of(CALL, CUT)
        fi;
        destination_end[CONTROL] = false; destination_end[CALL] = false }
    :: break
    od
}

/* Whoever has looked at the other host, and found that nobody there has the guest, may say that it is here. */
proctype Operator()
{
endless:
    do
    :: atomic { source == S_ASKING && destination == D_DEAD -> source_has_it(false) }
    :: atomic { source == S_ARRIVED && wanted_back && destination == D_DEAD && !source_end[CONTROL] -> source_has_it(false) }
    :: atomic { destination == D_READY && source == S_DEAD && !destination_end[CONTROL] -> destination = D_TAKING_OVER }
    od
}

proctype SourcesUser()
{
    if
    :: wanted_back = true
    :: true
    fi
}

/* Nothing can happen any more. */
proctype Judge()
{
    timeout ->
    assert(source_runs || destination_runs        /* it runs somewhere, */
           || source == S_DEAD && destination != D_READY /* or died with its host, or waits there, paused, */
           || destination == D_DEAD && (has_run_there || source == S_ARRIVED)
           || destination == D_ARRIVED)
}

init
{
    atomic {
        if
        :: arrives_paused = true
        :: arrives_paused = false
        fi;
        open_connection(CONTROL);
        run Source(); run Destination(); run Faults(); run Operator(); run SourcesUser(); run Judge()
    }
}
