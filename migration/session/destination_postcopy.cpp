// SPDX-License-Identifier: GPL-2.0-or-later
//
// Post-copy, at the destination: what the source told and did not send is fetched when somebody
// touches it, and comes by itself behind that. Already the devices' loading may touch it.
#include "migration/session/destination.h"
#include "migration/session/missing_pages.h"

#include "util/log.h"

namespace drover {

using stream::FrameType;

/// When RAM is as complete as it will get before the guest runs: nothing to do if it is complete.
Status DestinationSession::begin_postcopy()
{
    std::vector<PageBitmap> missing = receiver_->take_missing();
    const uint64_t pages = count_pages(missing);
    if (pages == 0)
        return {};
    if (!postcopy_agreed_)
        return drover::fail(ErrorKind::Protocol,
                            "the source kept pages back, and post-copy was not agreed on");
    auto hold = machine_.page_hold();
    if (!hold)
        return pass(hold);
    report_.postcopy = true;
    fetcher_ = std::make_unique<PageFetcher>(
        machine_.ram(), **hold, std::move(missing),
        PageFetcher::Callbacks{
            .request =
                [this](const stream::PageRequest& request) {
                    if (control_)
                        control_->send(FrameType::PageRequest, stream::encode(request));
                    else if (ask_for_pages_)
                        ask_for_pages_(request);
                },
            .complete = [this] { all_here(); },
        });
    return fetcher_->start();
}

void DestinationSession::page_data(const stream::Frame& frame)
{
    auto pages = stream::decode_pages(frame.payload);
    const Status taken = pages ? fetcher_->take(*pages) : pass(pages);
    if (taken) {
        control_->send(FrameType::PagesPlaced, stream::encode_u64(fetcher_->counters().bytes));
        return;
    }
    if (is_committed(state_))
        control_closed(taken.error()); // the source will call, and may send it once more
    else
        fail(taken.error());
}

/// The link broke at the commit, and the source calls to learn how that ends. The hypervisor may
/// have to touch a page that is missing before it can say so.
void DestinationSession::ask_by(AskForPages pages)
{
    if (control_ || !fetcher_ || !pages)
        return;
    ask_for_pages_ = std::move(pages);
    fetcher_->link_is_new();
}

Status DestinationSession::take_pages(const stream::Frame& frame)
{
    if (!fetcher_)
        return {};
    auto pages = stream::decode_pages(frame.payload);
    return pages ? fetcher_->take(*pages) : pass(pages);
}

void DestinationSession::all_here()
{
    if (control_)
        control_->send(FrameType::AllHere);
    if (!is_postcopy(state_))
        return;
    // The last page may have come together with the link's end, which was noticed first: then
    // AllHere is lost, and the source is told so when it calls.
    const bool waits = state_ == DestinationState::PostcopyPaused;
    enter(DestinationState::Completed);
    if (waits)
        machine_.stand_still(false);
}

/// Whoever touches a missing page waits for it anyway. The others wait with it: a guest of which
/// half stands still is worse off than one that stands still.
void DestinationSession::pause_postcopy(const Error& why)
{
    ++report_.link_breaks;
    log::warning("the link broke during post-copy: " + why.text() + "; " +
                 std::to_string(fetcher_->missing_count()) +
                 " pages are missing, and the guest stands still until the source has called");
    enter(DestinationState::PostcopyPaused);
    machine_.stand_still(true);
}

void DestinationSession::machine_died(const Error& how)
{
    died_ = true;
    for (const auto& reply : std::exchange(giving_back_, {}))
        reply(FrameType::Abort);
    if (is_postcopy(state_) && control_)
        control_->send_json(FrameType::Abort, stream::error_to_json(how));
    else
        fail(how);
}

void DestinationSession::resume(std::unique_ptr<stream::FrameConnection> connection)
{
    if (state_ == DestinationState::Reconnecting)
        return go_on(std::move(connection));
    if (!is_postcopy(state_))
        return;
    take_connection(std::move(connection));
    control_.set_silence_limit(postcopy_silence);
    tell_missing(fetcher_->missing(), [this](const stream::MissingPages& missing) {
        control_->send(FrameType::Missing, stream::encode(missing));
    });
    control_->send(FrameType::MissingEnd, stream::encode_u64(fetcher_->missing_count()));
    if (state_ == DestinationState::PostcopyPaused)
        enter(DestinationState::Postcopy);
    fetcher_->link_is_new();
    control_->hold_input(false);
    machine_.stand_still(false);
}

} // namespace drover
