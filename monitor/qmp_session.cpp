// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_session.h"

#include "util/defect.h"
#include "util/log.h"
#include "util/loop.h"

#include <algorithm>
#include <unistd.h>

namespace drover {

namespace {

bool offers_oob(const Json& greeting)
{
    const auto list = greeting.find("capabilities");
    return list != greeting.end() && std::find(list->begin(), list->end(), "oob") != list->end();
}

} // namespace

std::shared_ptr<QmpSession> QmpSession::start(UniqueFd in, UniqueFd out, Config config,
                                              QmpHandler& handler, std::function<void()> gone)
{
    std::shared_ptr<QmpSession> self(new QmpSession(std::move(config), handler, std::move(gone)));
    const std::weak_ptr<QmpSession> weak = self;
    self->wire_ = Wire::open(std::move(in), std::move(out),
                             {[weak](std::string_view bytes, std::vector<UniqueFd> fds) {
                                  if (const auto session = weak.lock())
                                      session->receive(bytes, std::move(fds));
                              },
                              [weak](const Error& why) {
                                  if (const auto session = weak.lock())
                                      session->leave(why);
                              }});
    if (self->config_.telnet)
        self->wire_->send(std::string(telnet_greeting()));
    self->send({{"QMP", self->config_.greeting}});
    return self;
}

QmpSession::QmpSession(Config config, QmpHandler& handler, std::function<void()> gone)
    : config_(std::move(config)), handler_(handler), gone_(std::move(gone))
{
}

QmpSession::~QmpSession()
{
    close();
}

void QmpSession::close()
{
    closed_ = true;
    wire_->close();
    queue_.clear();
    fds_.clear();
}

void QmpSession::leave(const Error& why)
{
    log::debug("a QMP client has gone: " + why.text());
    close();
    // Later: an answer of the handler's may have brought us here.
    loop::post([weak = weak_from_this()] {
        if (const auto self = weak.lock())
            self->gone_();
    });
}

void QmpSession::send_event(const Json& event)
{
    if (negotiated_)
        send(event);
}

void QmpSession::send(const Json& message)
{
    std::string text = dump_json(message, config_.pretty) + "\r\n";
    // A log that is full or stuck is no reason to let the client wait.
    if (config_.log_fd >= 0) [[maybe_unused]]
        const ssize_t written = write(config_.log_fd, text.data(), text.size());
    wire_->send(std::move(text));
}

void QmpSession::answer(const std::optional<Json>& id, QmpResponse response)
{
    if (closed_)
        return;
    if (id)
        response.body["id"] = *id;
    send(response.body);
}

void QmpSession::receive(std::string_view bytes, std::vector<UniqueFd> fds)
{
    received_ += bytes.size();
    if (!fds.empty())
        fds_.push_back({received_, std::move(fds)});
    size_t waiting = 0;
    for (const FdBatch& batch : fds_)
        waiting += batch.fds.size();
    if (waiting > Wire::max_fds)
        return leave({ErrorKind::Protocol, "it sent more file descriptors than commands use", {}});
    splitter_.feed(config_.telnet ? telnet_.feed(bytes) : std::string(bytes));
    pump();
}

/// Runs what can run. Reads no further than it must: what a command means depends on whether the
/// ones before it (qmp_capabilities) have been carried out.
void QmpSession::pump()
{
    if (pumping_)
        return;
    pumping_ = true;
    while (!closed_) {
        if (!busy_ && overtaken_ < max_overtaken && !queue_.empty()) {
            ParsedRequest next = std::move(queue_.front());
            queue_.pop_front();
            dispatch(std::move(next));
        } else if (queue_.size() > max_queued || !read_one()) {
            break;
        }
    }
    pumping_ = false;
    if (!closed_)
        wire_->set_reading(queue_.size() <= max_queued);
}

bool QmpSession::read_one()
{
    auto item = splitter_.next();
    if (!item)
        return false;
    std::vector<UniqueFd> fds = take_fds(item->end);
    switch (item->kind) {
    case QmpSplitter::Item::Kind::Value: {
        ParsedRequest parsed = parse_request(item->text, oob_);
        parsed.request.fds = std::move(fds);
        parsed.request.client = config_.id;
        accept(std::move(parsed));
        break;
    }
    case QmpSplitter::Item::Kind::Garbage: {
        ParsedRequest parsed;
        parsed.refusal = QmpResponse::error("JSON parse error, " + item->text);
        accept(std::move(parsed));
        break;
    }
    case QmpSplitter::Item::Kind::TooBig: leave({ErrorKind::Protocol, item->text, {}}); break;
    }
    return true;
}

/// The descriptors that belong to the command that ends at `end`. They come with the first byte of
/// their command, but the kernel may hand over earlier commands' bytes in the same read: they are
/// the last command's that begins in that read.
std::vector<UniqueFd> QmpSession::take_fds(uint64_t end)
{
    std::vector<UniqueFd> taken;
    const uint64_t next_begin = std::max(splitter_.next_begin(), end);
    while (!fds_.empty() && fds_.front().end <= next_begin) {
        std::move(fds_.front().fds.begin(), fds_.front().fds.end(), std::back_inserter(taken));
        fds_.pop_front();
    }
    return taken;
}

void QmpSession::accept(ParsedRequest parsed)
{
    if (!parsed.refusal && parsed.request.out_of_band)
        handle(std::move(parsed), Turn::OutOfBand);
    else
        queue_.push_back(std::move(parsed));
}

void QmpSession::dispatch(ParsedRequest parsed)
{
    const std::string& command = parsed.request.command;
    if (parsed.refusal) {
        answer(parsed.id, std::move(*parsed.refusal));
    } else if (!negotiated_ && command == "qmp_capabilities") {
        answer(parsed.id, negotiate(parsed.request.arguments));
    } else if (!negotiated_) {
        answer(parsed.id,
               QmpResponse::error("Expecting capabilities negotiation with 'qmp_capabilities'",
                                  "CommandNotFound"));
    } else if (command == "qmp_capabilities") {
        answer(parsed.id,
               QmpResponse::error("Capabilities negotiation is already complete, command ignored",
                                  "CommandNotFound"));
    } else {
        const Turn turn = config_.overtaking && parsed.id ? Turn::Overtaken : Turn::Own;
        busy_ = turn == Turn::Own;
        overtaken_ += turn == Turn::Overtaken ? 1 : 0;
        handle(std::move(parsed), turn);
    }
}

/// A command that meets a defect ends here, and its responder with it, which answers.
void QmpSession::handle(ParsedRequest parsed, Turn turn)
{
    defects::contain([&] {
        handler_.handle(std::move(parsed.request), make_responder(std::move(parsed.id), turn));
    });
}

QmpResponse QmpSession::negotiate(const Json& arguments)
{
    const auto capabilities = parse_capabilities(arguments, offers_oob(config_.greeting));
    if (!capabilities)
        return QmpResponse::error(capabilities.error());
    oob_ = capabilities->oob;
    negotiated_ = true;
    return QmpResponse::ok();
}

/// One command that is not answered yet. Nobody waits for ever: where all who could answer it are
/// gone, as after a defect on the way, that is the answer.
class QmpSession::Unanswered {
public:
    Unanswered(std::weak_ptr<QmpSession> session, std::optional<Json> id, Turn turn)
        : session_(std::move(session)), id_(std::move(id)), turn_(turn)
    {
    }
    Unanswered(const Unanswered&) = delete;
    Unanswered& operator=(const Unanswered&) = delete;
    ~Unanswered()
    {
        if (session_.expired())
            return;
        loop::post([session = session_, id = std::move(id_), turn = turn_] {
            if (const auto self = session.lock())
                self->answer_command(
                    id, QmpResponse::error("the command has come to no end; see Drover's log"),
                    turn);
        });
    }

    void answer(QmpResponse response)
    {
        if (const auto self = std::exchange(session_, {}).lock())
            self->answer_command(id_, std::move(response), turn_);
    }

private:
    std::weak_ptr<QmpSession> session_;
    std::optional<Json> id_;
    Turn turn_;
};

QmpResponder QmpSession::make_responder(std::optional<Json> id, Turn turn)
{
    return [waiting = std::make_shared<Unanswered>(weak_from_this(), std::move(id), turn)](
               QmpResponse response) { waiting->answer(std::move(response)); };
}

void QmpSession::answer_command(const std::optional<Json>& id, QmpResponse response, Turn turn)
{
    answer(id, std::move(response));
    if (turn == Turn::OutOfBand)
        return;
    if (turn == Turn::Overtaken)
        --overtaken_;
    else
        busy_ = false;
    pump();
}

} // namespace drover
