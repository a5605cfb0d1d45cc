// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_pic.h"

#include <bit>

namespace drover::xen {

namespace {

struct PicMode {
    enum : uint8_t {
        ReadInService = 1U << 0,
        Poll = 1U << 1,
        AutoEoi = 1U << 2,
        RotateOnAutoEoi = 1U << 3,
        SpecialFullyNested = 1U << 4,
        SpecialMask = 1U << 5,
        Master = 1U << 6,
        Unused = 1U << 7,
    };
};
struct PicInit {
    enum : uint8_t { State = 3, ExpectsIcw4 = 1U << 2, Single = 1U << 3 };
};
constexpr unsigned pic_inputs = 8;
constexpr uint8_t cascade = 1U << 2;

/// How far the input of `mask` that comes first is from the highest one; 8: there is none.
unsigned rank(uint8_t mask, uint8_t highest)
{
    return mask == 0 ? pic_inputs
                     : static_cast<unsigned>(std::countr_zero(
                           std::rotr(mask, static_cast<int>(highest % pic_inputs))));
}

/// Whether something is requested that nothing in service holds back (8259A, "fully nested mode").
bool asks_for_interrupt(const state::PicChip& chip, bool master)
{
    const unsigned wanted =
        rank(chip.requested & static_cast<uint8_t>(~chip.masked), chip.priority_add);
    if (chip.init_state != 0 || wanted == pic_inputs)
        return false;
    uint8_t serving = chip.in_service;
    if (master && chip.special_fully_nested && (wanted + chip.priority_add) % pic_inputs == 2)
        serving &= static_cast<uint8_t>(~cascade);
    if (chip.special_mask)
        serving &= static_cast<uint8_t>(~chip.masked);
    return wanted < rank(serving, chip.priority_add);
}

} // namespace

Result<state::PicChip> read_pic(const HvmPic& pic, bool master, uint8_t lines)
{
    const uint8_t init = pic.init_and_priority & 0xf;
    if ((pic.modes & PicMode::Unused) != 0 || ((pic.modes & PicMode::Master) != 0) != master ||
        pic.output > 1)
        return fail(ErrorKind::Protocol, "an interrupt controller (PIC) that cannot be");
    state::PicChip chip;
    chip.last_lines = lines;
    chip.requested = pic.requested;
    chip.masked = pic.masked;
    chip.in_service = pic.in_service;
    chip.vector_base = pic.vector_base;
    chip.priority_add = pic.init_and_priority >> 4;
    chip.init_state = init & PicInit::State;
    chip.expects_icw4 = (init & PicInit::ExpectsIcw4) != 0;
    chip.single = (init & PicInit::Single) != 0;
    chip.read_in_service = (pic.modes & PicMode::ReadInService) != 0;
    chip.poll = (pic.modes & PicMode::Poll) != 0;
    chip.auto_eoi = (pic.modes & PicMode::AutoEoi) != 0;
    chip.rotate_on_auto_eoi = (pic.modes & PicMode::RotateOnAutoEoi) != 0;
    chip.special_fully_nested = (pic.modes & PicMode::SpecialFullyNested) != 0;
    chip.special_mask = (pic.modes & PicMode::SpecialMask) != 0;
    chip.level_triggered = pic.level_triggered;
    return chip;
}

HvmPic pic_of(const state::PicChip& chip, bool master)
{
    HvmPic pic;
    pic.requested = chip.requested;
    pic.masked = chip.masked;
    pic.in_service = chip.in_service;
    pic.vector_base = chip.vector_base;
    uint8_t init = chip.init_state & PicInit::State;
    // Once it is initialised, Xen keeps no more of how that was done.
    if (init != 0) {
        init |= chip.expects_icw4 ? uint8_t{PicInit::ExpectsIcw4} : uint8_t{0};
        init |= chip.single ? uint8_t{PicInit::Single} : uint8_t{0};
    }
    pic.init_and_priority = static_cast<uint8_t>(init | chip.priority_add << 4);
    const auto mode = [&pic](bool on, uint8_t bit) {
        if (on)
            pic.modes |= bit;
    };
    mode(chip.read_in_service, PicMode::ReadInService);
    mode(chip.poll, PicMode::Poll);
    mode(chip.auto_eoi, PicMode::AutoEoi);
    mode(chip.rotate_on_auto_eoi, PicMode::RotateOnAutoEoi);
    mode(chip.special_fully_nested, PicMode::SpecialFullyNested);
    mode(chip.special_mask, PicMode::SpecialMask);
    mode(master, PicMode::Master);
    // Xen's master always takes the slave's output for a level.
    pic.level_triggered =
        static_cast<uint8_t>(chip.level_triggered | (master ? cascade : uint8_t{0}));
    pic.output = asks_for_interrupt(chip, master) ? 1 : 0;
    return pic;
}

} // namespace drover::xen
