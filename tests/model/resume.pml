/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A copy that goes on after its link broke (docs/stream-format.md, "Going on after a break"): whatever is cut, and
 * however late what was under way arrives, the destination has what the source believes that it has.
 *
 * One data channel carries the pages of a guest that writes. A link that the source has left may still deliver what it
 * was given, at any time. Asserted when a round is acknowledged, and when all is done. tests/model/check verifies it
 * exhaustively for the faults that it is given:
 * CUTS: how often the link breaks. WRITES: how often the guest writes to a page after the first round began.
 * KEEPS_THE_TOKEN, KEEPS_THE_CHANNEL, COUNTS_TOO_EARLY, SENDS_NOTHING_TWICE: faults that it has to find.
 */
#ifndef CUTS
#define CUTS 2
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define PAGES 2
#define LINKS (CUTS + 1)
#define NONE 255
#define MOST_FRAMES (PAGES + 1) /* of a round, with RoundEnd */

mtype = {
    PAGE, ROUND_END, /* data */
    ASK, RESUME, RECEIVING, POINT, ACK,
    COPYING, RECONNECTING, DONE
};

/* By link: its data connection, and the other one in both directions. */
chan data[LINKS] = [2] of { mtype, byte /* page */, byte /* its version, or the round */ };
chan asks[LINKS] = [2] of { mtype };
chan answers[LINKS] = [3] of { mtype, byte /* token */, byte /* round */, byte /* frames */ };
bool broken[LINKS];
bool data_open[LINKS];
byte join[LINKS];       /* the token that its data connection names */
bool may_resume[LINKS];

/* The guest, and what the source knows of it. */
byte now[PAGES] = 1;
bool dirty[PAGES];
bool pending[PAGES] = true;
byte written;

/* The source. */
mtype source = COPYING;
byte link;              /* the one in use */
byte cuts;
byte round = 1;
bool round_ended;
byte before;            /* frames of the rounds before */
byte sent;              /* frames of this round */
byte journal[MOST_FRAMES];
bool asked;

/* The destination. */
mtype destination = RECEIVING;
byte here[PAGES];
byte control;           /* its link */
byte channel = NONE;    /* whose data connection has joined */
byte token;
byte acknowledged;
byte frames;            /* carried out */
byte in_hand = NONE;    /* a page that has come, and is not in RAM yet */
byte in_hand_version;

inline has_what_was_sent()
{
    byte page;
    page = 0;
    do
    :: page < PAGES ->
        assert(dirty[page] || here[page] == now[page]);
        page++
    :: else -> break
    od;
    page = 0
}

inline end_round()
{
    has_what_was_sent();
    before = before + sent;
    sent = 0;
    round_ended = false;
    if
    :: !dirty[0] && !dirty[1] -> source = DONE
    :: else ->
        round++;
        pending[0] = dirty[0];
        pending[1] = dirty[1];
        dirty[0] = false;
        dirty[1] = false
    fi
}

inline lose(from)
{
    do
    :: sent > from ->
        sent--;
        if
        :: journal[sent] < PAGES -> pending[journal[sent]] = true
        :: else
        fi
    :: else -> break
    od
}

proctype Guest()
{
end:
    do
    :: atomic { written < WRITES && source != DONE ->
        written++;
        if
        :: now[0]++; dirty[0] = true
        :: now[1]++; dirty[1] = true
        fi }
    od
}

#define SEND(page) \
    atomic { source == COPYING && data_open[link] && pending[page] && nfull(data[link]) -> \
        pending[page] = false; \
        dirty[page] = false; /* collected once more, just before */ \
        data[link]!PAGE, page, now[page]; \
        journal[sent] = page; \
        sent++ }

proctype Source()
{
    byte said, acked, count;
end:
    do
    :: SEND(0)
    :: SEND(1)
    :: atomic { source == COPYING && data_open[link] && !pending[0] && !pending[1] && !round_ended &&
                nfull(data[link]) ->
        data[link]!ROUND_END, 0, round;
        journal[sent] = PAGES;
        sent++;
        round_ended = true }
    :: atomic { source == COPYING && nempty(answers[link]) ->
        answers[link]?ACK, _, acked, _;
        if
        :: acked == round -> end_round()
        :: else
        fi }
    :: atomic { (source == COPYING || source == RECONNECTING) && cuts < CUTS ->
        cuts++;
        broken[link] = true;
        link++;
        asked = false;
        source = RECONNECTING }
    :: atomic { source == RECONNECTING && !asked ->
        asked = true;
        asks[link]!ASK }
    :: atomic { source == RECONNECTING && nempty(answers[link]) ->
        if
        :: answers[link]?RECEIVING, _, _, _ -> asks[link]!RESUME
        :: answers[link]?POINT, said, acked, count ->
            assert(count >= before && count <= before + sent);
#ifndef SENDS_NOTHING_TWICE
            lose(count - before);
#endif
            round_ended = false;
            join[link] = said;
            data_open[link] = true;
            source = COPYING;
            if
            :: acked == round -> end_round()
            :: else
            fi
        fi }
    :: source == DONE -> break
    od;
    has_what_was_sent()
}

inline leave_channel()
{
#ifndef KEEPS_THE_CHANNEL
    channel = NONE;
    in_hand = NONE
#else
    skip
#endif
}

#define TAKE(which) \
    :: atomic { which < LINKS && nempty(asks[which]) -> \
        if \
        :: asks[which]?ASK -> \
            destination = RECONNECTING; \
            leave_channel(); \
            may_resume[which] = true; \
            answers[which]!RECEIVING, 0, 0, 0 \
        :: asks[which]?RESUME -> \
            if \
            :: may_resume[which] && destination == RECONNECTING -> \
                NEXT_TOKEN; \
                control = which; \
                destination = RECEIVING; \
                answers[which]!POINT, token, acknowledged, frames \
            :: else \
            fi \
        fi } \
    :: atomic { which < LINKS && data_open[which] && destination == RECEIVING && channel == NONE && \
                join[which] == token -> \
        channel = which } \
    :: atomic { channel == which && in_hand == NONE && nempty(data[which]) -> \
        if \
        :: data[which]?PAGE, page, version -> \
            in_hand = page; \
            in_hand_version = version; \
            COUNT_EARLY \
        :: data[which]?ROUND_END, _, version -> \
            frames++; \
            acknowledged = version; \
            if \
            :: len(answers[control]) < 3 -> answers[control]!ACK, 0, acknowledged, 0 \
            :: else \
            fi \
        fi }

#ifdef KEEPS_THE_TOKEN
#define NEXT_TOKEN skip
#else
#define NEXT_TOKEN token++
#endif
#ifdef COUNTS_TOO_EARLY
#define COUNT_EARLY frames++
#define COUNT_LATE skip
#else
#define COUNT_EARLY skip
#define COUNT_LATE frames++
#endif

proctype Destination()
{
    byte page, version;
end:
    do
    TAKE(0)
    TAKE(1)
    TAKE(2)
    :: atomic { in_hand != NONE ->
        here[in_hand] = in_hand_version;
        in_hand = NONE;
        COUNT_LATE }
    :: atomic { destination == RECEIVING && broken[control] -> /* it notices by itself */
        destination = RECONNECTING;
        leave_channel() }
    od
}

init
{
    atomic {
        data_open[0] = true;
        run Guest();
        run Source();
        run Destination()
    }
}
