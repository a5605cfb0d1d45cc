// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/virtio_fields.h"

#include "blank_state.h"
#include "state/random_part.h"
#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>
#include <random>
#include <xxhash.h>

namespace drover::qemu {
namespace {

using drover::testing::blank_sections;
using drover::testing::random_part;
using state::Virtio;
using state::VirtioKind;
using state::VirtioTransport;

std::vector<state::Device> virtio_sections(std::vector<std::string> options)
{
    auto sections = blank_sections(std::move(options));
    std::erase_if(sections, [](const state::Device& section) {
        return section.name.find("/virtio-") == std::string::npos;
    });
    return sections;
}

const std::vector<state::Device>& pci_sections()
{
    static const auto sections = virtio_sections(
        {"-M",      "pc",
         "-accel",  "tcg",
         "-m",      "16",
         "-drive",  "driver=null-co,if=none,id=d0",
         "-drive",  "driver=null-co,if=none,id=d1",
         "-device", "virtio-blk-pci,drive=d0",
         "-device", "virtio-blk-pci,drive=d1,num-queues=2,queue-size=128,disable-legacy=on",
         "-device", "virtio-net-pci",
         "-device", "virtio-net-pci,disable-modern=on,vectors=0",
         "-device", "virtio-balloon-pci",
         "-device", "virtio-rng-pci"});
    return sections;
}

TEST(VirtioFieldsTest, ReadsTheDevicesOfARealQemu)
{
    ASSERT_EQ(pci_sections().size(), 6U);
    for (const state::Device& section : pci_sections()) {
        const auto device = read_virtio(section);
        ASSERT_TRUE(device) << section.name;
        EXPECT_EQ(virtio_section(*device), section.name);
        const auto bytes = virtio_bytes(*device);
        ASSERT_TRUE(bytes) << section.name;
        EXPECT_EQ(*bytes, device_bytes(section)) << section.name;
    }
    const auto block = read_virtio(pci_sections()[1]);
    EXPECT_EQ(block->device, VirtioKind::Block);
    EXPECT_EQ(block->transport, VirtioTransport::Pci);
    EXPECT_TRUE(block->modern);
    EXPECT_EQ(block->queues.size(), 2U);
    EXPECT_EQ(block->queues[1].size, 128U);
    EXPECT_EQ(block->queues[1].vector, 0xffff) << "as after a reset";
    EXPECT_EQ(block->function.vectors.size(), 3U) << "one a queue, one for its configuration";
    EXPECT_EQ(block->function.configuration.size(), 256U);
    const auto legacy = read_virtio(pci_sections()[3]);
    EXPECT_FALSE(legacy->modern);
    EXPECT_TRUE(legacy->function.vectors.empty());
    EXPECT_EQ(legacy->net[0].mac[0], 0x52);
}

TEST(VirtioFieldsTest, ReadsOtherBuses)
{
    const auto mmio = virtio_sections(
        {"-M", "microvm", "-accel", "tcg", "-m", "16", "-device", "virtio-net-device", "-global",
         "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device"});
    ASSERT_EQ(mmio.size(), 2U);
    for (const state::Device& section : mmio) {
        const auto device = read_virtio(section);
        ASSERT_TRUE(device) << section.name;
        EXPECT_EQ(device->transport, VirtioTransport::Mmio);
        EXPECT_TRUE(device->modern);
    }
    const auto express =
        virtio_sections({"-M", "q35", "-accel", "tcg", "-m", "16", "-device",
                         "pcie-root-port,id=root", "-device", "virtio-net-pci,bus=root"});
    ASSERT_EQ(express.size(), 1U);
    const auto device = read_virtio(express[0]);
    ASSERT_TRUE(device);
    EXPECT_EQ(device->function.configuration.size(), 4096U);
}

void make_request(std::mt19937_64& random, Virtio& device)
{
    auto& request = device.requests.emplace_back();
    request.queue = static_cast<uint32_t>(random() % device.queues.size());
    request.head = static_cast<uint32_t>(random() % 128);
    request.readable.resize(1 + random() % 4);
    request.writable.resize(random() % 1024);
    for (state::VirtioSegment& segment : request.writable)
        segment = {random(), random()};
}

/// Such as a guest's driver can make of the device of this section.
Virtio legal_device(const state::Device& section, uint64_t seed)
{
    Virtio device = *read_virtio(section);
    std::mt19937_64 random(seed);
    const bool modern = device.modern;
    const bool has_vectors = !device.function.vectors.empty();
    device.features = device.is_wide ? random() & ~(1ULL << 34) : random() & 0xffffffff;
    device.status = static_cast<uint8_t>(random());
    device.queue_select = static_cast<uint16_t>(random());
    device.broken = random() % 2 == 1;
    device.started = random() % 2 == 1;
    for (state::MsixVector& vector : device.function.vectors)
        vector = random_part<state::MsixVector>(random());
    for (state::VirtioQueue& queue : device.queues) {
        const uint32_t largest = queue.largest;
        queue = random_part<state::VirtioQueue>(random());
        queue.largest = largest;
        queue.alignment = 0;
        if (!has_vectors)
            queue.vector = 0xffff;
        if (!modern) {
            queue.setup = {};
            queue.available = queue.used = 0;
        }
    }
    if (device.device == VirtioKind::Block)
        for (uint64_t i = 0; i < seed % 4; ++i)
            make_request(random, device);
    if (device.device == VirtioKind::Net) {
        device.net[0] = random_part<state::VirtioNet>(random());
        auto& net = device.net[0];
        net.macs.resize(net.macs.size() / 6 * 6);
        net.vlans.resize(512);
        net.queue_pairs = net.most_queue_pairs = 1;
        net.transmit_waits = {1};
        net.offloads = (device.features & 4) != 0 ? net.offloads : 0;
    }
    return device;
}

TEST(VirtioFieldsTest, ComesBackFromQemusForm)
{
    for (const state::Device& section : pci_sections())
        for (uint64_t seed = 1; seed <= 20; ++seed) {
            const Virtio device = legal_device(section, seed);
            const auto bytes = virtio_bytes(device);
            ASSERT_TRUE(bytes) << section.name << ", seed " << seed;
            const auto again = read_virtio(section.name, section.model_version, *bytes);
            ASSERT_TRUE(again) << section.name << ", seed " << seed;
            EXPECT_EQ(state::encode(*again), state::encode(device)) << section.name;
            state::Device target = section;
            ASSERT_TRUE(write_virtio(device, target));
            EXPECT_EQ(device_bytes(target), *bytes);
        }
}

/// What one release writes, each later one reads.
TEST(VirtioFieldsTest, HasTheBytesOfItsVersion)
{
    const auto bytes = state::encode(random_part<Virtio>(7));
    EXPECT_EQ(Virtio::version, 1U);
    EXPECT_EQ(bytes.size(), 1104U);
    EXPECT_EQ(XXH3_64bits(bytes.data(), bytes.size()), 2752090918683434836U);
}

TEST(VirtioFieldsTest, WhatIsNotExactlyUnderstoodIsLeftAlone)
{
    const state::Device& section = pci_sections()[1];
    auto bytes = device_bytes(section);
    for (size_t size = 0; size < bytes.size(); size += size < 400 ? 1 : 977)
        EXPECT_FALSE(read_virtio(section.name, section.model_version, std::span(bytes).first(size)))
            << size;
    EXPECT_EQ(virtio_size(section.name, section.model_version, bytes), bytes.size());
    auto longer = bytes;
    longer.push_back(std::byte{7});
    EXPECT_FALSE(read_virtio(section.name, section.model_version, longer));
    EXPECT_EQ(virtio_size(section.name, section.model_version, longer), bytes.size());
    EXPECT_FALSE(read_virtio(section.name, section.model_version + 1, bytes));
    EXPECT_FALSE(read_virtio("0000:00:04.0/virtio-gpu", section.model_version, bytes));
    bytes.back() = std::byte{1}; // a register of a queue that the device has not
    EXPECT_FALSE(read_virtio(section.name, section.model_version, bytes));
}

TEST(VirtioFieldsTest, AnyBytesAreBorne)
{
    std::mt19937_64 random(5);
    for (const state::Device& section : pci_sections())
        for (int i = 0; i < 300; ++i) {
            auto bytes = device_bytes(section);
            for (int change = 0; change < 3; ++change)
                bytes[random() % std::min<size_t>(bytes.size(), i % 2 == 0 ? 500 : SIZE_MAX)] =
                    static_cast<std::byte>(random());
            if (const auto device = read_virtio(section.name, section.model_version, bytes)) {
                EXPECT_EQ(*virtio_bytes(*device), bytes);
            }
        }
}

TEST(VirtioFieldsTest, PartsThatNoDeviceCanHaveAreRefused)
{
    for (uint64_t seed = 1; seed <= 200; ++seed)
        EXPECT_FALSE(virtio_bytes(random_part<Virtio>(seed)));
    Virtio device = *read_virtio(pci_sections()[0]);
    device.requests.resize(1);
    device.requests[0].readable.resize(1025);
    EXPECT_FALSE(virtio_bytes(device));
    device = *read_virtio(pci_sections()[2]);
    device.net.clear();
    EXPECT_FALSE(virtio_bytes(device));
}

TEST(VirtioFieldsTest, ADeviceOfAnotherFormIsRefused)
{
    const Virtio device = *read_virtio(pci_sections()[1]);
    state::Device other = pci_sections()[0];
    const Status written = write_virtio(device, other);
    ASSERT_FALSE(written);
    EXPECT_NE(written.error().text().find("it has 3 MSI-X vectors at the source and 2 here"),
              std::string::npos)
        << written.error().text();
}

} // namespace
} // namespace drover::qemu
