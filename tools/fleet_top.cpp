// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_link.h"
#include "tools/fleet_top_view.h"
#include "tools/verbs.h"

#include <cstdio>
#include <glib-unix.h>
#include <termios.h>
#include <unistd.h>

namespace drover::tools {

namespace {

constexpr std::chrono::seconds period{1};
constexpr std::chrono::seconds again{2}; // after a connection that failed

/// The terminal as a program that draws all of it needs it, and as it was at the end.
class Screen {
public:
    Screen()
    {
        tcgetattr(STDIN_FILENO, &former_);
        termios raw = former_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_cc[VSUSP] = _POSIX_VDISABLE; // stopped, it would leave its picture behind
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        fputs("\033[?1049h\033[?25l", stdout); // the other screen, no cursor
    }
    ~Screen()
    {
        fputs("\033[?25h\033[?1049l", stdout);
        fflush(stdout);
        tcsetattr(STDIN_FILENO, TCSANOW, &former_);
    }
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    /// Without a blank screen in between: each line ends with the clearing of what was behind it.
    static void draw(const std::string& lines)
    {
        std::string out = "\033[H";
        for (size_t begin = 0, end = 0; (end = lines.find('\n', begin)) != lines.npos;
             begin = end + 1)
            out += (begin > 0 ? "\r\n" : "") + lines.substr(begin, end - begin) + "\033[K";
        fputs((out + "\033[J").c_str(), stdout);
        fflush(stdout);
    }

private:
    termios former_ = {};
};

class TopVerb {
public:
    TopVerb(FleetOptions options, bool live) : options_(std::move(options)), live_(live) {}

    int run()
    {
        std::optional<Screen> screen;
        if (live_) {
            screen.emplace();
            listen_to_person();
            draw();
        }
        connect();
        const int code = run_.run();
        link_.reset();
        return code;
    }

private:
    void listen_to_person();
    void on_key();
    void connect();
    void failed(const Error& why);
    void query();
    void answered(Json& place, const Result<Json>& answer);
    void draw();

    static gboolean on_end_signal(gpointer self)
    {
        static_cast<TopVerb*>(self)->run_.end(exit_done);
        return G_SOURCE_CONTINUE;
    }
    static gboolean on_resize(gpointer self)
    {
        static_cast<TopVerb*>(self)->draw();
        return G_SOURCE_CONTINUE;
    }

    FleetOptions options_;
    bool live_;
    ToolRun run_;
    std::unique_ptr<FleetLink> link_;
    FleetPicture picture_;
    std::string notice_ = "connecting to the balancer; q quits";
    std::string refusal_;  // of a question of this turn
    unsigned awaited_ = 0; // answers to come
    bool seen_ = false;    // there is a picture
    loop::Source timer_;   // the next question, or connection
    loop::Source keys_;
    std::vector<loop::Source> signals_;
};

void TopVerb::listen_to_person()
{
    keys_ = loop::watch(STDIN_FILENO, G_IO_IN, [this](GIOCondition) { on_key(); });
    for (const int number : {SIGINT, SIGTERM, SIGHUP})
        signals_.emplace_back(g_unix_signal_add(number, on_end_signal, this));
    signals_.emplace_back(g_unix_signal_add(SIGWINCH, on_resize, this));
}

void TopVerb::on_key()
{
    char keys[64];
    const ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    if (n <= 0 || std::string_view(keys, static_cast<size_t>(n)).find_first_of("qQ") !=
                      std::string_view::npos)
        run_.end(exit_done);
}

void TopVerb::connect()
{
    awaited_ = 0;
    link_ = std::make_unique<FleetLink>(
        options_, FleetLink::Callbacks{[this] { query(); },
                                       [this](const Json&) {
                                           if (live_ && awaited_ == 0)
                                               query();
                                       },
                                       [this](const Error& why) { failed(why); }});
}

/// A balancer that is started anew is found again.
void TopVerb::failed(const Error& why)
{
    if (!live_)
        return run_.fail(why);
    notice_ = "no connection: " + clean(why.message) + "; q quits";
    draw();
    timer_ = loop::after(again, [this] { connect(); });
}

void TopVerb::query()
{
    timer_.reset();
    const std::pair<const char*, Json*> questions[] = {
        {"query-status", &picture_.status}, {"query-hosts", &picture_.hosts},
        {"query-vms", &picture_.vms},       {"query-hotspots", &picture_.hotspots},
        {"query-plan", &picture_.plan},     {"query-migrations", &picture_.migrations}};
    awaited_ = std::size(questions);
    for (const auto& [command, place] : questions)
        link_->client().execute(command, Json::object(), [this, place](const Result<Json>& answer) {
            answered(*place, answer);
        });
}

void TopVerb::answered(Json& place, const Result<Json>& answer)
{
    if (!answer && !live_)
        return run_.fail(answer.error());
    if (answer)
        place = *answer;
    else
        refusal_ = clean(answer.error().message) + "; ";
    if (awaited_ == 0 || --awaited_ > 0)
        return;
    notice_ = std::exchange(refusal_, {}) + "q quits";
    seen_ = true;
    if (live_) {
        draw();
        timer_ = loop::after(period, [this] { query(); });
        return;
    }
    const Json all = {{"status", picture_.status}, {"hosts", picture_.hosts},
                      {"vms", picture_.vms},       {"hotspots", picture_.hotspots},
                      {"plan", picture_.plan},     {"migrations", picture_.migrations}};
    FleetView view = view_of_stdout(options_.colour);
    view.height = 0;
    fputs((options_.json ? dump_json(all) + "\n" : draw_top(picture_, view, "")).c_str(), stdout);
    run_.end(exit_done);
}

void TopVerb::draw()
{
    if (!live_)
        return;
    const FleetView view = view_of_stdout(options_.colour);
    Screen::draw(seen_ ? draw_top(picture_, view, notice_)
                       : fit(notice_, view.width > 0 ? view.width : 80) + "\n");
}

} // namespace

Result<int> run_top(Words words)
{
    auto options = parse_fleet_options(words, {"--once"});
    if (!options)
        return pass(options);
    if (!options->plain.empty())
        return fail(ErrorKind::Invalid, "it takes no words");
    const bool live = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && !options->json &&
                      !own_option(*options, "--once");
    return TopVerb(std::move(*options), live).run();
}

} // namespace drover::tools
