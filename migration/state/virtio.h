// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// What a virtio device is reached by: virtio 1.2, 4.1 and 4.2.
enum class VirtioTransport : uint8_t { Pci, Mmio };
[[nodiscard]] std::string_view to_string(VirtioTransport transport);
[[nodiscard]] constexpr bool is_one_of(VirtioTransport transport)
{
    return transport <= VirtioTransport::Mmio;
}

/// What a virtio device does; the number is the specification's.
enum class VirtioKind : uint16_t { Net = 1, Block = 2, Entropy = 4, Balloon = 5 };
[[nodiscard]] std::string_view to_string(VirtioKind kind);
[[nodiscard]] constexpr bool is_one_of(VirtioKind kind)
{
    return kind == VirtioKind::Net || kind == VirtioKind::Block || kind == VirtioKind::Entropy ||
           kind == VirtioKind::Balloon;
}

struct MsixVector {
    uint64_t address = 0;
    uint32_t data = 0;
    uint32_t control = 0; ///< bit 0: masked
};

template <class Visitor, PartOrConst<MsixVector> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"address", "", "PCI 3.0 6.8.2"}, it.address);
    visitor.field({"data", "", "PCI 3.0 6.8.2"}, it.data);
    visitor.field({"control", "", "PCI 3.0 6.8.2"}, it.control);
}

/// The PCI function that a virtio device is; of one that is none, all is empty.
struct VirtioFunction {
    std::vector<uint8_t> configuration; ///< 256 bytes, 4096 of PCI Express
    uint8_t asserted = 0;               ///< interrupt lines: bit 0 is INTA
    std::vector<MsixVector> vectors;
    std::vector<uint8_t> pending; ///< a bit a vector
};

template <class Visitor, PartOrConst<VirtioFunction> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"configuration", "", "PCI 3.0 6.1"}, it.configuration);
    visitor.field({"asserted", "", "PCI 3.0 2.2.6"}, it.asserted);
    visitor.field({"vectors", "", "PCI 3.0 6.8.2"}, it.vectors);
    visitor.field({"pending", "", "PCI 3.0 6.8.2.9"}, it.pending);
}

/// What the driver has written into a queue's registers; the device takes it when the queue is
/// enabled. Of a transport that is only a legacy one, all is zero.
struct VirtioQueueSetup {
    uint16_t size = 0; ///< descriptors
    bool enabled = false;
    uint64_t descriptors = 0; ///< guest addresses of the three areas
    uint64_t driver_area = 0;
    uint64_t device_area = 0;
};

template <class Visitor, PartOrConst<VirtioQueueSetup> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field({"size", "descriptors", "virtio 1.2, 4.1.4.3"}, it.size);
    visitor.field({"enabled", "", "virtio 1.2, 4.1.4.3"}, it.enabled);
    visitor.field({"descriptors", "", "virtio 1.2, 4.1.4.3"}, it.descriptors);
    visitor.field({"driver-area", "", "virtio 1.2, 4.1.4.3"}, it.driver_area);
    visitor.field({"device-area", "", "virtio 1.2, 4.1.4.3"}, it.device_area);
}

/// A split virtqueue as the device uses it. How far the device has come in answering stands in the
/// guest's memory, in the used ring.
struct VirtioQueue {
    uint32_t size = 0;      ///< descriptors
    uint32_t largest = 0;   ///< that the device offers
    uint32_t alignment = 0; ///< bytes; 0 where the transport leaves no choice
    uint64_t descriptors = 0;
    uint64_t available =
        0;               ///< guest address of the available ring; 0: follows from the legacy form
    uint64_t used = 0;   ///< of the used ring
    uint16_t next = 0;   ///< index in the available ring of what the device takes next
    uint16_t vector = 0; ///< of MSI-X; 0xffff: none
    VirtioQueueSetup setup;
};

template <class Visitor, PartOrConst<VirtioQueue> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"size", "descriptors", "virtio 1.2, 2.7"}, it.size);
    visitor.field({"largest", "descriptors", "virtio 1.2, 4.1.4.3"}, it.largest);
    visitor.field({"alignment", "bytes", "virtio 1.2, 4.2.4"}, it.alignment);
    visitor.field({"descriptors", "", "virtio 1.2, 2.7.5"}, it.descriptors);
    visitor.field({"available", "", "virtio 1.2, 2.7.6"}, it.available);
    visitor.field({"used", "", "virtio 1.2, 2.7.8"}, it.used);
    visitor.field({"next", "entries", "virtio 1.2, 2.7.6"}, it.next);
    visitor.field({"vector", "", "virtio 1.2, 4.1.4.3"}, it.vector);
    visitor.field({"setup", "", "virtio 1.2, 4.1.4.3"}, it.setup);
}

/// Guest memory that a request reads or fills.
struct VirtioSegment {
    uint64_t address = 0;
    uint64_t size = 0; ///< bytes
};

template <class Visitor, PartOrConst<VirtioSegment> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"address", "", "virtio 1.2, 2.7.5"}, it.address);
    visitor.field({"size", "bytes", "virtio 1.2, 2.7.5"}, it.size);
}

/// A disk request that the device has taken and not answered. It is done again, from its beginning.
struct VirtioRequest {
    uint32_t queue = 0;
    uint32_t head = 0;                   ///< its first descriptor
    std::vector<VirtioSegment> readable; ///< by the device
    std::vector<VirtioSegment> writable;
};

template <class Visitor, PartOrConst<VirtioRequest> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"queue", "", "virtio 1.2, 5.2.2"}, it.queue);
    visitor.field({"head", "", "virtio 1.2, 2.7.6"}, it.head);
    visitor.field({"readable", "", "virtio 1.2, 5.2.6"}, it.readable);
    visitor.field({"writable", "", "virtio 1.2, 5.2.6"}, it.writable);
}

/// What a network device lets through, and how.
struct VirtioNet {
    std::array<uint8_t, 6> mac = {};
    uint16_t status = 0; ///< bit 0: the link is up
    bool mergeable_buffers = false;
    bool has_header = false; ///< its backend takes the guest's headers with checksums to be made
    bool has_ufo = false;    ///< its backend fragments UDP
    bool promiscuous = false;
    bool all_multicast = false;
    bool all_unicast = false;
    bool no_multicast = false;
    bool no_unicast = false;
    bool no_broadcast = false;
    bool multicast_overflow = false; ///< more addresses were asked for than the table holds
    bool unicast_overflow = false;
    std::vector<uint8_t> macs;  ///< 6 bytes each
    std::vector<uint8_t> vlans; ///< 512 bytes: a bit each of 4,096 networks, by 32-bit words
    uint16_t queue_pairs = 1;   ///< in use
    uint16_t most_queue_pairs = 1;
    std::vector<uint32_t> transmit_waits; ///< one a pair in use: 1: its queue is to be looked at
    uint64_t offloads = 0; ///< that the guest lets the device do, where it was given the choice
};

template <class Visitor, PartOrConst<VirtioNet> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"mac", "", "virtio 1.2, 5.1.4"}, it.mac);
    visitor.field({"status", "", "virtio 1.2, 5.1.4"}, it.status);
    visitor.field({"mergeable-buffers", "", "virtio 1.2, 5.1.3"}, it.mergeable_buffers);
    visitor.field({"has-header", "", "virtio 1.2, 5.1.6"}, it.has_header);
    visitor.field({"has-ufo", "", "virtio 1.2, 5.1.3"}, it.has_ufo);
    visitor.field({"promiscuous", "", "virtio 1.2, 5.1.6.5.1"}, it.promiscuous);
    visitor.field({"all-multicast", "", "virtio 1.2, 5.1.6.5.1"}, it.all_multicast);
    visitor.field({"all-unicast", "", "virtio 1.2, 5.1.6.5.1"}, it.all_unicast);
    visitor.field({"no-multicast", "", "virtio 1.2, 5.1.6.5.1"}, it.no_multicast);
    visitor.field({"no-unicast", "", "virtio 1.2, 5.1.6.5.1"}, it.no_unicast);
    visitor.field({"no-broadcast", "", "virtio 1.2, 5.1.6.5.1"}, it.no_broadcast);
    visitor.field({"multicast-overflow", "", "virtio 1.2, 5.1.6.5.2"}, it.multicast_overflow);
    visitor.field({"unicast-overflow", "", "virtio 1.2, 5.1.6.5.2"}, it.unicast_overflow);
    visitor.field({"macs", "", "virtio 1.2, 5.1.6.5.2"}, it.macs);
    visitor.field({"vlans", "", "virtio 1.2, 5.1.6.5.3"}, it.vlans);
    visitor.field({"queue-pairs", "pairs", "virtio 1.2, 5.1.6.5.6"}, it.queue_pairs);
    visitor.field({"most-queue-pairs", "pairs", "virtio 1.2, 5.1.4"}, it.most_queue_pairs);
    visitor.field({"transmit-waits", "", "ours"}, it.transmit_waits);
    visitor.field({"offloads", "", "virtio 1.2, 5.1.6.5.6.1"}, it.offloads);
}

struct VirtioBalloon {
    uint32_t wanted = 0; ///< pages of 4 KiB
    uint32_t given = 0;
};

template <class Visitor, PartOrConst<VirtioBalloon> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"wanted", "pages", "virtio 1.2, 5.5.4"}, it.wanted);
    visitor.field({"given", "pages", "virtio 1.2, 5.5.4"}, it.given);
}

/// A virtio device with split queues. Kind "virtio", version 1.
struct Virtio {
    static constexpr const char* kind = "virtio";
    static constexpr uint32_t version = 1;

    std::string place; ///< "0000:00:04.0" (PCI), or as QEMU names other places
    VirtioKind device = VirtioKind::Net;
    VirtioTransport transport = VirtioTransport::Pci;
    bool modern = false; ///< the transport has the interface of virtio 1.0 (too)
    VirtioFunction function;
    uint8_t status = 0;
    uint8_t interrupt_status = 0;
    uint16_t configuration_vector = 0xffff;
    uint16_t queue_select = 0;
    uint32_t device_feature_select = 0;
    uint32_t driver_feature_select = 0;
    uint32_t page_shift = 0;       ///< of the legacy MMIO transport
    uint64_t features = 0;         ///< that the driver has accepted
    uint64_t written_features = 0; ///< by the driver, of the interface of virtio 1.0
    bool is_wide = false;          ///< the device offers features beyond the first 32
    bool broken = false; ///< the driver has broken the rules: it stands still until a reset
    bool started = false;
    bool disabled = false;
    std::vector<uint8_t> configuration; ///< the device's own, as its driver reads it
    std::vector<VirtioQueue> queues;
    std::vector<VirtioRequest> requests; ///< of a disk
    std::vector<VirtioNet> net;          ///< one, of a network device
    std::vector<VirtioBalloon> balloon;  ///< one, of a balloon
};

template <class Visitor, PartOrConst<Virtio> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"place", "", "ours"}, it.place);
    visitor.field({"device", "", "virtio 1.2, 5"}, it.device);
    visitor.field({"transport", "", "virtio 1.2, 4"}, it.transport);
    visitor.field({"modern", "", "virtio 1.2, 4.1.4"}, it.modern);
    visitor.field({"function", "", "PCI 3.0 6"}, it.function);
    visitor.field({"status", "", "virtio 1.2, 2.1"}, it.status);
    visitor.field({"interrupt-status", "", "virtio 1.2, 4.1.4.5"}, it.interrupt_status);
    visitor.field({"configuration-vector", "", "virtio 1.2, 4.1.4.3"}, it.configuration_vector);
    visitor.field({"queue-select", "", "virtio 1.2, 4.1.4.3"}, it.queue_select);
    visitor.field({"device-feature-select", "", "virtio 1.2, 4.1.4.3"}, it.device_feature_select);
    visitor.field({"driver-feature-select", "", "virtio 1.2, 4.1.4.3"}, it.driver_feature_select);
    visitor.field({"page-shift", "bits", "virtio 1.2, 4.2.4"}, it.page_shift);
    visitor.field({"features", "", "virtio 1.2, 2.2"}, it.features);
    visitor.field({"written-features", "", "virtio 1.2, 4.1.4.3"}, it.written_features);
    visitor.field({"is-wide", "", "virtio 1.2, 2.2"}, it.is_wide);
    visitor.field({"broken", "", "virtio 1.2, 2.1"}, it.broken);
    visitor.field({"started", "", "ours"}, it.started);
    visitor.field({"disabled", "", "ours"}, it.disabled);
    visitor.field({"configuration", "", "virtio 1.2, 2.5"}, it.configuration);
    visitor.field({"queues", "", "virtio 1.2, 2.6"}, it.queues);
    visitor.field({"requests", "", "virtio 1.2, 5.2.6"}, it.requests);
    visitor.field({"net", "", "virtio 1.2, 5.1"}, it.net);
    visitor.field({"balloon", "", "virtio 1.2, 5.5"}, it.balloon);
}

} // namespace drover::state
