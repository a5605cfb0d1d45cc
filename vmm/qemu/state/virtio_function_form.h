// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/virtio.h"
#include "vmm/qemu/state/section_bytes.h"

/// How QEMU saves the PCI function that a virtio device is: PCI 3.0 6.7 and 6.8, PCI Express 7.8.
namespace drover::qemu::virtio_form {

using state::PartOrConst;

constexpr size_t conventional_configuration = 256; // bytes
constexpr size_t express_configuration = 4096;
constexpr uint32_t pci_form = 2;
constexpr size_t pins = 4;
constexpr size_t status_register = 0x06;
constexpr uint8_t has_capabilities = 0x10;
constexpr size_t first_capability = 0x34;
constexpr size_t lowest_capability = 0x40;
constexpr uint8_t msix_capability = 0x11;
constexpr uint8_t express_capability = 0x10;
constexpr size_t msix_control = 2; // behind the capability's begin
constexpr size_t most_vectors = 2048;

/// Where a capability begins; 0: there is none. A guest cannot make the list, but a file can.
inline size_t find_capability(const std::vector<uint8_t>& configuration, uint8_t wanted)
{
    if (configuration.size() < conventional_configuration ||
        (configuration[status_register] & has_capabilities) == 0)
        return 0;
    size_t at = configuration[first_capability];
    for (size_t seen = 0; seen < conventional_configuration / 4 && at >= lowest_capability &&
                          at + 3 < conventional_configuration;
         ++seen) {
        if (configuration[at] == wanted)
            return at;
        at = configuration[at + 1];
    }
    return 0;
}

inline size_t vectors_of(const std::vector<uint8_t>& configuration)
{
    const size_t at = find_capability(configuration, msix_capability);
    if (at == 0)
        return 0;
    const unsigned control = configuration[at + msix_control] |
                             static_cast<unsigned>(configuration[at + msix_control + 1]) << 8;
    return (control & (most_vectors - 1)) + 1;
}

template <class Io, PartOrConst<state::VirtioFunction> Self>
void map_configuration(Io& io, Self& function)
{
    io.constant(pci_form);
    if constexpr (Io::writes) {
        io.bytes(function.configuration, function.configuration.size());
    } else {
        io.bytes(function.configuration, conventional_configuration);
        std::vector<uint8_t> rest;
        if (find_capability(function.configuration, express_capability) != 0)
            io.bytes(rest, express_configuration - conventional_configuration);
        function.configuration.insert(function.configuration.end(), rest.begin(), rest.end());
    }
}

template <class Io, PartOrConst<state::VirtioFunction> Self>
void map_function(Io& io, Self& function)
{
    map_configuration(io, function);
    for (size_t pin = 0; pin < pins; ++pin) {
        uint32_t level = function.asserted >> pin & 1;
        io.number(level);
        if constexpr (!Io::writes) {
            if (level > 1)
                io.fail();
            function.asserted |= static_cast<uint8_t>(level << pin);
        }
    }
    if constexpr (!Io::writes)
        function.vectors.resize(vectors_of(function.configuration));
    for (auto& vector : function.vectors) {
        io.number(vector.address, ByteOrder::Little);
        io.number(vector.data, ByteOrder::Little);
        io.number(vector.control, ByteOrder::Little);
    }
    io.bytes(function.pending, (function.vectors.size() + 7) / 8);
}

} // namespace drover::qemu::virtio_form
