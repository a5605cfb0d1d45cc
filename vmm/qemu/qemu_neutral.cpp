// SPDX-License-Identifier: GPL-2.0-or-later
//
// The neutral form: what QEMU saves is collected and translated, and what came is made a stream
// that this QEMU loads. The pause lasts as long as that takes, some milliseconds.
#include "util/log.h"
#include "vmm/qemu/form_key.h"
#include "vmm/qemu/qemu_machine.h"
#include "vmm/qemu/ram_file.h"

namespace drover::qemu {

namespace {

/// Devices have some megabytes, video memory tens of them.
constexpr size_t most_collected = 1U << 30;

bool is_x86(const std::string& architecture)
{
    return architecture == "x86_64" || architecture == "i386";
}

} // namespace

Status QemuMachine::can_save_neutral() const
{
    if (is_x86(config_.architecture))
        return {};
    return fail(ErrorKind::Refused,
                "guests of " + config_.architecture + " are not translated between hypervisors");
}

Status QemuMachine::can_load_neutral() const
{
    if (Status saves = can_save_neutral(); !saves)
        return saves;
    if (!config_.blank)
        return std::unexpected(config_.blank.error());
    if (config_.ram.size() != config_.blank->ram.size())
        return fail(ErrorKind::Refused,
                    "a machine with plugged memory is not translated between hypervisors");
    return {};
}

void QemuMachine::collect(std::span<const std::byte> piece)
{
    if (collected_.size() + piece.size() <= most_collected)
        collected_.insert(collected_.end(), piece.begin(), piece.end());
    else if (load_phase_ == LoadPhase::Feeding)
        load_failed({ErrorKind::Protocol, "the source sent more than 1 GiB of device state", ""});
    else
        save_failed({ErrorKind::Machine, "QEMU has more than 1 GiB of device state", ""});
}

/// The guest stands still: what cannot be translated is found out here, and it goes on here.
Status QemuMachine::hand_on_neutral()
{
    if (form_ == StateForm::Own)
        return {};
    const auto neutral = neutral_of_stream(MemoryBytes(collected_));
    if (!neutral)
        return std::unexpected(neutral.error());
    std::vector<std::byte>().swap(collected_);
    save_.data(*neutral);
    return {};
}

/// While the source sends its first pages: neither they nor the guest's pause wait for it.
Status QemuMachine::begin_to_learn_layout()
{
    if (form_to_load_ || blank_ || take_kept_form())
        return {};
    return start_blank();
}

Status QemuMachine::start_blank()
{
    BlankStart start{config_.blank->command, {}};
    for (const RamFile& ram : config_.blank->ram) {
        auto file = create_ram_file({.id = ram.id, .size = ram.size, .directory = {}, .path = {}});
        if (!file)
            return pass(file);
        start.ram.push_back(std::move(*file));
    }
    blank_ = std::make_unique<BlankMachine>(
        std::move(start), [this](Result<UniqueFd> saved) { layout_learnt(std::move(saved)); });
    return {};
}

/// If an earlier QEMU of this build and command line has told it.
bool QemuMachine::take_kept_form()
{
    auto key = form_key(config_.blank->command, config_.pid, described_);
    form_key_ = key ? *key : "";
    if (!key) {
        log::debug("how this machine is loaded is not kept: " + key.error().text());
        return false;
    }
    const auto kept = config_.forms.find(form_key_);
    if (!kept)
        log::warning(kept.error().text());
    if (!kept || !*kept)
        return false;
    auto form = read_load_form(MemoryBytes(**kept));
    if (!form) {
        config_.forms.forget(form_key_);
        return false;
    }
    log::debug("how this machine is loaded is known from before");
    form_to_load_ = std::move(*form);
    return true;
}

/// For the next one; not where this host's QEMU was replaced while it told it.
void QemuMachine::keep_form(const LoadForm& form)
{
    const auto key = form_key(config_.blank->command, config_.pid, described_);
    if (!key || *key != form_key_)
        return;
    if (const Status kept = config_.forms.keep(*key, form.bytes); !kept)
        log::debug("how this machine is loaded is not kept: " + kept.error().text());
}

void QemuMachine::learn_form_ahead()
{
    if (!can_load_neutral() || !config_.forms.in_use())
        return;
    describe([this](const Result<Json>& described) {
        if (!described || load_phase_ != LoadPhase::Idle || form_to_load_ || blank_)
            return;
        if (!take_kept_form())
            (void)start_blank(); // or once a guest comes, who is told why not
    });
}

void QemuMachine::layout_learnt(Result<UniqueFd> saved)
{
    auto file = saved ? FileBytes::of(std::move(*saved), "this machine's form") : pass(saved);
    auto form = file ? read_load_form(*file) : pass(file);
    blank_.reset();
    if (!form)
        return load_failed(std::move(form.error()).in("learning how this machine is to be loaded"));
    log::debug("how this machine is loaded was asked of a second QEMU");
    keep_form(*form);
    form_to_load_ = std::move(*form);
    if (loaded_)
        return translate_what_was_loaded();
    if (auto prepared = std::exchange(load_prepared_, nullptr))
        prepared();
}

bool QemuMachine::load_is_prepared(std::function<void()> prepared)
{
    if (form_ == StateForm::Own || form_to_load_)
        return true;
    load_prepared_ = std::move(prepared);
    return false;
}

void QemuMachine::translate_what_was_loaded()
{
    std::vector<std::string> changes;
    auto stream = stream_of_neutral(collected_, std::move(*form_to_load_), changes);
    form_to_load_.reset();
    std::vector<std::byte>().swap(collected_);
    if (!stream)
        return loop::post([this, alive = alive_, error = stream.error()] {
            if (*alive)
                load_failed(error);
        });
    for (const std::string& change : changes)
        log::info("the guest's " + change);
    load_queue_ = std::move(*stream);
    load_written_ = 0;
    finish_feeding();
}

} // namespace drover::qemu
