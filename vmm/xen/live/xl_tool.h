// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/state/pc_memory.h"
#include "vmm/xen/state/xen_save.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::xen {

/// Runs Xen's tool `xl` and waits for it; what it printed.
[[nodiscard]] Result<std::string> run_xl(std::vector<std::string> words);

/// A domain of this host, as xl knows it.
struct XlDomain {
    uint32_t id = 0;
    std::string name;
    qemu::PcMemory layout;
};
/// By name or number. Refused: one whose memory is not all there (maxmem).
[[nodiscard]] Result<XlDomain> find_domain(const std::string& name);

/// The number of the domain of this name; nothing only where Xen's tools work and know none.
[[nodiscard]] Result<std::optional<uint32_t>> look_for_domain(const std::string& name);
/// The same of one that has to be there.
[[nodiscard]] Result<uint32_t> domain_id(const std::string& name);
/// Of what `xl list` prints.
[[nodiscard]] std::optional<uint32_t> find_in_list(std::string_view list, std::string_view name);

/// What a configuration file of xl's says, as libxl understands it. No domain is made.
[[nodiscard]] Result<Json> read_xl_config(const std::string& file);
/// The same of a text, by way of a file that is gone afterwards.
[[nodiscard]] Result<Json> read_xl_text(const std::string& text);

/// The guest of a configuration that read_xl_config() has read.
[[nodiscard]] Result<XenGuest> guest_of_config(Json config);

/// Whether the device model of a domain with that configuration can be started before there is its
/// state: xl gives it nothing that it has to look at, and waits for it by xenstore.
[[nodiscard]] bool model_can_wait(const Json& config);

} // namespace drover::xen
