// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <fcntl.h>
#include <unistd.h>

enum { AT_ONCE = 16 };

/// A read waits for the device, so that one that does not answer any more stops the count.
static void* read_entropy(void* argument)
{
    (void)argument;
    int fd = open("/dev/hwrng", O_RDONLY);
    if (fd < 0)
        give_up("drover.entropy: /dev/hwrng is missing");
    for (;;) {
        unsigned char bytes[AT_ONCE];
        ssize_t got = read(fd, bytes, sizeof(bytes));
        if (got > 0)
            atomic_fetch_add(&counters.entropy_bytes, (uint64_t)got);
        sleep_until(now_ns() + 200000000);
    }
    return NULL;
}

void entropy_start(void)
{
    start_thread(read_entropy, NULL);
}
