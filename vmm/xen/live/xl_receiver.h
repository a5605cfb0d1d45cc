// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/loop.h"
#include "util/result.h"

#include <functional>
#include <gio/gio.h>
#include <memory>
#include <string>
#include <string_view>

namespace drover::xen {

/// `xl migrate-receive`: makes a domain of the stream that is written to it, asks whether it may
/// run it, and destroys it again if the answer does not come, also where that is because we have
/// died. Destroying this breaks the stream.
/// Loop thread only, but for the stream itself.
class XlReceiver {
public:
    struct Callbacks {
        std::function<void()> ready;          ///< to be written to
        std::function<void()> received;       ///< the guest is complete, and paused
        std::function<void(bool runs)> ended; ///< after permit(): whether xl runs it
        /// xl has ended before any such word. Only one that was killed leaves a domain behind.
        std::function<void(Error, bool killed)> failed;
    };

    [[nodiscard]] static Result<std::unique_ptr<XlReceiver>> start(Callbacks callbacks);
    ~XlReceiver();
    XlReceiver(const XlReceiver&) = delete;
    XlReceiver& operator=(const XlReceiver&) = delete;

    /// To write the stream to, which blocks; from any thread. Fails once this is destroyed.
    [[nodiscard]] Result<UniqueFd> stream() const { return input_.duplicate(); }
    /// xl destroys what it has, and ends: failed() tells when.
    void break_off();
    /// The guest is ours: xl runs it. Fails where xl is no more.
    [[nodiscard]] Status permit();

private:
    XlReceiver(UniqueFd input, UniqueFd output, Callbacks callbacks);
    void wait_for(GSubprocess* xl);
    void exited(bool killed);
    void read_output();
    void heard();
    [[nodiscard]] bool take(std::string_view words);

    enum class Phase { Starting, Receiving, Received, Permitted, Over };
    Phase phase_ = Phase::Starting;
    UniqueFd input_;
    UniqueFd output_;
    Callbacks callbacks_;
    loop::Source watch_;
    std::string said_; ///< and not understood yet
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::xen
