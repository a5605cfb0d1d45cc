// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/page_server.h"

#include "migration/session/missing_pages.h"
#include "util/log.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace drover {

namespace {

constexpr size_t frame_pages = 32; // 128 KiB

constexpr uint64_t first_window = 512U << 10;
constexpr uint64_t smallest_window = 256U << 10;
constexpr uint64_t largest_window = 16U << 20;
/// What a request may come to wait for because of what was pushed before it.
constexpr double queue_target_s = 0.010;

} // namespace

PageServer::PageServer(std::span<const RamBlock> ram, std::vector<PageBitmap> pending) : ram_(ram)
{
    set_pending(std::move(pending));
}

void PageServer::set_pending(std::vector<PageBitmap> pending)
{
    pending_ = std::move(pending);
    left_ = count_pages(pending_);
    unreadable_.clear();
    for (const PageBitmap& block : pending_)
        unreadable_.emplace_back(block.size());
}

void PageServer::attach(stream::FrameConnection& connection)
{
    connection_ = &connection;
    sent_ = placed_ = 0;
    window_ = first_window;
    probe_.reset();
    fastest_s_.reset();
    push();
}

void PageServer::detach()
{
    connection_ = nullptr;
    push_timer_.reset();
}

void PageServer::start_pushing()
{
    pushing_ = true;
    push();
}

void PageServer::set_rate(uint64_t bytes_per_second)
{
    bucket_.set_rate(bytes_per_second, Clock::now());
}

Status PageServer::check(const stream::PageRequest& request) const
{
    if (request.block >= ram_.size() || request.first_page >= ram_[request.block].pages() ||
        request.count > ram_[request.block].pages() - request.first_page)
        return fail(ErrorKind::Protocol, "the destination asked for pages that do not exist");
    return {};
}

Status PageServer::request_over(stream::FrameConnection& connection,
                                const stream::PageRequest& request)
{
    if (Status exist = check(request); !exist)
        return exist;
    PageBitmap& pending = pending_[request.block];
    const uint64_t end = request.first_page + request.count;
    for (uint64_t page = pending.next_clear(request.first_page, end); page < end;
         page = pending.next_clear(page + 1, end)) {
        pending.set(page);
        left_ += unreadable_[request.block].test(page) ? 0 : 1;
    }
    attach(connection);
    Status answered = this->request(request);
    detach();
    return answered;
}

Status PageServer::request(const stream::PageRequest& request)
{
    if (Status exist = check(request); !exist)
        return exist;
    ++counters_.requests;
    const uint64_t end = request.first_page + request.count;
    PageBitmap& unreadable = unreadable_[request.block];
    for (uint64_t page = unreadable.next_set(request.first_page, end); page < end;
         page = unreadable.next_set(page + 1, end))
        pending_[request.block].set(page);
    unreadable.clear_range(request.first_page, request.count);
    for (uint64_t page = request.first_page; page < end;)
        page = send(request.block, page, end);
    next_block_ = request.block;
    next_page_ = end;
    push();
    return {};
}

Status PageServer::placed(uint64_t bytes)
{
    if (bytes < placed_ || bytes > sent_)
        return fail(ErrorKind::Protocol, "the destination acknowledged pages that were not sent");
    placed_ = bytes;
    if (probe_ && placed_ >= probe_->end)
        adapt_window();
    push();
    return {};
}

void PageServer::adapt_window()
{
    const double took = seconds_since(probe_->sent);
    probe_.reset();
    fastest_s_ = std::min(fastest_s_.value_or(took), took);
    window_ = took < *fastest_s_ + queue_target_s ? window_ + window_ / 4 : window_ - window_ / 4;
    window_ = std::clamp(window_, smallest_window, largest_window);
}

/// The next page to push, from where we are on, around the end.
bool PageServer::find_next()
{
    for (size_t turns = 0; turns <= pending_.size(); ++turns) {
        next_block_ %= pending_.size();
        const PageBitmap& pages = pending_[next_block_];
        next_page_ =
            next_page_ < pages.size() ? pages.next_set(next_page_, pages.size()) : pages.size();
        if (next_page_ < pages.size())
            return true;
        ++next_block_;
        next_page_ = 0;
    }
    return false;
}

void PageServer::push()
{
    push_timer_.reset();
    while (connection_ && pushing_ && left_ > 0 && sent_ - placed_ < window_) {
        if (const Duration wait = bucket_.wait_time(Clock::now()); wait > Duration::zero()) {
            const auto whole = std::chrono::ceil<std::chrono::milliseconds>(wait);
            push_timer_ = loop::after(whole, [this] { push(); });
            return;
        }
        if (!find_next())
            return;
        const uint64_t before = sent_;
        next_page_ = send(next_block_, next_page_, pending_[next_block_].size());
        bucket_.take(sent_ - before);
        if (!probe_)
            probe_ = {sent_, Clock::now()};
    }
}

/// One page that cannot be read (a swap device that fails) is no reason to keep the others from the
/// guest: only who touches it waits, and it is tried again whenever it is asked for.
void PageServer::put_aside(size_t block, uint64_t page, const Error& why)
{
    log::error("a page of the guest's memory cannot be read, and the guest waits where it needs "
               "it: " +
               why.text());
    pending_[block].clear(page);
    unreadable_[block].set(page);
}

uint64_t PageServer::send(size_t block, uint64_t first, uint64_t end)
{
    PageBitmap& pending = pending_[block];
    stream::PagesTable table{.block = static_cast<uint32_t>(block), .page_size = ram_page_size};
    std::array<std::byte, ram_page_size> page;
    stream::Bytes data;
    uint64_t at = pending.next_set(first, end);
    for (size_t count = 0; at < end && count < frame_pages; ++count) {
        if (Status read = read_ram(ram_[block], at * ram_page_size, page); !read) {
            put_aside(block, at, read.error());
            at = pending.next_set(at + 1, end);
            continue;
        }
        const bool zero = is_zero_page(page.data());
        const auto encoding = zero ? stream::PageEncoding::Zero : stream::PageEncoding::Raw;
        ++(zero ? counters_.pages_zero : counters_.pages_sent);
        if (!zero)
            data.insert(data.end(), page.begin(), page.end());
        auto& runs = table.runs;
        if (!runs.empty() && runs.back().encoding == encoding &&
            runs.back().first_page + runs.back().count == at)
            ++runs.back().count;
        else
            runs.push_back({at, 1, encoding});
        pending.clear(at);
        --left_;
        at = pending.next_set(at + 1, end);
    }
    if (table.runs.empty() || !connection_)
        return at;
    stream::Bytes payload;
    stream::encode_pages_table(table, payload);
    payload.insert(payload.end(), data.begin(), data.end());
    connection_->send(stream::FrameType::Pages, payload);
    sent_ += payload.size();
    counters_.bytes += payload.size();
    return at;
}

} // namespace drover
