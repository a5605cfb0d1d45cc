// SPDX-License-Identifier: GPL-2.0-or-later
#include "relay.h"

#include "migration/stream/frame_io.h"
#include "util/loop.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace drover::testing {

/// One connection: two sockets, and a way in each direction.
class Relay::Line : public std::enable_shared_from_this<Line> {
public:
    Line(Relay& relay, UniqueFd source, UniqueFd destination) : relay_(relay)
    {
        ends_[0] = std::move(source);
        ends_[1] = std::move(destination);
    }

    void start()
    {
        for (int from : {0, 1})
            listen(from);
    }
    void close()
    {
        for (Way& way : ways_) {
            way.in.reset();
            way.out.reset();
        }
        ends_[0].reset();
        ends_[1].reset();
    }
    void stall()
    {
        stalled_ = true;
        ways_[0].in.reset();
        ways_[1].in.reset();
    }
    void resume()
    {
        stalled_ = false;
        for (int from : {0, 1})
            pass(from);
    }

private:
    struct Way {
        stream::Bytes arrived; ///< not judged yet
        stream::Bytes judged;  ///< to be written
        bool greeted = false;  ///< the preamble has passed
        bool ended = false;
        loop::Source in, out;
    };

    void listen(int from)
    {
        if (ends_[from] && !ways_[from].in && !ways_[from].ended && !stalled_)
            ways_[from].in =
                loop::watch(ends_[from].get(), G_IO_IN,
                            [self = shared_from_this(), from](GIOCondition) { self->read(from); });
    }

    void read(int from)
    {
        std::byte buffer[65536];
        const ssize_t n = recv(ends_[from].get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        Way& way = ways_[from];
        way.ended = n <= 0;
        if (n > 0)
            way.arrived.insert(way.arrived.end(), buffer, buffer + n);
        way.in.reset();
        pass(from);
    }

    /// Judges what arrived and writes what may pass; reads on when all of that is gone.
    void pass(int from)
    {
        Way& way = ways_[from];
        while (!stalled_ && ends_[from]) {
            const size_t size = next_piece(from);
            if (size == 0)
                break;
            if (!judge_piece(from, size))
                return;
        }
        write(from);
        if (ends_[from] && way.judged.empty())
            listen(from);
    }

    /// The size of a whole frame (or the preamble, or any data) that has arrived; 0: none has.
    size_t next_piece(int from)
    {
        const Way& way = ways_[from];
        const size_t have = way.arrived.size();
        if (from == 0 && !way.greeted) {
            if (have < stream::preamble_size)
                return 0;
            const auto role =
                stream::decode_preamble(std::span(way.arrived).first<stream::preamble_size>());
            role_ = role.value_or(stream::ConnectionRole::Data);
            return stream::preamble_size;
        }
        if (role_ == stream::ConnectionRole::Data)
            return have;
        if (have < stream::header_size)
            return 0;
        const auto header =
            stream::decode_header(std::span(way.arrived).first<stream::header_size>());
        if (!header)
            return have; // not ours to mend
        const size_t size = stream::header_size + header->payload_size;
        return have < size ? 0 : size;
    }

    /// False if the line is no more.
    bool judge_piece(int from, size_t size)
    {
        Way& way = ways_[from];
        Verdict verdict = Verdict::Pass;
        if ((from == 1 || way.greeted) && role_ != stream::ConnectionRole::Data) {
            const auto header =
                stream::decode_header(std::span(way.arrived).first<stream::header_size>());
            if (header)
                verdict = relay_.judged({role_, from == 0, header->type});
        } else if (way.greeted && from == 0 && relay_.judge_data)
            verdict = relay_.judge_data(size);
        way.greeted = true;
        if (verdict == Verdict::Stall) {
            relay_.stall();
            return true;
        }
        if (verdict != Verdict::CutBefore) {
            const auto end = way.arrived.begin() + static_cast<ptrdiff_t>(size);
            way.judged.insert(way.judged.end(), way.arrived.begin(), end);
            way.arrived.erase(way.arrived.begin(), end);
            if (verdict == Verdict::Pass)
                return true;
            write(from);
        }
        relay_.cut();
        return false;
    }

    void write(int from)
    {
        Way& way = ways_[from];
        const int to = 1 - from;
        while (ends_[to] && !way.judged.empty()) {
            const ssize_t n = send(ends_[to].get(), way.judged.data(), way.judged.size(),
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                if (!way.out)
                    way.out = loop::watch(ends_[to].get(), G_IO_OUT,
                                          [self = shared_from_this(), from](GIOCondition) {
                                              self->ways_[from].out.reset();
                                              self->pass(from);
                                          });
                return;
            }
            if (n < 0)
                return close();
            way.judged.erase(way.judged.begin(), way.judged.begin() + n);
        }
        if (way.ended && ends_[to] && !stalled_) {
            shutdown(ends_[to].get(), SHUT_WR);
            if (ways_[to].ended)
                close();
        }
    }

    Relay& relay_;
    UniqueFd ends_[2]; ///< source's, destination's
    Way ways_[2];      ///< by where it comes from
    stream::ConnectionRole role_ = stream::ConnectionRole::Control;
    bool stalled_ = false;
};

Relay::Relay(const std::string& listen_path, std::string target_path)
    : target_path_(std::move(target_path))
{
    MigrationAddress address;
    address.kind = MigrationAddress::Kind::Unix;
    address.path = listen_path;
    auto listening = listen_on(
        address, [this](UniqueFd socket, const std::string&) { accept(std::move(socket)); });
    EXPECT_TRUE(listening);
    listening_ = std::move(*listening);
}

Relay::~Relay()
{
    for (const auto& line : lines_)
        line->close();
}

void Relay::accept(UniqueFd socket)
{
    if (refuses) {
        ++refused;
        return;
    }
    UniqueFd onward(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    target_path_.copy(to.sun_path, sizeof to.sun_path - 1);
    if (connect(onward.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
        return; // nobody there: closed
    lines_.push_back(std::make_shared<Line>(*this, std::move(socket), std::move(onward)));
    lines_.back()->start();
}

Relay::Verdict Relay::judged(const Passing& passing)
{
    return judge ? judge(passing) : Verdict::Pass;
}

void Relay::cut()
{
    for (const auto& line : std::exchange(lines_, {}))
        line->close();
}

void Relay::stall()
{
    for (const auto& line : lines_)
        line->stall();
}

void Relay::resume()
{
    for (const auto& line : std::list(lines_))
        line->resume();
}

} // namespace drover::testing
