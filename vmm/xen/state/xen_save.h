// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/guest_pages.h"
#include "util/byte_sink.h"
#include "vmm/xen/state/xen_machine.h"

namespace drover::xen {

/// What Xen's tools have to know of a guest besides its state.
struct XenGuest {
    std::string name;
    std::string uuid;    ///< 8-4-4-4-12 hexadecimal digits
    uint64_t memory = 0; ///< bytes
    /// Put over the configuration that is made up, member by member (RFC 7386): disks, nics,
    /// b_info's "type.hvm" with its serial, and so on, as `xl list -l` shows them.
    Json config = Json::object();
    /// Which CPU the guest sees, as an `xl save` of that Xen has it; empty: by the configuration.
    std::vector<std::byte> cpuid_policy = {};
    std::vector<std::byte> msr_policy = {};
};

/// xl's configuration of a guest without graphics, HPET or Xen's paravirtual devices.
[[nodiscard]] Json xl_config(const XenGuest& guest, size_t vcpus, bool native_tsc);

/// Frames of Xen's own (0xfeff0 …), and such where the guest has no memory.
[[nodiscard]] bool is_xens_own(uint64_t frame);

/// If the guest's TSC has a speed that is known, Xen makes it so, be it by emulation.
[[nodiscard]] TscInfo tsc_info_of(const WrittenMachine& machine);

/// A stream for `xl migrate-receive`, or a file for `xl restore`, piece by piece: begin(), pages in
/// any order, also again, and end(). One thread at a time.
class SaveStream {
public:
    /// The first two must outlive it.
    SaveStream(const XenGuest& guest, ByteSink& sink) : guest_(guest), sink_(sink) {}

    void begin(size_t vcpus, bool native_tsc);
    /// Where Xen has its own pages (0xfeff0 …), or none, nothing is taken.
    void page(uint64_t frame, std::span<const std::byte> contents);
    /// Frames of zeroes, which were not written before.
    void populate(uint64_t first, uint64_t count);
    [[nodiscard]] Status end(const WrittenMachine& machine);

    /// Instead of that: a domain of which no vCPU is ready to run, and whose device model has no
    /// state. To its last record, which is end_blank().
    [[nodiscard]] Status write_blank();
    [[nodiscard]] Status end_blank();

private:
    void write_record(uint32_t type, std::span<const std::byte> body);
    void write_xl_header(size_t vcpus, bool native_tsc);
    void write_libxc_header();
    void hold(uint64_t entry, std::span<const std::byte> contents);
    void write_held_pages();
    void write_own_pages();
    void write_tsc_info(const TscInfo& tsc);
    void write_params();
    void write_model_record(std::span<const ModelSection> model);

    const XenGuest& guest_;
    ByteSink& sink_;
    std::vector<uint64_t> entries_;   ///< of the record that is being filled
    std::vector<std::byte> contents_; ///< theirs
};

/// Writes a file for `xl restore`, or a stream for `xl migrate-receive`, from the guest's pages
/// and what write_machine() has made of its state. Pages where Xen has its own (0xfeff0 …) are not
/// taken.
[[nodiscard]] Status write_xen_save(const WrittenMachine& machine, const state::GuestPages& pages,
                                    const XenGuest& guest, ByteSink& sink);

} // namespace drover::xen
