// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string_view>

/// Numbers of the three formats that lie in each other in an `xl save` file: xl's, libxl's
/// (docs/specs/libxl-migration-stream of Xen) and libxc's (docs/specs/libxc-migration-stream).
namespace drover::xen {

using namespace std::string_view_literals;

constexpr std::string_view xl_magic = "Xen saved domain, xl format\n \0 \r"sv;
constexpr uint32_t xl_byte_order = 0x01020304;
struct XlFlag {
    enum : uint32_t { Json = 1U << 0, StreamV2 = 1U << 1, All = Json | StreamV2 };
};
constexpr uint64_t xl_header_size = 48;

constexpr std::string_view libxl_magic = "LibxlFmt";
constexpr uint32_t libxl_version = 2;
struct LibxlOption {
    enum : uint32_t { BigEndian = 1U << 0, Legacy = 1U << 1 };
};
struct LibxlRecord {
    enum : uint32_t { End, LibxcContext, EmulatorXenstore, EmulatorContext };
};
constexpr uint32_t upstream_qemu = 2; ///< emulator_id

constexpr uint64_t libxc_marker = UINT64_MAX;
constexpr uint32_t libxc_id = 0x58454e46; ///< "XENF"
constexpr uint32_t libxc_version = 3;
constexpr uint32_t libxc_oldest_version = 2; ///< without STATIC_DATA_END
constexpr uint32_t libxc_big_endian = 1;     ///< in its options
struct LibxcGuest {
    enum : uint32_t { Pv = 1, Hvm = 2 };
};
constexpr uint32_t page_shift_4k = 12;
struct LibxcRecord {
    enum : uint32_t {
        End = 0,
        PageData = 1,
        TscInfo = 8,
        HvmContext = 9,
        HvmParams = 10,
        Verify = 13,
        Checkpoint = 14,
        StaticDataEnd = 16,
        CpuidPolicy = 17,
        MsrPolicy = 18,
        Optional = 1U << 31,
    };
};

/// Of a page, in the upper four bits of its number.
struct PageType {
    enum : uint32_t {
        Normal = 0,
        FirstReserved = 5,
        LastReserved = 8,
        Broken = 0xd,
        AllocateOnly = 0xe,
        None = 0xf,
    };
};
constexpr unsigned page_type_shift = 60;
constexpr uint64_t page_number_mask = (uint64_t{1} << 52) - 1;

/// HVM_PARAMs (Xen's public header hvm/params.h).
struct HvmParamIndex {
    enum : uint64_t {
        StoreFrame = 1,
        IoreqFrame = 5,
        BufferedIoreqFrame = 6,
        Viridian = 9,
        IdentityTable = 12,
        ConsoleFrame = 17,
        AcpiPorts = 19,
        PagingRing = 27,
        MonitorRing = 28,
        SharingRing = 29,
        IoreqServerFrame = 32,
        IoreqServerFrames = 33,
        GenerationId = 34,
        FipWidth = 36,
        Vm86TaskState = 37,
        McaCapabilities = 38,
    };
};

} // namespace drover::xen
