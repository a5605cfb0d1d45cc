// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// A plain value, or several of one size, of a device.
struct DeviceField {
    std::string name; ///< with what it is in: "parent_obj/config"; a subsection's is "[x/y]"
    std::string type; ///< QEMU's word
    std::vector<uint8_t> value; ///< big-endian, as QEMU's streams have it
    uint32_t count = 1;         ///< of equal elements in `value`
};

template <class Visitor, PartOrConst<DeviceField> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"name", "", "QEMU"}, it.name);
    visitor.field({"type", "", "QEMU"}, it.type);
    visitor.field({"value", "", "QEMU"}, it.value);
    visitor.field({"count", "elements", "QEMU"}, it.count);
}

/// A device that a device model emulates. On each hypervisor that is translated between it is QEMU
/// that does (Xen's device model is QEMU, too), so that its names are the common ones. Kind
/// "device", version 1.
struct Device {
    static constexpr const char* kind = "device";
    static constexpr uint32_t version = 1;

    std::string name; ///< such as "serial", or "0000:00:04.0/virtio-blk"
    uint32_t instance = 0;
    uint32_t model_version = 0; ///< of the device's fields, by QEMU's count
    std::vector<DeviceField> fields;
};

template <class Visitor, PartOrConst<Device> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"name", "", "QEMU"}, it.name);
    visitor.field({"instance", "", "QEMU"}, it.instance);
    visitor.field({"model-version", "", "QEMU"}, it.model_version);
    visitor.field({"fields", "", "QEMU"}, it.fields);
}

} // namespace drover::state
