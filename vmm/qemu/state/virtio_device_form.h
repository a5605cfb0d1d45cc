// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/virtio.h"
#include "vmm/qemu/state/section_bytes.h"

/// What QEMU saves of each kind of virtio device that the others have not.
namespace drover::qemu::virtio_form {

using state::PartOrConst;
using state::Virtio;
using state::VirtioKind;

constexpr size_t most_queue_pairs = 1024;
constexpr size_t most_requests = 4096;
constexpr size_t most_segments = 1024;
constexpr size_t most_macs = 4096;

/// Bytes of the device's configuration as a number: little-endian, as virtio has it.
inline uint16_t configured(const Virtio& device, size_t at)
{
    if (at + 2 > device.configuration.size())
        return 0;
    return static_cast<uint16_t>(device.configuration[at] |
                                 static_cast<unsigned>(device.configuration[at + 1]) << 8);
}

/// QEMU saves its own struct here, with places for 1,024 segments of either direction.
template <class Io, class Segments> void map_addresses(Io& io, Segments& segments)
{
    for (auto& segment : segments)
        io.number(segment.address, ByteOrder::Little);
    io.zeros((most_segments - segments.size()) * sizeof(uint64_t));
}

template <class Io, class Segments> void map_lengths(Io& io, Segments& segments)
{
    for (auto& segment : segments) {
        io.zeros(sizeof(uint64_t)); // a place for a pointer
        io.number(segment.size, ByteOrder::Little);
    }
    io.zeros((most_segments - segments.size()) * 2 * sizeof(uint64_t));
}

template <class Io, PartOrConst<state::VirtioRequest> Self>
void map_request(Io& io, bool has_queues, Self& request)
{
    if (has_queues)
        io.number(request.queue);
    auto readable = static_cast<uint32_t>(request.readable.size());
    auto writable = static_cast<uint32_t>(request.writable.size());
    io.number(request.head, ByteOrder::Little);
    io.number(readable, ByteOrder::Little);
    io.number(writable, ByteOrder::Little);
    if constexpr (!Io::writes) {
        if (readable > most_segments || writable > most_segments)
            io.fail();
        request.readable.resize(io.good() ? readable : 0);
        request.writable.resize(io.good() ? writable : 0);
    }
    io.zeros(sizeof(uint32_t));
    map_addresses(io, request.writable);
    map_addresses(io, request.readable);
    map_lengths(io, request.writable);
    map_lengths(io, request.readable);
}

template <class Io, PartOrConst<Virtio> Self> void map_block(Io& io, Self& device)
{
    const bool has_queues = device.queues.size() > 1;
    if constexpr (Io::writes) {
        for (const auto& request : device.requests) {
            io.constant(true);
            map_request(io, has_queues, request);
        }
        io.constant(false);
    } else {
        for (bool more = true; more && io.good();) {
            io.number(more);
            if (device.requests.size() == most_requests)
                io.fail();
            if (more && io.good())
                map_request(io, has_queues, device.requests.emplace_back());
        }
    }
}

template <class Io, PartOrConst<state::VirtioNet> Self> void map_filters(Io& io, Self& net)
{
    static constexpr size_t mac_size = 6;
    static constexpr size_t vlan_size = 512;
    auto macs = static_cast<uint32_t>(net.macs.size() / mac_size);
    io.number(macs);
    if constexpr (!Io::writes)
        if (macs > most_macs) {
            io.fail();
            macs = 0;
        }
    io.bytes(net.macs, macs * mac_size);
    io.bytes(net.vlans, vlan_size);
    auto has_header = static_cast<uint32_t>(net.has_header);
    io.number(has_header);
    if constexpr (!Io::writes) {
        if (has_header > 1)
            io.fail();
        net.has_header = has_header == 1;
    }
    io.number(net.multicast_overflow);
    io.number(net.unicast_overflow);
    io.number(net.all_unicast);
    io.number(net.no_multicast);
    io.number(net.no_unicast);
    io.number(net.no_broadcast);
    io.number(net.has_ufo);
}

template <class Io, PartOrConst<state::VirtioNet> Self>
void map_pairs(Io& io, const Virtio& device, Self& net)
{
    static constexpr size_t pairs_place =
        8; // once its driver has looked: else it is not understood
    if (configured(device, pairs_place) <= 1)
        return;
    io.number(net.most_queue_pairs);
    io.number(net.queue_pairs);
    if constexpr (!Io::writes) {
        if (net.queue_pairs == 0 || net.queue_pairs > net.most_queue_pairs ||
            net.queue_pairs > most_queue_pairs)
            io.fail();
        net.transmit_waits.resize(io.good() ? net.queue_pairs : 1);
    }
    for (size_t pair = 1; pair < net.transmit_waits.size(); ++pair)
        io.number(net.transmit_waits[pair]);
}

template <class Io, PartOrConst<Virtio> Self> void map_net(Io& io, Self& device)
{
    static constexpr uint64_t chooses_offloads = 1U << 2;
    if constexpr (!Io::writes) {
        device.net.resize(1);
        device.net[0].transmit_waits.resize(1);
    }
    auto& net = device.net[0];
    for (auto& byte : net.mac)
        io.number(byte);
    io.number(net.transmit_waits[0]);
    auto mergeable = static_cast<uint32_t>(net.mergeable_buffers);
    io.number(mergeable);
    if constexpr (!Io::writes) {
        if (mergeable > 1)
            io.fail();
        net.mergeable_buffers = mergeable == 1;
    }
    io.number(net.status);
    io.number(net.promiscuous);
    io.number(net.all_multicast);
    map_filters(io, net);
    map_pairs(io, device, net);
    if ((device.features & chooses_offloads) != 0)
        io.number(net.offloads);
}

template <class Io, PartOrConst<Virtio> Self> void map_own(Io& io, Self& device)
{
    switch (device.device) {
    case VirtioKind::Net: return map_net(io, device);
    case VirtioKind::Block: return map_block(io, device);
    case VirtioKind::Entropy: return;
    case VirtioKind::Balloon:
        if constexpr (!Io::writes)
            device.balloon.resize(1);
        io.number(device.balloon[0].wanted);
        io.number(device.balloon[0].given);
    }
}

} // namespace drover::qemu::virtio_form
