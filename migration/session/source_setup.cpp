// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source.h"

#include "migration/session/judgement.h"

#include <algorithm>

namespace drover {

using stream::FrameType;

void SourceSession::start()
{
    started_ = Clock::now();
    ask_peer_ = options_.destination;
    if (!options_.connected)
        return open_control();
    if (Status set =
            set_tcp_congestion(options_.connected.get(), options_.destination.tcp_congestion);
        !set)
        return fail(std::move(set.error()));
    // Where its other end listened (libvirt connects to the destination itself) we can call.
    if (auto peer = peer_address(options_.connected.get()))
        ask_peer_.address = std::move(*peer);
    if (!options_.destination.tls)
        return open_tunnel(Socket(std::move(options_.connected)));
    handshake_ =
        shake_hands(std::move(options_.connected), options_.destination.tls, connect_timeout,
                    [this](Result<Socket> socket) { open_tunnel(std::move(socket)); });
}

void SourceSession::open_tunnel(Result<Socket> socket)
{
    if (state_ != SourceState::Connecting) // given up meanwhile
        return;
    if (!socket)
        return fail(std::move(socket.error()));
    report_.encryption = socket->encryption();
    tunnel_ = std::make_unique<stream::Tunnel>(
        std::move(*socket), true,
        stream::Tunnel::Callbacks{.opened = {}, .closed = [](const Error&) {}});
    open_control();
}

void SourceSession::open_control()
{
    connecting_ = dial([this](Result<Socket> socket) { connected(std::move(socket)); });
}

/// A connection to the destination; over the one that we were given, there is no calling.
std::unique_ptr<Connecting> SourceSession::dial(std::function<void(Result<Socket>)> done)
{
    if (!tunnel_)
        return call(options_.destination, std::move(done));
    auto end = std::make_shared<Result<Socket>>(tunnel_->open());
    loop::post([alive = alive_, end, done = std::move(done)] {
        if (*alive)
            done(std::move(*end));
    });
    return nullptr;
}

void SourceSession::connected(Result<Socket> socket)
{
    if (state_ != SourceState::Connecting) // given up meanwhile
        return;
    if (!socket)
        return fail(std::move(socket.error()));
    if (!tunnel_)
        report_.encryption = socket->encryption();
    control_ = std::make_unique<stream::FrameConnection>(
        std::move(*socket), stream::ConnectionRole::Control, true, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed = [this](Error error) { control_closed(std::move(error)); },
            .drained = [this] { machine_.hold_data(false); },
        });
    control_.watch([this](Error error) { control_closed(std::move(error)); });
    enter(SourceState::Greeting);
    machine_.prepare_save([this, alive = alive_](Status can) {
        if (!*alive || state_ != SourceState::Greeting)
            return;
        if (!can)
            return fail(std::move(can.error()));
        describe_and_greet();
    });
}

void SourceSession::describe_and_greet()
{
    const auto tracker = machine_.tracker();
    if (!tracker)
        return fail(tracker.error());
    report_.tracker = (*tracker)->name();
    // Over the one connection that we were given nobody could call again after a break.
    const GreetingOptions greeting{.software = options_.software,
                                   .channels = options_.channels,
                                   .one_connection = tunnel_ != nullptr,
                                   .reconnect_s = options_.wish.reconnect_s,
                                   .verify = options_.wish.verify,
                                   .validate_uuid = options_.validate_uuid,
                                   .downtime_s = options_.wish.downtime_s};
    make_hello(machine_, greeting, [this, alive = alive_](Result<stream::Hello> hello) {
        if (!*alive || state_ != SourceState::Greeting)
            return;
        if (!hello)
            return fail(std::move(hello.error()));
        hello_ = std::move(*hello);
        may_be_awaited_ = true;
        control_->send_json(FrameType::Hello, hello_.to_json());
    });
}

void SourceSession::welcomed(const stream::Frame& frame)
{
    auto json = stream::decode_json(frame.payload);
    if (!json)
        return fail(std::move(json.error()));
    auto welcome = stream::Welcome::from_json(*json);
    if (!welcome)
        return fail(std::move(welcome.error()));
    if (Status fits = stream::check_welcome(hello_, *welcome); !fits)
        return fail(std::move(fits.error()));
    const auto agreed = [&](std::string_view name) {
        return std::ranges::find(welcome->features, name) != welcome->features.end();
    };
    postcopy_agreed_ = agreed(stream::feature::postcopy);
    resume_agreed_ = agreed(stream::feature::resume_copy);
    if (options_.wish.verify && !agreed(stream::feature::ram_digest))
        return fail({ErrorKind::Incompatible,
                     "RAM is to be verified (the policy's verify=on), and the destination cannot",
                     "it needs a Drover of this release, and guest RAM that it can read again"});
    report_.verified = agreed(stream::feature::ram_digest);
    give_back_agreed_ = agreed(stream::feature::give_back);
    encodings_ = options_.encodings;
    encodings_.cpu = options_.wish.cpu;
    for (const stream::EncodingFeature& optional : stream::encoding_features())
        if (!agreed(optional.feature))
            encodings_.allowed.remove(optional.encoding);
    report_.delta_bytes =
        encodings_.allowed.has(stream::PageEncoding::Delta) ? encodings_.delta_bytes : 0;
    const StateForm form =
        agreed(stream::feature::device_state_neutral) ? StateForm::Neutral : StateForm::Own;
    // A destination of another release may not have known all that we know.
    if (Status fits = welcome->machine.empty()
                          ? Status()
                          : check_machines(hello_.machine, welcome->machine, form);
        !fits)
        return fail(std::move(fits.error()));
    machine_.use_state_form(form);
    report_.no_postcopy = tunnel_ ? "a connection that was handed over (fd:) cannot be made anew"
                                  : welcome->no_postcopy;
    warn_of_no_postcopy();
    enter(SourceState::Joining);
    connect_channels(welcome->channels);
}

void SourceSession::connect_channels(unsigned count)
{
    channels_wanted_ = count;
    for (unsigned i = 0; i < count; ++i)
        channels_connecting_.push_back(
            dial([this](Result<Socket> socket) { channel_connected(std::move(socket)); }));
}

void SourceSession::channel_connected(Result<Socket> socket)
{
    if (state_ != SourceState::Joining && state_ != SourceState::Reconnecting)
        return;
    if (!socket)
        return can_reconnect(socket.error()) ? reconnect(socket.error())
                                             : fail(std::move(socket.error()));
    channels_.push_back(make_socket_channel(std::move(*socket)));
    if (state_ == SourceState::Reconnecting)
        go_on_if_ready();
    else if (channels_.size() == channels_wanted_)
        begin_copying();
}

void SourceSession::begin_copying()
{
    auto tracker = machine_.tracker();
    if (!tracker)
        return fail(std::move(tracker.error()));
    if (options_.wish.max_slowdown > 0)
        machine_.observe();
    limit_.start();
    const SendOptions options{hello_.session, machine_.gives_memory_back(), encodings_,
                              report_.verified};
    sender_ = std::make_unique<RamSender>(
        machine_.ram(), **tracker, limit_, std::move(channels_), options,
        RamSender::Callbacks{
            .round_done = [this](Result<RoundStats> stats) { round_sent(std::move(stats)); },
            .counted =
                [this](Result<RamSender::DirtyCount> left) { dirty_counted(std::move(left)); },
            .stopped =
                [this] {
                    sender_stopped_ = true;
                    go_on_if_ready();
                },
        });
    channels_.clear();
    report_.setup_s = seconds_since(started_);
    enter(SourceState::Copying);
    start_round(RamSender::Round::Live);
}

} // namespace drover
