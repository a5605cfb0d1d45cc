// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_control.h"

#include "system/migrate_info.h"
#include "util/log.h"

#include <algorithm>
#include <charconv>

namespace drover {

namespace {
constexpr const char* software = "drover " DROVER_VERSION;
/// Ready, Commit and Running cross the link while the guest stands still, and the device state
/// before them.
constexpr double hand_over_trips = 2;

/// "migrate" as QEMU 7.2 knows it. What Drover does not do is refused rather than left out.
Status check_migrate_arguments(const Json& arguments)
{
    for (const auto& [name, value] : arguments.items()) {
        if (name == "uri" || name == "detach")
            continue;
        if (name != "blk" && name != "inc" && name != "resume")
            return fail(ErrorKind::Invalid, "Parameter '" + name + "' is unexpected");
        if (json_bool(arguments, name.c_str()))
            return fail(ErrorKind::Refused, "Drover's migration has no '" + name + "'",
                        "share the disks between the hosts, or copy them by drive-mirror before");
    }
    return {};
}

/// The first reason in words, and that there are more.
Status check_blockers(const std::vector<std::string>& blockers)
{
    if (blockers.empty())
        return {};
    const bool more = blockers.size() > 1;
    return fail(ErrorKind::Refused, "this guest cannot be migrated: " + blockers.front(),
                more ? "there are more reasons: see query-migrate's blocked-reasons" : "");
}

} // namespace

MigrateControl::MigrateControl(qemu::QemuMachine& machine, MigrationWish wish,
                               std::set<int> inherited, Callbacks callbacks)
    : machine_(machine), settings_(wish), callbacks_(std::move(callbacks)),
      inherited_(std::move(inherited))
{
}

MigrateControl::~MigrateControl() = default;

Status MigrateControl::allow_incoming(const std::string& uri)
{
    if (uri == "defer") {
        incoming_deferred_ = true;
        return {};
    }
    return open_incoming(uri);
}

Status MigrateControl::open_incoming(const std::string& uri)
{
    if (door_ && !incoming_deferred_)
        return fail(ErrorKind::Refused, "The incoming migration has already been started");
    auto address = MigrationAddress::parse(uri);
    if (!address)
        return pass(address);
    door_ = std::make_unique<IncomingDoor>(
        machine_, software,
        IncomingDoor::Callbacks{
            .state_changed = [this](DestinationState state) { destination_changed(state); },
            .turned_away =
                [](const Error& error, const std::string& peer) {
                    log::warning("turned away " + peer + ": " + error.text());
                },
            .given_back = callbacks_.given_back,
        });
    if (address->kind == MigrationAddress::Kind::Fd) {
        auto fd = take_descriptor(address->fd_name);
        if (!fd)
            return pass(fd);
        door_->take(std::move(*fd), "fd:" + address->fd_name);
    } else if (Status listening = door_->listen(*address); !listening) {
        door_.reset();
        return listening;
    }
    incoming_deferred_ = false;
    send_status("setup");
    return {};
}

Status MigrateControl::may_migrate() const
{
    if (is_migrating())
        return fail(ErrorKind::Refused, "There's a migration process in progress");
    if (source_ && source_->state() == SourceState::Completed)
        return fail(ErrorKind::Refused,
                    "the guest was migrated already and runs at its destination", "quit this one");
    if (awaits_guest())
        return fail(ErrorKind::Refused, "Guest is waiting for an incoming migration");
    if (door_ && door_->session() && is_postcopy(door_->session()->state()))
        return fail(ErrorKind::Refused, "the guest's memory is still coming in (post-copy)",
                    "wait until query-migrate says completed");
    return {};
}

Status MigrateControl::migrate(const Json& arguments, const std::vector<std::string>& blockers)
{
    if (Status may = may_migrate(); !may)
        return may;
    if (Status clear = check_blockers(blockers); !clear)
        return clear;
    if (Status known = check_migrate_arguments(arguments); !known)
        return known;
    auto address = MigrationAddress::parse(json_string(arguments, "uri"));
    if (!address)
        return pass(address);
    SourceOptions options;
    options.address = *address;
    options.channels = settings_.channels();
    options.max_bandwidth = settings_.max_bandwidth();
    options.wish = settings_.wish();
    options.pause_before_switchover = settings_.capability("pause-before-switchover");
    options.software = software;
    if (address->kind == MigrationAddress::Kind::Fd) {
        auto fd = take_descriptor(address->fd_name);
        if (!fd)
            return pass(fd);
        options.connected = std::move(*fd);
    }
    if (Status ours = claim(); !ours)
        return ours;
    end_forecast(QmpResponse::error("a migration began"));
    std::erase_if(tellers_, [](const auto& teller) { return teller->finished(); });
    if (source_)
        if (auto teller = source_->take_teller())
            tellers_.push_back(std::move(teller));
    source_ = std::make_unique<SourceSession>(
        machine_, policy_, std::move(options),
        SourceObserver{
            .state_changed = [this](SourceState state) { source_changed(state); },
            .decided = [this](const Decision& decision) { decided(decision); },
        });
    last_status_.clear();
    send_status("setup");
    source_->start();
    return {};
}

Status MigrateControl::cancel()
{
    // As in QEMU, there is no error if there is nothing to cancel.
    if (!source_ || is_final(source_->state()) || source_->state() == SourceState::Unwinding)
        return {};
    return source_->give_up({ErrorKind::Cancelled, "the user cancelled the migration", ""});
}

Status MigrateControl::proceed(const Json& arguments)
{
    if (!source_ || json_string(arguments, "state") != migration_status(*source_))
        return fail(ErrorKind::Refused,
                    "Migration not in expected state: " +
                        (source_ ? migration_status(*source_) : std::string("none")));
    return source_->continue_switchover();
}

/// QEMU's rule: who may want it says so before the start.
Status MigrateControl::start_postcopy()
{
    if (!settings_.capability("postcopy-ram"))
        return fail(ErrorKind::Refused, "Enable postcopy with migrate_set_capability before the "
                                        "start of migration");
    if (!is_migrating())
        return fail(ErrorKind::Refused, "Postcopy must be started after migration has been "
                                        "started");
    return source_->start_postcopy();
}

Status MigrateControl::set_parameters(const Json& arguments)
{
    if (Status set = settings_.set_parameters(arguments); !set)
        return set;
    settings_changed();
    return {};
}

Status MigrateControl::set_policy(const Json& arguments)
{
    if (Status set = settings_.set_policy(arguments); !set)
        return set;
    settings_changed();
    return {};
}

/// Bytes a second that the migration may take: as the caller says, or as it would be limited; 0:
/// as many as the link carries.
Result<double> MigrateControl::forecast_bandwidth(const Json& arguments) const
{
    MigrationWish wish;
    if (const auto given = arguments.find("bandwidth"); given != arguments.end()) {
        const std::string text = given->is_string() ? given->get<std::string>() : given->dump();
        if (Status read = apply_policy_option(wish, "bandwidth", text); !read)
            return pass(read);
    }
    const uint64_t bandwidth = wish.bandwidth ? wish.bandwidth : settings_.max_bandwidth();
    if (bandwidth == 0 && !arguments.contains("uri"))
        return fail(ErrorKind::Invalid, "the link's bandwidth is not known",
                    "give the destination's uri, to have it measured, or bandwidth, such as "
                    "\"117MB/s\" for a gigabit link, or set max-bandwidth");
    return static_cast<double>(bandwidth);
}

/// Where the destination is named the link to it is measured, and it is asked what it can.
void MigrateControl::probe_link(const Json& arguments, std::function<void(Result<LinkReport>)> done)
{
    const auto hold = machine_.page_hold();
    const std::string uri = json_string(arguments, "uri");
    if (uri.empty())
        return done(LinkReport{.no_postcopy = hold ? "" : hold.error().text()});
    auto address = MigrationAddress::parse(uri);
    if (!address)
        return done(pass(address));
    if (address->kind == MigrationAddress::Kind::Fd)
        return done(fail(ErrorKind::Invalid, "a link that was handed over (fd:) is used only once",
                         "give bandwidth instead of uri"));
    probe_ = std::make_unique<LinkProbe>(*address, std::move(done));
}

void MigrateControl::forecast(const Json& arguments, const std::vector<std::string>& blockers,
                              QmpResponder respond)
{
    if (Status clear = check_blockers(blockers); !clear)
        return respond(QmpResponse::error(clear.error()));
    auto bandwidth = forecast_bandwidth(arguments);
    if (!bandwidth)
        return respond(QmpResponse::error(bandwidth.error()));
    if (is_migrating() || awaits_guest())
        return respond(QmpResponse::error("a migration is under way: see query-migrate"));
    if (forecast_respond_)
        return respond(QmpResponse::error("a forecast is being made already"));
    forecast_respond_ = std::move(respond);
    ++forecast_number_;
    probe_link(arguments, [this, bandwidth = *bandwidth](Result<LinkReport> link) {
        if (!link)
            return end_forecast(QmpResponse::error(link.error()));
        if (bandwidth > 0)
            link->bytes_s = link->bytes_s > 0 ? std::min(link->bytes_s, bandwidth) : bandwidth;
        watch_guest(*link);
    });
}

void MigrateControl::watch_guest(const LinkReport& link)
{
    machine_.describe([this, number = forecast_number_, link](const Result<Json>& known) {
        if (!forecast_respond_ || number != forecast_number_)
            return;
        if (!known)
            return end_forecast(QmpResponse::error(known.error()));
        watch_ = std::make_unique<GuestWatch>(machine_, [this, link](Result<MigrationStats> stats) {
            watched(std::move(stats), link);
        });
    });
}

void MigrateControl::watched(Result<MigrationStats> stats, const LinkReport& link)
{
    if (!stats)
        return end_forecast(QmpResponse::error(stats.error()));
    stats->link_bytes_s = link.bytes_s;
    stats->handover_s = usual_handover_s + hand_over_trips * link.round_trip_s;
    stats->can_slow = machine_.can_slow().has_value();
    stats->can_postcopy = link.no_postcopy.empty();
    end_forecast(QmpResponse::ok(
        forecast_json(*stats, drover::forecast(settings_.wish(), *stats, link.no_postcopy), link)));
}

void MigrateControl::end_forecast(const QmpResponse& response)
{
    if (!forecast_respond_)
        return;
    std::exchange(forecast_respond_, nullptr)(response);
    // Not within their calls.
    loop::post([watch = std::shared_ptr<GuestWatch>(std::move(watch_)),
                probe = std::shared_ptr<LinkProbe>(std::move(probe_))] {});
}

/// For the migration under way, too.
void MigrateControl::settings_changed()
{
    if (!source_ || is_final(source_->state()))
        return;
    source_->set_max_bandwidth(settings_.max_bandwidth());
    if (is_before_commit(source_->state()))
        source_->set_wish(settings_.wish());
}

void MigrateControl::decided(const Decision& decision)
{
    log::info("migration: " + decision.reason);
    Json data = decision_json(decision);
    data["round"] = source_->report().rounds.size();
    callbacks_.event(make_event("MIGRATION_DECISION", std::move(data)));
}

Status MigrateControl::resolve(const Json& arguments)
{
    const auto here = arguments.find("guest-is-here");
    if (here == arguments.end() || !here->is_boolean())
        return fail(ErrorKind::Invalid, "Parameter 'guest-is-here' is missing");
    if (source_)
        return source_->resolve(here->get<bool>());
    if (door_ && door_->session())
        return door_->session()->resolve(here->get<bool>());
    return fail(ErrorKind::Refused, "there is no migration to resolve");
}

Json MigrateControl::query() const
{
    if (source_)
        return migrate_info(*source_, settings_.wish(), ram_bytes());
    if (door_ && door_->session())
        return migrate_info(*door_->session());
    if (door_)
        return Json{{"status", "setup"}};
    return Json::object();
}

uint64_t MigrateControl::ram_bytes() const
{
    uint64_t total = 0;
    for (const RamBlock& block : machine_.ram())
        total += block.size;
    return total;
}

void MigrateControl::name_descriptor(const std::string& name, UniqueFd fd)
{
    descriptors_[name] = std::move(fd);
}

void MigrateControl::forget_descriptor(const std::string& name)
{
    descriptors_.erase(name);
}

/// As in QEMU: a name given by getfd, or else the number of an inherited descriptor.
Result<UniqueFd> MigrateControl::take_descriptor(const std::string& name)
{
    if (const auto found = descriptors_.find(name); found != descriptors_.end()) {
        UniqueFd fd = std::move(found->second);
        descriptors_.erase(found);
        return fd;
    }
    // Only what we were born with: any other number is a descriptor of our own.
    int number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || inherited_.erase(number) == 0)
        return fail(ErrorKind::Invalid, "File descriptor named '" + name + "' has not been found");
    UniqueFd inherited(number);
    auto copy = inherited.duplicate();
    if (!copy)
        (void)inherited.release();
    return copy;
}

void MigrateControl::source_changed(SourceState state)
{
    send_status(migration_status(*source_));
    const SourceReport& report = source_->report();
    if (state == SourceState::Failed && report.error->kind != ErrorKind::Cancelled)
        log::error("the migration failed, and the guest stays here: " + report.error->text());
    if (state == SourceState::Completed) {
        char text[160];
        snprintf(text, sizeof text,
                 "migrated in %.2f s, %zu rounds, downtime %.1f ms as seen from the source",
                 report.total_s, report.rounds.size(), report.downtime_s * 1e3);
        log::info(text);
        if (report.postcopy)
            callbacks_.served();
    }
    if (state == SourceState::Postcopy)
        log::info("the guest runs at its destination; " + std::to_string(report.postcopy_left) +
                  " pages follow");
}

void MigrateControl::destination_changed(DestinationState state)
{
    const DestinationSession& session = *door_->session();
    if (state == DestinationState::TakingOver)
        machine_.set_activates_late(settings_.capability("late-block-activate"));
    send_status(migration_status(session));
    if (state == DestinationState::Completed)
        log::info("the guest came from " + session.report().source + " and is here now");
    if (state == DestinationState::Failed)
        callbacks_.incoming_failed(*session.report().error);
}

/// As in QEMU: only with the capability "events", and each but once in a row.
void MigrateControl::send_status(const std::string& status)
{
    if (status == last_status_)
        return;
    last_status_ = status;
    if (settings_.capability("events"))
        callbacks_.event(make_event("MIGRATION", Json{{"status", status}}));
}

Status MigrateControl::may_change_run_state() const
{
    if (!source_)
        return {};
    switch (source_->state()) {
    case SourceState::Switching:
    case SourceState::Paused:
    case SourceState::Loading:
    case SourceState::Unwinding:
        return fail(ErrorKind::Refused, "the guest is being handed over to its destination",
                    "wait for the migration's end, or use migrate_cancel");
    case SourceState::Committing:
    case SourceState::Asking:
        return fail(ErrorKind::Refused,
                    "the guest may be running at its destination: the link broke at the switchover",
                    "migrate-resolve says whose it is");
    case SourceState::Postcopy:
    case SourceState::PostcopyPaused:
        return fail(ErrorKind::Refused, "the guest runs at its destination",
                    "a second copy would destroy its disks");
    case SourceState::Completed:
        // Left paused there, it is for the user to say who runs it: libvirt decides so.
        if (source_->report().arrived_paused)
            return {};
        return fail(ErrorKind::Refused, "the guest runs at its destination",
                    "a second copy would destroy its disks; quit this one");
    default: return {};
    }
}

bool MigrateControl::guest_is_away() const
{
    return source_ && source_->state() == SourceState::Completed &&
           source_->report().arrived_paused;
}

void MigrateControl::take_back(std::function<void(Status)> done)
{
    source_->take_back([this, done = std::move(done)](Status back) {
        if (!back)
            return done(std::move(back));
        loop::post([this, done] { // not within its callback
            if (guest_is_away())
                source_.reset();
            done({});
        });
    });
}

Status MigrateControl::claim()
{
    return door_ && door_->session() ? door_->session()->claim() : Status();
}

bool MigrateControl::owes_an_answer() const
{
    return door_ && door_->session() && door_->session()->owes_an_answer();
}

bool MigrateControl::awaits_guest() const
{
    if (incoming_deferred_ || !door_)
        return incoming_deferred_;
    DestinationSession* session = door_->session();
    return !session || !is_committed(session->state()) ||
           session->state() == DestinationState::TakingOver;
}

bool MigrateControl::is_migrating() const
{
    return source_ && !is_final(source_->state());
}

void MigrateControl::ram_changes()
{
    end_forecast(QmpResponse::error("the guest's memory was changed: ask again"));
}

GuestPhase MigrateControl::phase() const
{
    if (is_migrating()) {
        switch (source_->state()) {
        case SourceState::Connecting:
        case SourceState::Greeting:
        case SourceState::Joining:
        case SourceState::Copying:
        case SourceState::Switching: return GuestPhase::Moving;
        default: return GuestPhase::HandedOver;
        }
    }
    if (!door_ || !door_->session() || is_final(door_->session()->state()))
        return GuestPhase::Free;
    switch (door_->session()->state()) {
    case DestinationState::Greeting: return GuestPhase::Free; // nothing is accepted yet
    case DestinationState::Preparing:
    case DestinationState::Receiving: return GuestPhase::Moving;
    // The guest runs here, its memory as it was described must stay.
    case DestinationState::Postcopy:
    case DestinationState::PostcopyPaused: return GuestPhase::Moving;
    default: return GuestPhase::HandedOver;
    }
}

bool MigrateControl::serves_pages() const
{
    return source_ && is_postcopy(source_->state());
}

bool MigrateControl::is_taking_over() const
{
    return door_ && door_->session() && door_->session()->state() == DestinationState::TakingOver;
}

bool MigrateControl::process_died(const Error& how)
{
    machine_.process_died(how);
    if (source_ && is_before_commit(source_->state())) {
        (void)source_->give_up(how);
        return true;
    }
    if (door_ && door_->session() &&
        (!is_final(door_->session()->state()) || door_->session()->is_given_back())) {
        door_->session()->machine_died(how);
        return true;
    }
    return false;
}

} // namespace drover
