// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/hvm_chip_layout.h"
#include "vmm/xen/state/model_sections.h"

#include <string>

namespace drover::testing {

/// Writes little-endian and big-endian numbers by hand, as Xen's formats say.
class XenBytes {
public:
    XenBytes& little(unsigned bytes, uint64_t value)
    {
        for (unsigned i = 0; i < bytes; ++i)
            text_ += static_cast<char>(value >> (8 * i));
        return *this;
    }
    XenBytes& big(unsigned bytes, uint64_t value)
    {
        for (unsigned i = bytes; i-- > 0;)
            text_ += static_cast<char>(value >> (8 * i));
        return *this;
    }
    XenBytes& raw(std::string_view text)
    {
        text_ += text;
        return *this;
    }
    XenBytes& raw(std::span<const std::byte> bytes)
    {
        return raw(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
    XenBytes& record(uint32_t type, std::string_view body)
    {
        little(4, type).little(4, body.size()).raw(body);
        while (text_.size() % 8 != start_ % 8)
            text_ += '\0';
        return *this;
    }
    /// Records are filled up from here.
    XenBytes& align()
    {
        start_ = text_.size();
        return *this;
    }
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    std::string text_;
    size_t start_ = 0;
};

/// What is in the file besides the state.
struct XenFileOptions {
    std::string config = R"({"c_info": {"name": "small"}})";
    uint32_t mandatory = 3;
    uint32_t libxl_options = 0;
    uint32_t guest_type = 2;
    std::string more_libxc; ///< records before the pages
};

/// Records as Xen would have them of a guest that was born on it, with any legal values.
[[nodiscard]] xen::HvmContext legal_context(uint64_t seed, uint16_t vcpus);
/// With Xen's own ports of power management, or QEMU's.
[[nodiscard]] std::vector<xen::ModelSection> small_model(bool born_on_xen = true);
/// Four pages: frame 0 holds 'a', 1 first 'x' and later 'b', 5 is gone again, 9 only allocated.
[[nodiscard]] std::string xen_file(const xen::HvmContext& context,
                                   const std::vector<xen::ModelSection>& model,
                                   const XenFileOptions& options = {});
[[nodiscard]] std::string small_xen_file();

} // namespace drover::testing
