// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/xen_watch.h"

#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace drover {

namespace {

constexpr std::chrono::milliseconds watch_period{1000};

bool write_line(const std::string& line)
{
    for (size_t done = 0; done < line.size();) {
        const ssize_t n = write(STDOUT_FILENO, line.data() + done, line.size() - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? static_cast<size_t>(n) : 0;
    }
    return true;
}

} // namespace

Status XenWatch::start()
{
    auto host = xen::XenHost::open();
    if (!host)
        return pass(host);
    host_ = std::move(*host);
    if (Status set = set_nonblocking(STDIN_FILENO, true); !set)
        return set;
    input_ = loop::watch(STDIN_FILENO, G_IO_IN, [this](GIOCondition) { asked(); });
    timer_ = loop::every(watch_period, [this] { tell_or_end(); });
    return tell();
}

void XenWatch::asked()
{
    std::array<char, 256> bytes;
    const ssize_t n = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (n > 0)
        return tell_or_end();
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    input_.reset();
    end_(0);
}

Status XenWatch::tell()
{
    auto report = host_->report();
    if (!report)
        return pass(report);
    const std::chrono::duration<double> now = Clock::now().time_since_epoch();
    (*report)["time"] = now.count();
    if (!write_line(dump_json(*report) + "\n"))
        return fail_errno("telling droverd about Xen", errno);
    return {};
}

void XenWatch::tell_or_end()
{
    if (Status told = tell(); !told) {
        log::error(told.error().text());
        end_(1);
    }
}

void XenWatch::defect_found(const Error& defect)
{
    log::error(defect.text());
    end_(1);
}

} // namespace drover
