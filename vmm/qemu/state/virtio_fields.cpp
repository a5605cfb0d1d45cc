// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/virtio_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/virtio_device_form.h"
#include "vmm/qemu/state/virtio_function_form.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::PartOrConst;
using state::Virtio;
using state::VirtioKind;
using state::VirtioTransport;

constexpr size_t most_queues = 1024; ///< that QEMU's arrays have room for
constexpr size_t most_configuration = 4096;

struct KnownDevice {
    VirtioKind kind;
    std::string_view name; ///< behind the place
    uint32_t version;      ///< of its section, in QEMU 7.2 to 10.0
};
constexpr KnownDevice known_devices[] = {
    {VirtioKind::Net, "/virtio-net", 11},
    {VirtioKind::Block, "/virtio-blk", 2},
    {VirtioKind::Entropy, "/virtio-rng", 1},
    {VirtioKind::Balloon, "/virtio-balloon", 1},
};

const KnownDevice& known(VirtioKind kind)
{
    return *std::ranges::find(known_devices, kind, &KnownDevice::kind);
}

template <class Io, PartOrConst<Virtio> Self> void map_transport(Io& io, Self& device)
{
    if (device.transport == VirtioTransport::Mmio) {
        io.number(device.device_feature_select);
        io.number(device.driver_feature_select);
        io.number(device.page_shift);
        return;
    }
    virtio_form::map_function(io, device.function);
    if (!device.function.vectors.empty())
        io.number(device.configuration_vector);
}

template <class Io, PartOrConst<Virtio> Self> void map_queues(Io& io, Self& device)
{
    io.template resize<uint32_t>(device.queues, most_queues);
    for (auto& queue : device.queues) {
        io.number(queue.size);
        if (device.transport == VirtioTransport::Mmio)
            io.number(queue.alignment);
        io.number(queue.descriptors);
        io.number(queue.next);
        if (!device.function.vectors.empty())
            io.number(queue.vector);
        else if constexpr (!Io::writes)
            queue.vector = 0xffff;
    }
}

/// What QEMU has an array for, with places for queues that the device has not.
template <class Io, class Queues, class Map>
void map_array(Io& io, Queues& queues, size_t element, Map map)
{
    for (auto& queue : queues)
        map(queue);
    io.zeros((most_queues - std::min(queues.size(), most_queues)) * element);
}

/// Of a 64-bit register that QEMU keeps as two of 32 bits, the lower one first.
template <class Io, PartOrConst<uint64_t> Self> void map_halves(Io& io, Self& value)
{
    auto low = static_cast<uint32_t>(value);
    auto high = static_cast<uint32_t>(value >> 32);
    io.number(low);
    io.number(high);
    if constexpr (!Io::writes)
        value = static_cast<uint64_t>(high) << 32 | low;
}

template <class Io, PartOrConst<Virtio> Self> void map_registers(Io& io, Self& device)
{
    const bool is_pci = device.transport == VirtioTransport::Pci;
    if (is_pci) {
        io.number(device.device_feature_select);
        io.number(device.driver_feature_select);
    }
    map_halves(io, device.written_features);
    const size_t element = is_pci ? 28 : 27; // bytes
    map_array(io, device.queues, element, [&io, is_pci](auto& queue) {
        io.number(queue.setup.size);
        if (is_pci)
            io.zeros(1);
        io.number(queue.setup.enabled);
        map_halves(io, queue.setup.descriptors);
        map_halves(io, queue.setup.driver_area);
        map_halves(io, queue.setup.device_area);
    });
}

bool offers_larger_queues(const Virtio& device)
{
    return std::ranges::any_of(device.queues,
                               [](const auto& queue) { return queue.size != queue.largest; });
}

template <class Io, PartOrConst<Virtio> Self> void map_sizes(Io& io, Self& device)
{
    if (io.subsection("virtio/ringsize", offers_larger_queues(device))) {
        map_array(io, device.queues, sizeof(uint32_t),
                  [&io](auto& queue) { io.number(queue.largest); });
        return;
    }
    if constexpr (!Io::writes)
        for (auto& queue : device.queues)
            queue.largest = queue.size;
}

template <class Io, PartOrConst<Virtio> Self> void map_extra_state(Io& io, Self& device)
{
    const bool is_pci = device.transport == VirtioTransport::Pci;
    if (!io.subsection("virtio/extra_state", is_pci || device.modern))
        return;
    if (io.subsection(is_pci ? "virtio_pci/modern_state" : "virtio_mmio/state", device.modern))
        map_registers(io, device);
}

template <class Io, PartOrConst<bool> Self>
void map_mark(Io& io, std::string_view subsection, Self& mark)
{
    if (io.subsection(subsection, mark))
        io.number(mark);
}

/// What came into QEMU's format later, in its order.
template <class Io, PartOrConst<Virtio> Self> void map_subsections(Io& io, Self& device)
{
    const bool is_wide = io.subsection("virtio/64bit_features", device.is_wide);
    if (is_wide)
        io.number(device.features);
    const bool modern = io.subsection("virtio/virtqueues", device.modern);
    if (modern)
        map_array(io, device.queues, 2 * sizeof(uint64_t), [&io](auto& queue) {
            io.number(queue.available);
            io.number(queue.used);
        });
    if constexpr (!Io::writes) {
        device.is_wide = is_wide;
        device.modern = modern;
    }
    map_sizes(io, device);
    map_mark(io, "virtio/broken", device.broken);
    map_extra_state(io, device);
    map_mark(io, "virtio/started", device.started);
    map_mark(io, "virtio/disabled", device.disabled);
}

template <class Io, PartOrConst<Virtio> Self> void map_device(Io& io, Self& device)
{
    map_transport(io, device);
    io.number(device.status);
    io.number(device.interrupt_status);
    io.number(device.queue_select);
    auto features = static_cast<uint32_t>(device.features);
    io.number(features);
    if constexpr (!Io::writes)
        device.features = features;
    io.template resize<uint32_t>(device.configuration, most_configuration);
    io.bytes(device.configuration, device.configuration.size());
    map_queues(io, device);
    virtio_form::map_own(io, device);
    map_subsections(io, device);
}

/// Whether the lists are as long as those who write them out take for granted. A part may come from
/// anybody.
bool has_its_lists(const Virtio& device)
{
    const bool is_net = device.device == VirtioKind::Net;
    const bool is_balloon = device.device == VirtioKind::Balloon;
    return device.net.size() == (is_net ? 1 : 0) && device.balloon.size() == (is_balloon ? 1 : 0) &&
           (!is_net || !device.net[0].transmit_waits.empty()) &&
           device.queues.size() <= most_queues &&
           std::ranges::all_of(device.requests, [](const state::VirtioRequest& request) {
               return request.readable.size() <= virtio_form::most_segments &&
                      request.writable.size() <= virtio_form::most_segments;
           });
}

std::vector<std::byte> bytes_of(const Virtio& device)
{
    SectionWriter writer;
    map_device(writer, device);
    return writer.take();
}

struct Parsed {
    Virtio device;
    size_t size = 0; ///< bytes that it was in
};

std::optional<Parsed> parse(std::string_view section, uint32_t version,
                            std::span<const std::byte> bytes)
{
    const size_t slash = section.rfind('/');
    if (slash == std::string_view::npos)
        return std::nullopt;
    const auto found = std::ranges::find(known_devices, section.substr(slash), &KnownDevice::name);
    if (found == std::end(known_devices) || found->version != version)
        return std::nullopt;
    Parsed parsed;
    parsed.device.place = section.substr(0, slash);
    parsed.device.device = found->kind;
    if (parsed.device.place.starts_with("virtio-mmio@"))
        parsed.device.transport = VirtioTransport::Mmio;
    SectionReader reader(bytes);
    map_device(reader, parsed.device);
    parsed.size = bytes.size() - reader.left();
    if (!reader.good())
        return std::nullopt;
    return parsed;
}

} // namespace

std::string virtio_section(const Virtio& device)
{
    return device.place + std::string(known(device.device).name);
}

uint32_t virtio_section_version(VirtioKind kind)
{
    return known(kind).version;
}

std::optional<Virtio> read_virtio(std::string_view section, uint32_t version,
                                  std::span<const std::byte> contents)
{
    auto parsed = parse(section, version, contents);
    if (!parsed || !std::ranges::equal(bytes_of(parsed->device), contents))
        return std::nullopt;
    return std::move(parsed->device);
}

std::optional<Virtio> read_virtio(const state::Device& section)
{
    return section.instance == 0
               ? read_virtio(section.name, section.model_version, device_bytes(section))
               : std::nullopt;
}

std::optional<size_t> virtio_size(std::string_view section, uint32_t version,
                                  std::span<const std::byte> bytes)
{
    const auto parsed = parse(section, version, bytes);
    return parsed ? std::optional(parsed->size) : std::nullopt;
}

Result<std::vector<std::byte>> virtio_bytes(const Virtio& device)
{
    if (has_its_lists(device)) {
        auto bytes = bytes_of(device);
        const auto again =
            read_virtio(virtio_section(device), virtio_section_version(device.device), bytes);
        if (again && state::encode(*again) == state::encode(device))
            return bytes;
    }
    return fail(ErrorKind::Protocol, virtio_section(device) + " is no device that there can be");
}

Status write_virtio(const Virtio& device, state::Device& section)
{
    const auto here = read_virtio(section);
    if (!here)
        return fail(ErrorKind::Incompatible, "its form in this QEMU is not known");
    const auto differs = [](const char* what, size_t there, size_t now, const char* cure) {
        return fail(ErrorKind::Incompatible,
                    "it has " + std::to_string(there) + " " + what + " at the source and " +
                        std::to_string(now) + " here",
                    cure);
    };
    if (here->function.configuration.size() != device.function.configuration.size())
        return differs("bytes of PCI configuration", device.function.configuration.size(),
                       here->function.configuration.size(), "give it the same bus");
    if (here->function.vectors.size() != device.function.vectors.size())
        return differs("MSI-X vectors", device.function.vectors.size(),
                       here->function.vectors.size(), "give it the same vectors=");
    if (here->queues.size() != device.queues.size())
        return differs("queues", device.queues.size(), here->queues.size(),
                       "give it the same number of queues");
    const auto bytes = virtio_bytes(device);
    if (!bytes)
        return std::unexpected(bytes.error());
    const auto* begin = reinterpret_cast<const uint8_t*>(bytes->data());
    section.fields[0].value.assign(begin, begin + bytes->size());
    return {};
}

} // namespace drover::qemu
