// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/xen/state/xen_state.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace drover::xen {

/// A HVM domain of this host, by Xen's stable calls to its hypervisor; from Dom0. Any thread, but
/// for what changes its run state.
class XenDomain {
public:
    [[nodiscard]] static Result<std::unique_ptr<XenDomain>> open(uint32_t id);
    ~XenDomain();
    XenDomain(const XenDomain&) = delete;
    XenDomain& operator=(const XenDomain&) = delete;

    struct Info {
        bool paused = false;
        bool suspended = false; ///< by suspend()
        bool dying = false;
        uint64_t pages = 0; ///< all that it has
        unsigned vcpus = 0;
    };
    [[nodiscard]] Result<Info> info() const;
    [[nodiscard]] uint32_t id() const { return id_; }

    /// Lets it stand still when no vCPU waits for its device model any more: not at once, info()
    /// says when. A mere pause would have an access to a device in flight, which is nowhere saved.
    [[nodiscard]] Status suspend();
    [[nodiscard]] Status resume();
    [[nodiscard]] Status pause();
    [[nodiscard]] Status unpause();

    /// The hypervisor's part of the machine's state, as hvm_records.h reads it.
    struct Context {
        std::vector<std::byte> bytes;
        int64_t taken = 0; ///< real time, ns: that of its counters
    };
    [[nodiscard]] Result<Context> context() const;
    [[nodiscard]] Result<uint64_t> param(uint32_t index) const;
    /// One record of that, of at most `most` bytes: the guest stands still for some microseconds.
    [[nodiscard]] Result<std::vector<std::byte>> record(uint16_t type, size_t most) const;
    /// How fast its time-stamp counter counts.
    [[nodiscard]] Result<uint32_t> tsc_khz() const;

    /// The highest frame at which it has anything.
    [[nodiscard]] Result<uint64_t> last_frame() const;
    /// Reads frames that follow each other; zeros where the guest has none. `there`, if not empty,
    /// gets for each whether it has it.
    [[nodiscard]] Status read(uint64_t first_frame, std::span<std::byte> into,
                              std::span<bool> there = {}) const;

    /// Of a domain that stands still: gives it that state, all of it.
    [[nodiscard]] Status set_context(std::span<const std::byte> context);
    [[nodiscard]] Status set_tsc(const TscInfo& tsc);
    /// Gives it memory at these frames.
    [[nodiscard]] Status populate(std::span<const uint64_t> frames);
    /// Its frames from `first` on, to be written here until unmap(); `there` gets for each whether
    /// it has it.
    [[nodiscard]] Result<std::byte*> map(uint64_t first, std::span<bool> there) const;
    void unmap(std::byte* map, size_t frames) const;

    [[nodiscard]] Status start_log();
    void stop_log();
    /// The frames [0, 64 * words.size()) that were written since they were last asked for.
    [[nodiscard]] Status take_log(std::span<uint64_t> words);

private:
    struct Handles;
    XenDomain(uint32_t id, std::unique_ptr<Handles> handles);

    uint32_t id_;
    std::unique_ptr<Handles> handles_;
};

} // namespace drover::xen
