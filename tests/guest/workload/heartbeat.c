// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/// One datagram, little-endian as the guest is. tests/e2e/drover_e2e/heartbeat.py reads it.
struct __attribute__((packed)) heartbeat {
    char magic[4]; ///< "DHB1"
    uint8_t ready;
    uint8_t tcp_state;
    uint16_t reserved;
    uint64_t boot; ///< random, a new one at each start of the guest
    uint64_t sequence;
    uint64_t guest_ns;
    uint64_t pages_written;
    uint64_t pages_verified;
    uint64_t tcp_bytes;
    uint64_t disk_blocks;
    uint32_t memory_errors;
    uint32_t disk_errors;
};

static struct heartbeat compose(uint64_t boot, uint64_t sequence)
{
    struct heartbeat beat = {
        .magic = {'D', 'H', 'B', '1'},
        .ready = atomic_load(&counters.ready),
        .tcp_state = (uint8_t)atomic_load(&counters.tcp_state),
        .boot = boot,
        .sequence = sequence,
        .guest_ns = now_ns(),
        .pages_written = atomic_load(&counters.pages_written),
        .pages_verified = atomic_load(&counters.pages_verified),
        .tcp_bytes = atomic_load(&counters.tcp_bytes),
        .disk_blocks = atomic_load(&counters.disk_blocks),
        .memory_errors = (uint32_t)atomic_load(&counters.memory_errors),
        .disk_errors = (uint32_t)atomic_load(&counters.disk_errors),
    };
    return beat;
}

/// The host may answer a heartbeat with a command: "dirty N", "reboot" or "panic".
static void obey(int socket_fd)
{
    char text[64];
    ssize_t length = recv(socket_fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (length <= 0)
        return;
    text[length] = 0;
    unsigned rate = 0;
    if (sscanf(text, "dirty %u", &rate) == 1)
        atomic_store(&counters.dirty_rate, rate);
    else if (strcmp(text, "reboot") == 0)
        reboot_guest();
    else if (strcmp(text, "panic") == 0)
        panic_guest();
}

static void* beat_on(void* argument)
{
    const uint64_t tick = 1000000;
    int socket_fd = *(int*)argument;
    hurry();
    uint64_t boot = 0;
    if (getrandom(&boot, sizeof(boot), GRND_NONBLOCK) < 0)
        boot = now_ns(); // early in a boot; it only has to differ from that of the boot before
    uint64_t deadline = now_ns();
    for (uint64_t sequence = 0;; sequence++) {
        struct heartbeat beat = compose(boot, sequence);
        send(socket_fd, &beat, sizeof(beat), MSG_DONTWAIT); // a lost one is what it is to show
        if (sequence % 16 == 0)
            obey(socket_fd);
        deadline += tick;
        uint64_t now = now_ns();
        if (now > deadline)
            deadline = now; // those missed in a pause are not sent in a burst afterwards
        sleep_until(deadline);
    }
    return NULL;
}

void heartbeat_start(void)
{
    static int socket_fd;
    socket_fd = connect_to(options.heartbeat, SOCK_DGRAM);
    if (socket_fd < 0)
        give_up("drover.heartbeat: no way to %s", options.heartbeat);
    start_thread(beat_on, &socket_fd);
}
