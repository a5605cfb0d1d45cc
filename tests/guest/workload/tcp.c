// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 1024 };

/// The byte at an offset of the stream, so that a lost, doubled or changed one is found.
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)((offset * 0x9e3779b97f4a7c15) >> 56);
}

static bool send_chunk(int socket_fd, uint64_t offset)
{
    uint8_t bytes[CHUNK];
    for (unsigned i = 0; i < CHUNK; i++)
        bytes[i] = byte_at(offset + i);
    for (size_t sent = 0; sent < CHUNK;) {
        ssize_t count = send(socket_fd, bytes + sent, CHUNK - sent, MSG_NOSIGNAL);
        if (count <= 0)
            return false;
        sent += (size_t)count;
    }
    return true;
}

static enum tcp_state check_echo(int socket_fd, uint64_t offset)
{
    uint8_t bytes[CHUNK];
    if (recv(socket_fd, bytes, CHUNK, MSG_WAITALL) != CHUNK)
        return TCP_BROKEN;
    for (unsigned i = 0; i < CHUNK; i++)
        if (bytes[i] != byte_at(offset + i))
            return TCP_CORRUPT;
    return TCP_OPEN;
}

/// One connection for the guest's whole life: a kilobyte each ten milliseconds, sent back by the
/// host and verified. It is never opened a second time.
static void* converse(void* argument)
{
    (void)argument;
    atomic_store(&counters.tcp_state, TCP_CONNECTING);
    int socket_fd = connect_to(options.tcp, SOCK_STREAM);
    enum tcp_state state = socket_fd < 0 ? TCP_BROKEN : TCP_OPEN;
    uint64_t offset = 0;
    uint64_t deadline = now_ns();
    while (state == TCP_OPEN) {
        atomic_store(&counters.tcp_state, TCP_OPEN);
        state = send_chunk(socket_fd, offset) ? check_echo(socket_fd, offset) : TCP_BROKEN;
        if (state == TCP_OPEN)
            offset += CHUNK;
        atomic_store(&counters.tcp_bytes, offset);
        uint64_t now = now_ns();
        deadline += 10000000;
        if (now > deadline)
            deadline = now;
        sleep_until(deadline);
    }
    atomic_store(&counters.tcp_state, state);
    say("CORRUPT tcp: the connection to %s %s", options.tcp,
        state == TCP_CORRUPT ? "brought wrong bytes" : "broke");
    return NULL;
}

void tcp_start(void)
{
    start_thread(converse, NULL);
}
