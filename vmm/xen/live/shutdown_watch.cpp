// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/shutdown_watch.h"

#include <cerrno>
#include <cstdlib>
extern "C" {
#include <xenstore.h>
}

namespace drover::xen {

namespace {

constexpr const char* any_shutdown = "@releaseDomain";

} // namespace

Result<std::unique_ptr<ShutdownWatch>> ShutdownWatch::open(std::function<void()> changed)
{
    xs_handle* store = xs_open(0);
    if (!store)
        return fail_errno("connecting to xenstore", errno);
    std::unique_ptr<ShutdownWatch> watch(new ShutdownWatch(store, std::move(changed)));
    if (!xs_watch(store, any_shutdown, "drover"))
        return fail_errno("asking xenstore to tell of domains that stop", errno);
    watch->readable_ = loop::watch(xs_fileno(store), G_IO_IN,
                                   [ours = watch.get()](GIOCondition) { ours->read_events(); });
    return watch;
}

ShutdownWatch::ShutdownWatch(xs_handle* store, std::function<void()> changed)
    : store_(store), changed_(std::move(changed))
{
}

ShutdownWatch::~ShutdownWatch()
{
    readable_.reset();
    xs_close(store_);
}

void ShutdownWatch::resumed(uint32_t domain)
{
    xs_resume_domain(store_, domain);
}

void ShutdownWatch::read_events()
{
    while (char** event = xs_check_watch(store_))
        free(event); // one block, the words within
    changed_();
}

} // namespace drover::xen
