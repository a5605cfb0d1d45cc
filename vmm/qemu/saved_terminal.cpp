// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/saved_terminal.h"

#include <csignal>
#include <unistd.h>

namespace drover::qemu {

SavedTerminal::SavedTerminal()
{
    termios now{};
    if (tcgetattr(STDIN_FILENO, &now) == 0)
        saved_ = now;
}

void SavedTerminal::restore() const
{
    if (!saved_ || tcgetpgrp(STDIN_FILENO) != getpgrp())
        return;
    // Should it become another's between the look and this, changing it would stop us.
    sigset_t stop;
    sigset_t before;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &stop, &before);
    tcsetattr(STDIN_FILENO, TCSANOW, &*saved_);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

} // namespace drover::qemu
