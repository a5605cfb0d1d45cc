// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_assembler.h"

#include <algorithm>

namespace drover::stream {

FrameAssembler::FrameAssembler(ConnectionRole role, Greeting greeting) : role_(role)
{
    switch (greeting) {
    case Greeting::None: expect(Expecting::Header, header_); break;
    case Greeting::Optional: expect(Expecting::PreambleOrHeader, preamble_); break;
    case Greeting::Required: expect(Expecting::Preamble, preamble_); break;
    }
}

void FrameAssembler::expect(Expecting what, std::span<std::byte> target)
{
    expecting_ = what;
    target_ = target;
}

Result<const Frame*> FrameAssembler::filled(size_t count)
{
    target_ = target_.subspan(count);
    if (!target_.empty())
        return nullptr;
    Status status;
    switch (expecting_) {
    case Expecting::Preamble: status = take_preamble(); break;
    case Expecting::PreambleOrHeader:
        if (begins_with_magic(preamble_))
            status = take_preamble();
        else
            take_first_bytes();
        break;
    case Expecting::Header: status = take_header(); break;
    case Expecting::Payload: return take_payload();
    }
    if (!status)
        return pass(status);
    if (target_.empty()) // a frame without a payload
        return take_payload();
    return nullptr;
}

Status FrameAssembler::take_preamble()
{
    const auto role = decode_preamble(preamble_);
    if (!role)
        return std::unexpected(role.error());
    if (*role != role_)
        return fail(ErrorKind::Protocol, "the peer's connection has another role than expected");
    expect(Expecting::Header, header_);
    return {};
}

void FrameAssembler::take_first_bytes()
{
    std::copy(preamble_.begin(), preamble_.end(), header_.begin());
    expect(Expecting::Header, std::span(header_).subspan(preamble_.size()));
    may_be_stranger_ = true;
}

Status FrameAssembler::take_header()
{
    auto header = decode_header(header_);
    if (!header && may_be_stranger_)
        return std::unexpected(not_drover(header_));
    if (!header)
        return pass(header);
    may_be_stranger_ = false;
    if (auto expected = check_sequence(*header, sequence_); !expected)
        return expected;
    if ((types_ >> static_cast<unsigned>(header->type) & 1) == 0)
        return out_of_place(header->type);
    const auto payload = buffer_.prepare(header->payload_size);
    frame_ = {*header, payload};
    expect(Expecting::Payload, payload);
    return {};
}

Result<const Frame*> FrameAssembler::take_payload()
{
    if (auto whole = check_payload(frame_.header, frame_.payload); !whole)
        return pass(whole);
    ++sequence_;
    expect(Expecting::Header, header_);
    return &frame_;
}

bool FrameAssembler::is_amid_frame() const
{
    return expecting_ != Expecting::Header || target_.size() < header_.size();
}

Error FrameAssembler::ended(Error why) const
{
    if (expecting_ != Expecting::Preamble && expecting_ != Expecting::PreambleOrHeader)
        return why;
    const size_t received = preamble_.size() - target_.size();
    return {ErrorKind::Connection,
            why.message + " before it greeted; it looks like " +
                describe_stranger(std::span(preamble_).first(received)),
            "both ends of a migration must be Drover, and the destination must still wait for one"};
}

} // namespace drover::stream
