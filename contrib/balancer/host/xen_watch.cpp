// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/xen_watch.h"

#include "contrib/balancer/host/vm_start.h"
#include "util/clock.h"
#include "util/log.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr std::chrono::milliseconds watch_again_after{2000};
constexpr std::chrono::seconds first_facts_limit{10};
constexpr size_t longest_line = 16U << 20; // some ten thousand domains

} // namespace

bool is_xen_host()
{
    const auto capabilities = read_file("/proc/xen/capabilities");
    return capabilities && capabilities->find("control_d") != std::string::npos &&
           !find_program("drover-xen").empty();
}

void run_xl_later(std::vector<std::string> words)
{
    words.insert(words.begin(), "xl");
    std::vector<const gchar*> argv;
    argv.reserve(words.size() + 1);
    for (const std::string& word : words)
        argv.push_back(word.c_str());
    argv.push_back(nullptr);
    GError* error = nullptr;
    GSubprocess* process =
        g_subprocess_newv(argv.data(), G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error);
    if (process == nullptr) {
        log::warning("xl " + words[1] + ": " + error->message);
        return g_error_free(error);
    }
    auto* what = new std::string("xl " + words[1] + " " + words.back());
    g_subprocess_wait_check_async(
        process, nullptr,
        [](GObject* object, GAsyncResult* result, gpointer data) {
            const std::unique_ptr<std::string> ran(static_cast<std::string*>(data));
            GError* failure = nullptr;
            if (g_subprocess_wait_check_finish(G_SUBPROCESS(object), result, &failure) == 0) {
                log::warning(*ran + ": " + failure->message);
                g_error_free(failure);
            }
        },
        what);
    g_object_unref(process);
}

XenWatcher::XenWatcher(std::string program, std::function<void()> told, std::function<void()> lost)
    : program_(std::move(program)), told_(std::move(told)), lost_(std::move(lost))
{
    start();
}

XenWatcher::~XenWatcher()
{
    if (process_ != nullptr)
        g_object_unref(process_); // closes its input: it ends
}

void XenWatcher::start()
{
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        retry_ = loop::after(watch_again_after, [this] { start(); });
        return;
    }
    output_ = UniqueFd(ends[0]);
    (void)set_nonblocking(output_.get(), true);
    GSubprocessLauncher* launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE);
    g_subprocess_launcher_take_stdout_fd(launcher, ends[1]);
    const std::array<const gchar*, 3> words = {program_.c_str(), "watch", nullptr};
    GError* error = nullptr;
    process_ = g_subprocess_launcher_spawnv(launcher, words.data(), &error);
    g_object_unref(launcher);
    if (process_ == nullptr) {
        if (!std::exchange(silent_, true))
            log::warning("Xen is not watched: " + std::string(error->message));
        g_error_free(error);
        return ended();
    }
    watch_ = loop::watch(output_.get(), G_IO_IN, [this](GIOCondition) { read_lines(); });
}

void XenWatcher::await_first()
{
    const TimePoint limit = Clock::now() + first_facts_limit;
    while (!facts_ && process_ != nullptr && Clock::now() < limit) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now());
        pollfd input = {.fd = output_.get(), .events = POLLIN, .revents = 0};
        if (poll(&input, 1, static_cast<int>(left.count())) > 0)
            read_lines();
    }
    if (!facts_)
        log::warning("nothing was heard of Xen in time: its guests are out of sight for now");
}

void XenWatcher::ask()
{
    if (process_ == nullptr)
        return;
    GOutputStream* input = g_subprocess_get_stdin_pipe(process_);
    g_output_stream_write(input, "\n", 1, nullptr, nullptr); // a byte: never waits for long
}

void XenWatcher::read_lines()
{
    std::array<char, 65536> bytes;
    const ssize_t n = read(output_.get(), bytes.data(), bytes.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || text_.size() > longest_line)
        return ended();
    text_.append(bytes.data(), static_cast<size_t>(n));
    size_t from = 0;
    for (size_t end = 0; (end = text_.find('\n', from)) != std::string::npos; from = end + 1)
        take_line(std::string_view(text_).substr(from, end - from));
    text_.erase(0, from);
}

void XenWatcher::take_line(std::string_view line)
{
    const auto json = parse_json(line);
    auto facts = json ? parse_xen_facts(*json) : std::unexpected(json.error());
    if (!facts)
        return log::warning("what drover-xen tells: " + facts.error().text());
    facts_ = std::move(*facts);
    ++told_times_;
    silent_ = false;
    told_();
}

void XenWatcher::ended()
{
    watch_.reset();
    output_.reset();
    text_.clear();
    if (process_ != nullptr) {
        if (!std::exchange(silent_, true))
            log::warning("drover-xen watch has ended: it is started again and again");
        g_object_unref(std::exchange(process_, nullptr));
    }
    if (facts_) {
        facts_.reset();
        lost_();
    }
    retry_ = loop::after(watch_again_after, [this] { start(); });
}

} // namespace drover::balancer
