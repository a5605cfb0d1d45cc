// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "migration/state/fw_cfg.h"
#include "migration/state/serial.h"
#include "util/result.h"

#include <optional>
#include <span>

namespace drover::qemu {

constexpr std::string_view serial_name = "serial";
constexpr std::string_view fw_cfg_name = "fw_cfg";
constexpr uint32_t serial_section_version = 3;
constexpr uint32_t fw_cfg_section_version = 2;

/// Of a section's contents, QEMU's or Xen's device model's. Nothing if there is more in it: bytes
/// that wait in the port's FIFOs, timers that run. Such a section goes on as a device of QEMU's.
[[nodiscard]] std::optional<state::Serial> read_serial(uint32_t instance, uint32_t version,
                                                       std::span<const std::byte> contents);
[[nodiscard]] std::vector<std::byte> serial_bytes(const state::Serial& serial);
/// Into the section that the QEMU that is to load it has saved.
[[nodiscard]] Status write_serial(const state::Serial& serial, state::Device& section);

/// Of a section whose fields are named. Nothing if one is not known.
[[nodiscard]] std::optional<state::FwCfg> read_fw_cfg(const state::Device& section);
[[nodiscard]] Status write_fw_cfg(const state::FwCfg& fw_cfg, state::Device& section);

} // namespace drover::qemu
