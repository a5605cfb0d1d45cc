// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/state/blank_machine.h"
#include "vmm/qemu/state/machine_fields.h"

#include <gtest/gtest.h>

namespace drover::testing {

/// What the stock QEMU of this machine saves before its guest has run.
[[nodiscard]] inline std::vector<state::Device> blank_sections(std::vector<std::string> options)
{
    std::vector<std::string> command = {"qemu-system-x86_64", "-nodefaults", "-no-user-config",
                                        "-display", "none"};
    command.insert(command.end(), options.begin(), options.end());
    auto saved = qemu::save_blank_machine(std::move(command));
    EXPECT_TRUE(saved) << saved.error().text();
    auto file = FileBytes::of(std::move(*saved), "blank");
    EXPECT_TRUE(file);
    auto state = qemu::read_qemu_state(*file);
    EXPECT_TRUE(state) << state.error().text();
    auto sections = qemu::devices_of(*state, *file);
    EXPECT_TRUE(sections);
    return std::move(*sections);
}

/// A machine `pc` with two vCPUs and a device on the PCI bus.
[[nodiscard]] inline const std::vector<state::Device>& blank_pc()
{
    static const auto sections =
        blank_sections({"-M", "pc,hpet=off", "-accel", "tcg", "-m", "16", "-smp", "2", "-serial",
                        "null", "-device", "virtio-balloon-pci"});
    return sections;
}

} // namespace drover::testing
