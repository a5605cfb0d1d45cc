// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/standstill.h"

#include "util/clock.h"
#include "util/defect.h"
#include "vmm/qemu/tracker/tracees.h"

#include <csignal>
#include <future>

namespace drover {

struct Standstill::Shared {
    std::promise<Result<bool>> still;
    std::promise<void> over;
};

namespace {

Result<bool> stop_all(Tracees& tracees, TimePoint deadline)
{
    while (true) {
        // A thread may have made another before it stopped.
        const auto more = tracees.seize_new();
        if (!more)
            return std::unexpected(more.error());
        if (!*more)
            return tracees.are_of_the_process();
        const auto stopped = tracees.await_stops(deadline);
        if (!stopped || !*stopped)
            return stopped;
    }
}

} // namespace

void Standstill::prepare_process()
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &child, nullptr);
}

Result<bool> Standstill::begin()
{
    shared_ = std::make_shared<Shared>();
    auto still = shared_->still.get_future();
    tracer_ = std::thread([&process = process_, shared = shared_] {
        Tracees tracees(process);
        Result<bool> result = false;
        Status sound = defects::guarded([&]() -> Status {
            result = stop_all(tracees, Clock::now() + limit);
            return {};
        });
        if (!sound)
            result = pass(sound);
        const bool holds = result && *result;
        if (!holds)
            tracees.let_go();
        shared->still.set_value(std::move(result));
        if (holds) {
            shared->over.get_future().wait();
            tracees.let_go();
        }
    });
    auto result = still.get();
    if (!result || !*result)
        tracer_.join();
    return result;
}

void Standstill::go_on()
{
    if (!tracer_.joinable())
        return;
    shared_->over.set_value();
    tracer_.join();
}

} // namespace drover
