// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/destination.h"

#include "migration/session/judgement.h"
#include "util/log.h"

#include <algorithm>
#include <utility>

namespace drover {

using stream::FrameType;

namespace {

/// After the pause only device state follows, some megabytes; a peer that sends more than this
/// means no good.
constexpr size_t max_held_bytes = 512U << 20;

/// Of all features those that this machine has.
std::vector<std::string_view> supported_features(bool postcopy, bool neutral, bool readable)
{
    const auto known = stream::known_features();
    std::vector<std::string_view> supported(known.begin(), known.end());
    if (!postcopy)
        std::erase(supported, stream::feature::postcopy);
    if (!neutral)
        std::erase(supported, stream::feature::device_state_neutral);
    if (!readable) {
        std::erase(supported, stream::feature::delta_pages);
        std::erase(supported, stream::feature::ram_digest);
    }
    return supported;
}

} // namespace

void DestinationSession::greeted(const stream::Frame& frame)
{
    auto json = stream::decode_json(frame.payload);
    if (!json)
        return refuse(json.error());
    auto hello = stream::Hello::from_json(*json);
    if (!hello)
        return refuse(hello.error());
    hello_ = std::move(*hello);
    report_.source_software = hello_->software;
    control_->expect_anything();
    judge_arrival(machine_, *hello_,
                  [this, alive = alive_](const Judgement& judgement, Json description) {
                      if (*alive && state_ == DestinationState::Greeting)
                          judged(judgement, std::move(description));
                  });
}

void DestinationSession::judged(const Judgement& judgement, Json own_description)
{
    if (judgement.is_another_guest) {
        enter(DestinationState::Preparing); // no stranger any more: what fails now is its migration
        return fail(judgement.blocks.front());
    }
    if (!judgement.blocks.empty())
        return refuse(judgement.blocks.front());
    for (const Error& warning : judgement.warnings)
        log::info(warning.text());
    form_ = judgement.form;
    prepare(std::move(own_description));
}

/// Before anything was accepted: the peer hears why, and the machine waits for another.
void DestinationSession::refuse(const Error& error)
{
    report_.error = error;
    state_ = DestinationState::Failed;
    loop::post([this, alive = alive_] {
        if (!*alive)
            return;
        control_->send_json(FrameType::Refuse, stream::error_to_json(*report_.error));
        control_.close_gracefully();
        observer_.refused(*report_.error);
    });
}

void DestinationSession::prepare(Json own_description)
{
    enter(DestinationState::Preparing);
    stream::Welcome welcome;
    welcome.software = software_;
    // judge_guest() has found that all mandatory ones are known.
    const auto hold = machine_.page_hold();
    const auto supported = supported_features(hold.has_value(), form_ == StateForm::Neutral,
                                              can_take_deltas(machine_.ram()));
    welcome.features = *stream::agree_features(*hello_, supported);
    if (!hold)
        welcome.no_postcopy = hold.error().text();
    const auto agreed = [&](std::string_view feature) {
        return std::ranges::find(welcome.features, feature) != welcome.features.end();
    };
    postcopy_agreed_ = agreed(stream::feature::postcopy);
    resume_agreed_ = agreed(stream::feature::resume_copy);
    reconnect_s_ = json_quantity(hello_->policy, "reconnect", 0);
    join_ = hello_->session;
    arrived_outcome_agreed_ = agreed(stream::feature::arrived_outcome);
    welcome.channels = hello_->channels;
    welcome.machine = std::move(own_description);
    receiver_ = std::make_unique<RamReceiver>(
        machine_.ram(), machine_.ram_mapping(), welcome.channels,
        stream::encodings_of(welcome.features), agreed(stream::feature::ram_digest),
        RamReceiver::Callbacks{
            .round_ended = [this](stream::RoundEnd end) { round_ended(end); },
            .failed = [this](Error error) { receiving_failed(std::move(error)); },
        });
    machine_.use_state_form(form_);
    machine_.begin_load(
        [this, alive = alive_, welcome = welcome.to_json()](Status ready) {
            if (!*alive || state_ != DestinationState::Preparing)
                return;
            if (!ready)
                return fail(std::move(ready.error()));
            enter(DestinationState::Receiving);
            load_is_prepared_ = machine_.load_is_prepared([this, alive] {
                if (*alive)
                    load_prepared();
            });
            control_->send_json(FrameType::Welcome, welcome);
            if (resume_agreed_)
                control_.set_silence_limit(longest_patience);
        },
        [this, alive = alive_](Error error) {
            if (*alive)
                fail(std::move(error));
        });
}

void DestinationSession::add_data(Socket socket)
{
    if (state_ == DestinationState::Receiving)
        receiver_->add_channel(std::move(socket), join_);
}

void DestinationSession::round_ended(stream::RoundEnd end)
{
    if (state_ != DestinationState::Receiving && state_ != DestinationState::Holding)
        return;
    report_.rounds = end.round;
    acknowledge(end);
    if (!end.last)
        return;
    ram_complete_ = true;
    try_load();
}

/// No source pauses its guest before its first round is acknowledged: so no guest stands still for
/// what is prepared here.
void DestinationSession::acknowledge(stream::RoundEnd end)
{
    if (!load_is_prepared_)
        to_acknowledge_.push_back(end);
    else if (control_) {
        acknowledged_round_ = end.round;
        control_->send(FrameType::RoundAck, stream::encode(end));
    }
}

void DestinationSession::load_prepared()
{
    load_is_prepared_ = true;
    for (const stream::RoundEnd& end : std::exchange(to_acknowledge_, {}))
        acknowledge(end);
}

void DestinationSession::device_header(const stream::Frame& frame)
{
    auto json = stream::decode_json(frame.payload);
    if (!json)
        return fail(std::move(json.error()));
    switching_ = true;
    const std::string phase = json_string(*json, "phase");
    if (phase == "running")
        return;
    if (phase != "paused")
        return protocol_error(frame);
    run_ = json_bool(*json, "run", true);
    enter(DestinationState::Holding);
    control_.set_silence_limit(patient_silence); // it is the source that must not wait
}

void DestinationSession::device_data(const stream::Frame& frame)
{
    checksum_.add(frame.payload);
    report_.device_bytes += frame.payload.size();
    if (state_ == DestinationState::Receiving || feeding_)
        return feed(frame.payload);
    if (held_.size() + frame.payload.size() > max_held_bytes)
        return fail({ErrorKind::Protocol, "the source sent more than 512 MiB of device state", ""});
    held_.insert(held_.end(), frame.payload.begin(), frame.payload.end());
}

/// No faster than the hypervisor takes it: the source may have much (private RAM), and the link may
/// be fast.
void DestinationSession::feed(std::span<const std::byte> state)
{
    machine_.load(state);
    if (!control_ || !machine_.load_is_behind([this, alive = alive_] {
            if (*alive && control_)
                control_->hold_input(false);
        }))
        return;
    control_->hold_input(true);
}

void DestinationSession::device_end(const stream::Frame& frame)
{
    auto end = stream::decode_device_end(frame.payload);
    if (!end)
        return fail(std::move(end.error()));
    if (end->total_bytes != report_.device_bytes || end->checksum != checksum_.digest())
        return fail({ErrorKind::Protocol, "the device state arrived damaged or incomplete", ""});
    device_complete_ = true;
    try_load();
}

/// Devices read guest RAM while they are loaded (virtio its rings): RAM must be complete before.
void DestinationSession::try_load()
{
    if (!ram_complete_ || state_ != DestinationState::Holding)
        return;
    if (!std::exchange(feeding_, true)) {
        if (Status begun = begin_postcopy(); !begun)
            return fail(std::move(begun.error()));
        load_started_ = Clock::now();
        feed(held_);
        std::vector<std::byte>().swap(held_);
    }
    if (!device_complete_)
        return;
    enter(DestinationState::Loading);
    machine_.finish_load([this, alive = alive_](Status status) {
        if (*alive)
            loaded(std::move(status));
    });
}

void DestinationSession::loaded(Status status)
{
    if (state_ != DestinationState::Loading)
        return;
    if (!status)
        return fail(std::move(status.error()));
    report_.load_s = seconds_since(load_started_);
    receiver_.reset();
    enter(DestinationState::Ready);
    if (control_)
        control_->send(FrameType::Ready);
}

} // namespace drover
