// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/tls_pump.h"

#include "contrib/balancer/doors/tls_handshake.h"
#include "util/log.h"
#include "util/loop.h"

#include <vector>

namespace drover::balancer {

namespace {

constexpr size_t flow_size = 32U << 10;
constexpr std::chrono::seconds goodbye_limit{5};

/// Lives by its operations under way and its sources; nobody else holds it.
class Pump : public std::enable_shared_from_this<Pump> {
public:
    Pump(Ref<GTlsConnection> connection, Ref<GSocketConnection> local)
        : tls_(std::move(connection)), local_(std::move(local))
    {
        GIOStream* net = G_IO_STREAM(tls_.get());
        GIOStream* near = G_IO_STREAM(local_.get());
        inward_.in = g_io_stream_get_input_stream(net);
        inward_.out = g_io_stream_get_output_stream(near);
        outward_.in = g_io_stream_get_input_stream(near);
        outward_.out = g_io_stream_get_output_stream(net);
    }
    ~Pump() { hang_up(tls_.get()); }
    Pump(const Pump&) = delete;
    Pump& operator=(const Pump&) = delete;

    void start(const std::string& received)
    {
        // The source keeps us alive until the socket's other end is closed.
        near_gone_ = loop::watch(g_socket_get_fd(near_socket()), G_IO_HUP,
                                 [self = shared_from_this()](GIOCondition) { self->hear_close(); });
        read(outward_);
        if (received.empty())
            return read(inward_);
        std::copy(received.begin(), received.end(), inward_.buffer.begin());
        write(inward_, received.size());
    }

private:
    struct Flow {
        GInputStream* in = nullptr; // the streams belong to their connections
        GOutputStream* out = nullptr;
        std::vector<char> buffer = std::vector<char>(flow_size);
        Ref<GCancellable> cancellable{g_cancellable_new()};
        bool ended = false;
    };

    /// What a callback of GIO needs.
    struct Step {
        std::shared_ptr<Pump> pump;
        Flow& flow;
    };
    template <void (Pump::*member)(Flow&, GAsyncResult*)>
    static void stepped(GObject*, GAsyncResult* result, gpointer data)
    {
        const std::unique_ptr<Step> step(static_cast<Step*>(data));
        ((*step->pump).*member)(step->flow, result);
    }

    void read(Flow& flow);
    void on_read(Flow& flow, GAsyncResult* result);
    void write(Flow& flow, size_t size);
    void on_written(Flow& flow, GAsyncResult* result);
    void on_said_goodbye(Flow& flow, GAsyncResult* result);
    void end_of_input(Flow& flow);
    void broken(GError* error);
    void hear_close();
    void end(Flow& flow);
    void end_all();
    GSocket* near_socket() { return g_socket_connection_get_socket(local_.get()); }

    Ref<GTlsConnection> tls_;
    Ref<GSocketConnection> local_;
    Flow inward_;  // from the network
    Flow outward_; // to the network
    loop::Source near_gone_;
    loop::Source goodbye_timer_;
};

void Pump::read(Flow& flow)
{
    g_input_stream_read_async(flow.in, flow.buffer.data(), flow.buffer.size(), G_PRIORITY_DEFAULT,
                              flow.cancellable.get(), stepped<&Pump::on_read>,
                              new Step{shared_from_this(), flow});
}

void Pump::on_read(Flow& flow, GAsyncResult* result)
{
    GError* error = nullptr;
    const gssize n = g_input_stream_read_finish(flow.in, result, &error);
    if (flow.ended) {
        g_clear_error(&error);
    } else if (n > 0) {
        write(flow, static_cast<size_t>(n));
    } else if (n == 0 || &flow == &outward_) {
        // A reset of the socket pair is its close with something unread.
        g_clear_error(&error);
        end_of_input(flow);
    } else {
        broken(error);
    }
}

void Pump::write(Flow& flow, size_t size)
{
    g_output_stream_write_all_async(flow.out, flow.buffer.data(), size, G_PRIORITY_DEFAULT,
                                    flow.cancellable.get(), stepped<&Pump::on_written>,
                                    new Step{shared_from_this(), flow});
}

void Pump::on_written(Flow& flow, GAsyncResult* result)
{
    GError* error = nullptr;
    const bool written = g_output_stream_write_all_finish(flow.out, result, nullptr, &error) != 0;
    if (flow.ended) {
        g_clear_error(&error);
    } else if (written) {
        read(flow);
    } else if (&flow == &inward_) {
        // Nobody reads on our side any more: what it has written is still sent.
        g_clear_error(&error);
        end(inward_);
    } else {
        broken(error);
    }
}

void Pump::end_of_input(Flow& flow)
{
    if (&flow == &inward_) {
        g_socket_shutdown(near_socket(), FALSE, TRUE, nullptr);
        return end(inward_);
    }
    g_output_stream_close_async(flow.out, G_PRIORITY_DEFAULT, flow.cancellable.get(),
                                stepped<&Pump::on_said_goodbye>,
                                new Step{shared_from_this(), flow});
}

void Pump::on_said_goodbye(Flow& flow, GAsyncResult* result)
{
    g_output_stream_close_finish(flow.out, result, nullptr);
    if (!flow.ended)
        end(flow);
}

void Pump::broken(GError* error)
{
    log::debug(take_gerror(error, "a TLS connection broke").text());
    end_all();
}

/// Nobody is there to take what comes in; what is to go out has a while.
void Pump::hear_close()
{
    goodbye_timer_ = loop::after(goodbye_limit, [self = shared_from_this()] { self->end_all(); });
    const auto self = shared_from_this(); // the source below may be the last to hold us
    near_gone_.reset();
    if (!inward_.ended)
        end(inward_);
}

void Pump::end(Flow& flow)
{
    flow.ended = true;
    g_cancellable_cancel(flow.cancellable.get());
    if (inward_.ended && outward_.ended)
        end_all();
}

void Pump::end_all()
{
    const auto self = shared_from_this();
    near_gone_.reset();
    goodbye_timer_.reset();
    for (Flow* flow : {&inward_, &outward_}) {
        flow->ended = true;
        g_cancellable_cancel(flow->cancellable.get());
    }
    hang_up(tls_.get());
    g_socket_close(near_socket(), nullptr);
}

} // namespace

Result<UniqueFd> pump_tls(Ref<GTlsConnection> connection, std::string received)
{
    auto pair = socket_pair();
    if (!pair)
        return pass(pair);
    GError* error = nullptr;
    GSocket* socket = g_socket_new_from_fd(pair->first.get(), &error);
    if (!socket)
        return std::unexpected(take_gerror(error, "a socket for TLS"));
    (void)pair->first.release();
    const Ref<GSocket> owner(socket);
    Ref<GSocketConnection> local(g_socket_connection_factory_create_connection(socket));
    std::make_shared<Pump>(std::move(connection), std::move(local))->start(received);
    return std::move(pair->second);
}

} // namespace drover::balancer
