// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_wires.h"

namespace drover::xen {

namespace {

constexpr unsigned pci_devices = 32;
constexpr unsigned bits_a_word = 64;
constexpr unsigned isa_lines = 16;
/// The timer's line is only ever pulsed by Xen, and the slave's output is no wire of its own.
constexpr uint16_t unwired = 1U << 0 | 1U << 2;

template <class Visit> void for_each_wire(const std::vector<state::PciLines>& lines, Visit visit)
{
    for (const state::PciLines& line : lines)
        for (unsigned pin = 0; pin < pci_pins; ++pin)
            if ((line.asserted >> pin & 1) != 0)
                visit(line.devfn >> 3, pin);
}

} // namespace

std::vector<state::PciLines> pci_lines_of(const HvmPciIrq& wires)
{
    std::vector<state::PciLines> lines;
    for (unsigned device = 0; device < pci_devices; ++device) {
        const unsigned bit = device * pci_pins;
        const uint64_t pins = wires.asserted[bit / bits_a_word] >> bit % bits_a_word & 0xf;
        if (pins != 0)
            lines.push_back({.devfn = static_cast<uint8_t>(device << 3),
                             .asserted = static_cast<uint8_t>(pins)});
    }
    return lines;
}

HvmPciIrq pci_wires_of(const std::vector<state::PciLines>& lines)
{
    HvmPciIrq wires;
    for_each_wire(lines, [&wires](unsigned device, unsigned pin) {
        const unsigned bit = device * pci_pins + pin;
        wires.asserted[bit / bits_a_word] |= uint64_t{1} << bit % bits_a_word;
    });
    return wires;
}

uint16_t routed_lines(const state::PciRouting& routing)
{
    uint16_t routed = 0;
    for_each_wire(routing.lines, [&](unsigned device, unsigned pin) {
        const uint8_t line = routing.route[(device + pin) % routing.route.size()];
        if (line != 0 && line < isa_lines)
            routed |= static_cast<uint16_t>(1U << line);
    });
    return routed;
}

uint64_t direct_pins(const std::vector<state::PciLines>& lines)
{
    uint64_t pins = 0;
    for_each_wire(lines, [&pins](unsigned device, unsigned pin) {
        pins |= uint64_t{1} << (isa_lines + (device * pci_pins + (device >> 3) + pin) % 32);
    });
    return pins;
}

uint16_t isa_wires_of(uint16_t seen, const state::PciRouting& routing)
{
    return seen & static_cast<uint16_t>(~(unwired | routed_lines(routing)));
}

} // namespace drover::xen
