// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/byte_source.h"
#include "vmm/xen/state/hvm_records.h"
#include "vmm/xen/state/model_sections.h"
#include "vmm/xen/state/page_index.h"

#include <memory>

namespace drover::xen {

struct HvmParam {
    uint64_t index = 0;
    uint64_t value = 0;
};

/// X86_TSC_INFO.
struct TscInfo {
    uint32_t mode = 0;    ///< 0 default, 1 always emulated, 2 native
    uint32_t khz = 0;     ///< 0: not told
    uint64_t elapsed = 0; ///< ns
    uint32_t incarnation = 0;
};

/// A paused HVM guest that is in a file: what `xl save` makes.
struct XenState {
    Json config; ///< xl's, of the guest
    uint32_t xen_major = 0;
    uint32_t xen_minor = 0;
    PageIndex pages;
    std::vector<std::byte> cpuid_policy;
    std::vector<std::byte> msr_policy;
    std::optional<TscInfo> tsc;
    std::vector<HvmParam> params;
    HvmContext hvm;
    std::vector<ModelSection> model;
    std::vector<std::string> xenstore; ///< keys and values in turn, of the device model
};

/// Of xl's magic at the beginning.
[[nodiscard]] bool is_xen_save(const ByteSource& source);

/// Of a file that nobody vouches for. Errors are of kind Protocol where the format is broken, and
/// Refused for what is not read (PV guests, Xen's format before 4.6), by name.
[[nodiscard]] Result<XenState> read_xen_state(const ByteSource& source);

/// The frames that are in the file, those of Xen's own use too. Both must outlive it.
class XenPages : public state::GuestPages {
public:
    XenPages(const XenState& state, const ByteSource& source)
        : index_(state.pages), source_(source), ranges_(state.pages.ranges())
    {
    }
    [[nodiscard]] const std::vector<state::FrameRange>& ranges() const override { return ranges_; }
    [[nodiscard]] Status read(uint64_t frame, state::FrameBytes target) const override;
    [[nodiscard]] bool is_zero(uint64_t frame) const override;

private:
    const PageIndex& index_;
    const ByteSource& source_;
    std::vector<state::FrameRange> ranges_;
};

} // namespace drover::xen
