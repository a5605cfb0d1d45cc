// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_client.h"

#include "monitor/qmp_splitter.h"
#include "monitor/wire.h"

#include <algorithm>
#include <map>
#include <optional>

namespace drover {

namespace {

/// A reply may be large (a screen's bytes, a guest's block graph): QEMU sets no limit. One that is
/// larger than this fails its command, and only that: the connection is every client's.
constexpr size_t max_reply = 256U << 20;

Json error_object(const Error& error)
{
    return {{"error", {{"class", "GenericError"}, {"desc", error.text()}}}};
}

/// A reply for execute() from a whole response object.
Result<Json> value_of(Json response)
{
    if (const auto value = response.find("return"); value != response.end())
        return std::move(*value);
    return fail(ErrorKind::Machine,
                json_string(response["error"], "desc", "the machine gave no reason"));
}

bool asks_for_oob(const Json& request)
{
    return request.contains("exec-oob");
}

} // namespace

/// Shared with its own callbacks, so that a user's callback may destroy the client.
class QmpClient::Impl : public std::enable_shared_from_this<Impl> {
public:
    explicit Impl(Callbacks callbacks) : callbacks_(std::move(callbacks)), splitter_(max_reply) {}

    void start(UniqueFd fd);
    void stop();
    void negotiate(bool enable_oob, Reply ready);
    void execute(const std::string& command, Json arguments, Reply reply,
                 std::vector<UniqueFd> fds);
    void forward(Json request, RawReply reply, std::vector<UniqueFd> fds);

    void break_off(Error why);

private:
    struct Pending {
        /// One of the two. `failed` keeps the kind of a connection's error for execute().
        std::function<void(Json)> answered;
        std::function<void(const Error&)> failed;
        bool out_of_band = false;
    };

    void send(Json request, Pending pending, std::vector<UniqueFd> fds);
    void receive(std::string_view bytes);
    void take(Json message);
    void take_response(Json message);
    void greet();
    void fail_later(Pending pending, Error why);

    Callbacks callbacks_;
    std::shared_ptr<Wire> wire_;
    QmpSplitter splitter_;
    std::map<uint64_t, Pending> pending_; // by id, so in the order of sending
    uint64_t last_id_ = 0;
    std::optional<Json> greeting_;
    std::function<void()> greeted_; // negotiate() waits for the greeting
    std::function<void(const Error&)> greeting_failed_;
    std::optional<Error> broken_;
    bool stopped_ = false; // the QmpClient is gone: nobody is to be called any more
};

void QmpClient::Impl::start(UniqueFd fd)
{
    const std::weak_ptr<Impl> weak = weak_from_this();
    wire_ = Wire::open(std::move(fd), {},
                       {[weak](std::string_view bytes, const std::vector<UniqueFd>&) {
                            if (const auto self = weak.lock())
                                self->receive(bytes);
                        },
                        [weak](Error why) {
                            if (const auto self = weak.lock())
                                self->break_off(std::move(why));
                        }});
}

void QmpClient::Impl::stop()
{
    stopped_ = true;
    wire_->close();
}

void QmpClient::Impl::negotiate(bool enable_oob, Reply ready)
{
    const auto shared = std::make_shared<Reply>(std::move(ready));
    greeting_failed_ = [shared](const Error& why) { (*shared)(std::unexpected(why)); };
    greeted_ = [this, enable_oob, shared] {
        greeting_failed_ = nullptr;
        const Json& offered = (*greeting_)["capabilities"];
        Json arguments = Json::object();
        if (enable_oob && std::find(offered.begin(), offered.end(), "oob") != offered.end())
            arguments["enable"] = {"oob"};
        execute("qmp_capabilities", std::move(arguments),
                [greeting = *greeting_, shared](Result<Json> reply) {
                    (*shared)(reply ? Result<Json>(greeting) : std::move(reply));
                },
                {});
    };
    if (broken_)
        fail_later({nullptr, std::exchange(greeting_failed_, nullptr)}, *broken_);
    else if (greeting_)
        greet();
}

void QmpClient::Impl::greet()
{
    if (const auto greeted = std::exchange(greeted_, nullptr))
        greeted();
}

void QmpClient::Impl::execute(const std::string& command, Json arguments, Reply reply,
                              std::vector<UniqueFd> fds)
{
    Json request = {{"execute", command}};
    if (!arguments.empty())
        request["arguments"] = std::move(arguments);
    const auto shared = std::make_shared<Reply>(std::move(reply));
    send(std::move(request),
         {[shared](Json response) { (*shared)(value_of(std::move(response))); },
          [shared](const Error& why) { (*shared)(std::unexpected(why)); }},
         std::move(fds));
}

void QmpClient::Impl::forward(Json request, RawReply reply, std::vector<UniqueFd> fds)
{
    const auto shared = std::make_shared<RawReply>(std::move(reply));
    send(std::move(request),
         {[shared](Json response) { (*shared)(std::move(response)); },
          [shared](const Error& why) { (*shared)(error_object(why)); }},
         std::move(fds));
}

void QmpClient::Impl::send(Json request, Pending pending, std::vector<UniqueFd> fds)
{
    pending.out_of_band = asks_for_oob(request);
    if (broken_)
        return fail_later(std::move(pending), *broken_);
    if (!fds.empty() && (!wire_->passes_fds() || fds.size() > Wire::max_fds))
        return fail_later(std::move(pending),
                          {ErrorKind::Invalid,
                           "file descriptors cannot be passed on this connection",
                           "use a UNIX socket, and at most 253 at once"});
    const uint64_t id = ++last_id_;
    request["id"] = id;
    pending_.emplace(id, std::move(pending));
    wire_->send(dump_json(request) + "\n", std::move(fds));
}

void QmpClient::Impl::receive(std::string_view bytes)
{
    splitter_.feed(bytes);
    while (!stopped_ && !broken_) {
        auto item = splitter_.next();
        if (!item)
            return;
        if (item->kind == QmpSplitter::Item::Kind::TooBig) {
            take_response(error_object({ErrorKind::Machine,
                                        "the answer was " + item->text + " and is left out",
                                        "ask for less at once"}));
            continue;
        }
        auto message = item->kind == QmpSplitter::Item::Kind::Value
                           ? parse_json(item->text)
                           : fail(ErrorKind::Protocol, item->text);
        if (message && message->is_object())
            take(std::move(*message));
        else
            break_off({ErrorKind::Protocol,
                       "the peer does not speak QMP: " +
                           (message ? "a message is not an object" : message.error().message),
                       "check that this is a QMP monitor, not a human one"});
    }
}

void QmpClient::Impl::take(Json message)
{
    if (const auto greeting = message.find("QMP");
        greeting != message.end() && greeting->is_object()) {
        greeting_ = std::move(*greeting);
        greet();
    } else if (message.contains("event")) {
        if (callbacks_.event)
            callbacks_.event(message);
    } else if (message.contains("return") || message.contains("error")) {
        take_response(std::move(message));
    }
}

void QmpClient::Impl::take_response(Json message)
{
    auto found = pending_.end();
    if (const auto id = message.find("id"); id != message.end()) {
        if (id->is_number_unsigned())
            found = pending_.find(id->get<uint64_t>());
        message.erase(id);
    } else {
        // QEMU did not get as far as the id, or we did not. In-band commands are answered in order.
        found = std::find_if(pending_.begin(), pending_.end(),
                             [](const auto& entry) { return !entry.second.out_of_band; });
    }
    if (found == pending_.end())
        return;
    const Pending pending = std::move(found->second);
    pending_.erase(found);
    pending.answered(std::move(message));
}

void QmpClient::Impl::break_off(Error why)
{
    if (broken_)
        return;
    broken_ = std::move(why);
    wire_->close();
    if (const auto greeting_failed = std::exchange(greeting_failed_, nullptr))
        greeting_failed(*broken_);
    while (!stopped_ && !pending_.empty()) {
        const auto first = pending_.extract(pending_.begin());
        first.mapped().failed(*broken_);
    }
    if (!stopped_ && callbacks_.closed)
        callbacks_.closed(*broken_);
}

/// No reply comes before the call that asked for it has returned.
void QmpClient::Impl::fail_later(Pending pending, Error why)
{
    loop::post([weak = weak_from_this(), pending = std::move(pending), why = std::move(why)] {
        const auto self = weak.lock();
        if (self && !self->stopped_)
            pending.failed(why);
    });
}

QmpClient::QmpClient(UniqueFd fd, Callbacks callbacks)
    : impl_(std::make_shared<Impl>(std::move(callbacks)))
{
    impl_->start(std::move(fd));
}

QmpClient::~QmpClient()
{
    impl_->stop();
}

void QmpClient::negotiate(bool enable_oob, Reply ready)
{
    impl_->negotiate(enable_oob, std::move(ready));
}

void QmpClient::execute(const std::string& command, Json arguments, Reply reply,
                        std::vector<UniqueFd> fds)
{
    impl_->execute(command, std::move(arguments), std::move(reply), std::move(fds));
}

void QmpClient::forward(Json request, RawReply reply, std::vector<UniqueFd> fds)
{
    impl_->forward(std::move(request), std::move(reply), std::move(fds));
}

void QmpClient::give_up(Error why)
{
    const auto impl = impl_; // callbacks may destroy us
    impl->break_off(std::move(why));
}

} // namespace drover
