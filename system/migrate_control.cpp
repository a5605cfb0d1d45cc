// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_control.h"

#include "system/migrate_info.h"
#include "util/defect.h"
#include "util/log.h"

namespace drover {

namespace {
/// What "migrate" may have besides the address. What Drover does not do is refused rather than left
/// out.
Status check_migrate_arguments(const Json& arguments)
{
    for (const auto& [name, value] : arguments.items()) {
        if (name == "uri" || name == "channels" || name == "detach")
            continue;
        if (name != "blk" && name != "inc" && name != "resume")
            return fail(ErrorKind::Invalid, "Parameter '" + name + "' is unexpected");
        if (!value.is_boolean())
            return fail(ErrorKind::Invalid,
                        "Invalid parameter type for '" + name + "', expected: boolean");
        if (name != "resume" && value.get<bool>())
            return fail(ErrorKind::Refused, "Drover's migration has no '" + name + "'",
                        "share the disks between the hosts, or copy them by drive-mirror before");
    }
    return {};
}

} // namespace

MigrateControl::MigrateControl(Machine& machine, QmpClient& qemu, MigrationWish wish,
                               NamedDescriptors descriptors, Callbacks callbacks)
    : machine_(machine), qemu_(qemu), settings_(wish),
      native_(qemu, settings_,
              {.incoming_ended = [this](bool here) { incoming_deferred_ = !here; }}),
      descriptors_(std::move(descriptors)), callbacks_(std::move(callbacks))
{
}

MigrateControl::~MigrateControl() = default;

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

/// Another migration takes its place.
void MigrateControl::forget_source()
{
    std::erase_if(tellers_, [](const auto& teller) { return teller->finished(); });
    if (!source_)
        return;
    if (auto teller = source_->take_teller())
        tellers_.push_back(std::move(teller));
    source_.reset();
}

void MigrateControl::migrate_natively(const Json& arguments, const QmpResponder& respond)
{
    if (Status may = may_migrate(); !may)
        return respond(QmpResponse::error(may.error()));
    if (Status ours = claim(); !ours)
        return respond(QmpResponse::error(ours.error()));
    end_forecast(QmpResponse::error("a migration began"));
    forget_source();
    descriptors_.used_by(arguments);
    native_.migrate(arguments, respond);
}

void MigrateControl::migrate(const Json& arguments, const std::vector<std::string>& blockers,
                             const QmpResponder& respond)
{
    auto where = target(arguments);
    const Status may = where ? check_migration(arguments, blockers) : pass(where);
    if (!may)
        return respond(QmpResponse::error(may.error()));
    read_tls_credentials(qemu_, settings_.tls(), TlsWords::Endpoint::Client, where->address.host,
                         [this, arguments, respond](Result<SharedTlsCredentials> tls) {
                             answer(respond, tls ? begin(arguments, std::move(*tls)) : pass(tls));
                         });
}

Status MigrateControl::check_migration(const Json& arguments,
                                       const std::vector<std::string>& blockers) const
{
    if (Status may = may_migrate(); !may)
        return may;
    if (Status clear = check_blockers(blockers); !clear)
        return clear;
    if (Status known = check_migrate_arguments(arguments); !known)
        return known;
    return settings_.check_capabilities();
}

Status MigrateControl::begin(const Json& arguments, SharedTlsCredentials tls)
{
    if (Status may = may_migrate(); !may) // another may have begun meanwhile
        return may;
    auto where = target(arguments);
    if (!where)
        return pass(where);
    MigrationAddress& address = where->address;
    SourceOptions options;
    options.channels = settings_.channels();
    options.max_bandwidth = settings_.max_bandwidth();
    options.wish = settings_.wish();
    options.encodings = settings_.encodings();
    options.pause_before_switchover = settings_.capability("pause-before-switchover");
    options.validate_uuid = settings_.capability("validate-uuid");
    options.software = own_software;
    if (address.kind == MigrationAddress::Kind::Fd) {
        auto fd = take_connection(address.fd_name);
        if (!fd)
            return pass(fd);
        options.connected = std::move(*fd);
    }
    options.destination = {std::move(address), std::move(tls), options.wish.tcp_congestion};
    options.max_postcopy_bandwidth = settings_.max_postcopy_bandwidth();
    if (Status ours = claim(); !ours)
        return ours;
    end_forecast(QmpResponse::error("a migration began"));
    native_.forget();
    forget_source();
    source_ = std::make_unique<SourceSession>(
        machine_, policy_, std::move(options),
        SourceObserver{
            .state_changed = [this](SourceState state) { source_changed(state); },
            .decided = [this](const Decision& decision) { decided(decision); },
        });
    last_status_.clear();
    carry_bitmaps(true);
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

/// QEMU itself says whether they make sense, in its words. It is given them for a moment only: most
/// would change what the engine uses QEMU's migration for.
void MigrateControl::set_capabilities(const Json& arguments, QmpResponder respond)
{
    if (is_migrating())
        return respond(QmpResponse::error("There's a migration process in progress"));
    const auto trial = settings_.capability_trial(arguments);
    const auto kept = [this, arguments, respond = std::move(respond)](Json response) {
        if (!response.contains("error"))
            settings_.set_capabilities(arguments);
        respond(QmpResponse{std::move(response)});
    };
    // While a guest comes in, QEMU's are the engine's.
    if (door_ && door_->session() && !is_final(door_->session()->state()))
        return kept(Json{{"return", Json::object()}});
    qemu_.forward(qmp_command("migrate-set-capabilities", trial.set), kept);
    if (!native_.awaits_guest())
        qemu_.forward(qmp_command("migrate-set-capabilities", trial.undo), [](const Json&) {});
}

void MigrateControl::set_parameters(const Json& arguments, QmpResponder respond)
{
    auto for_qemu = settings_.check_parameters(arguments);
    if (!for_qemu)
        return respond(QmpResponse::error(for_qemu.error()));
    qemu_.forward(qmp_command("migrate-set-parameters", std::move(*for_qemu)),
                  [this, arguments, respond = std::move(respond)](Json response) {
                      if (!response.contains("error")) {
                          settings_.set_parameters(arguments);
                          settings_changed();
                      }
                      respond(QmpResponse{std::move(response)});
                  });
}

Status MigrateControl::pause_postcopy()
{
    if (source_)
        return source_->break_postcopy();
    return fail(ErrorKind::Refused,
                "migrate-pause is currently only supported during postcopy-active state",
                "say it at the source");
}

namespace {

Result<MigrationAddress> address_to_call(const Json& arguments, const NamedDescriptors& descriptors)
{
    auto target = MigrateTarget::parse(arguments, descriptors);
    if (!target)
        return pass(target);
    if (target->native || target->address.kind == MigrationAddress::Kind::Fd)
        return fail(ErrorKind::Invalid, "a post-copy goes on over a connection made anew",
                    "give tcp:HOST:PORT or unix:PATH");
    return std::move(target->address);
}

} // namespace

/// "migrate" with "resume".
Status MigrateControl::resume(const Json& arguments)
{
    if (!source_)
        return fail(ErrorKind::Refused, "Cannot resume if there is no paused migration");
    auto address = address_to_call(arguments, descriptors_);
    return address ? source_->resume_at(std::move(*address)) : pass(address);
}

/// The source is to call at another address, where the former one is out of its reach.
Status MigrateControl::recover_postcopy(const Json& arguments)
{
    if (!door_ || !door_->session() ||
        door_->session()->state() != DestinationState::PostcopyPaused)
        return fail(ErrorKind::Refused, "Migrate recover can only be run when postcopy is paused.");
    auto address = address_to_call(arguments, descriptors_);
    if (!address)
        return pass(address);
    if (door_->listening() && door_->listening()->address().text() == address->text())
        return {};
    return door_->listen(*address);
}

Status MigrateControl::set_policy(const Json& arguments)
{
    if (Status set = settings_.set_policy(arguments); !set)
        return set;
    settings_changed();
    return {};
}

/// For the migration under way, too.
void MigrateControl::settings_changed()
{
    if (!source_ || is_final(source_->state()))
        return;
    source_->set_max_bandwidth(settings_.max_bandwidth(), settings_.max_postcopy_bandwidth());
    if (is_before_commit(source_->state()))
        source_->set_wish(settings_.wish());
}

void MigrateControl::decided(const Decision& decision)
{
    log::info("migration: " + decision.reason);
    Json data = decision_json(decision);
    data["round"] = source_->report().rounds.size();
    callbacks_.event(make_event("MIGRATION_DECISION", std::move(data)));
    send_pass();
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
    Json info = source_ ? migrate_info(*source_, settings_.wish(), ram_bytes()) : query_incoming();
    if (const uint64_t defects = defects::count(); defects > 0)
        info["drover"]["defects"] = defects;
    return info;
}

uint64_t MigrateControl::ram_bytes() const
{
    uint64_t total = 0;
    for (const RamBlock& block : machine_.ram())
        total += block.size;
    return total;
}

/// As in QEMU: a name given by getfd, or else the number of an inherited descriptor. QEMU's copy
/// goes with its name, or the peer would wait for its end for ever.
Result<UniqueFd> MigrateControl::take_connection(const std::string& name)
{
    auto taken = descriptors_.take(name);
    if (!taken)
        return pass(taken);
    if (taken->named)
        qemu_.forward(qmp_command("closefd", Json{{"fdname", name}}), [](const Json&) {});
    return std::move(taken->fd);
}

/// Bitmaps of disks are devices' business: QEMU's stream of the devices carries them, if both QEMUs
/// are told so. Off again at the end: another destination may know nothing of them.
void MigrateControl::carry_bitmaps(bool on)
{
    if (!settings_.capability("dirty-bitmaps"))
        return;
    Json list = Json::array({Json{{"capability", "dirty-bitmaps"}, {"state", on}}});
    qemu_.forward(qmp_command("migrate-set-capabilities", Json{{"capabilities", std::move(list)}}),
                  [](const Json&) {});
}

bool MigrateControl::native_event(const Json& event)
{
    if (!native_.in_charge())
        return false;
    const auto data = event.find("data");
    if (data != event.end() && json_string(event, "event") == "MIGRATION")
        native_.status_changed(json_string(*data, "status"));
    return settings_.capability("events");
}

void MigrateControl::source_changed(SourceState state)
{
    send_status(migration_status(*source_));
    const SourceReport& report = source_->report();
    if (state == SourceState::Copying && report.link_breaks == 0)
        send_pass();
    else if (state == SourceState::Copying || state == SourceState::Reconnecting)
        send_link(report.link_error);
    if (is_final(state)) {
        carry_bitmaps(false);
        callbacks_.source_ended();
    }
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

/// As in QEMU: only with the capability "events", and each but once in a row.
void MigrateControl::send_status(const std::string& status)
{
    if (status == last_status_)
        return;
    last_status_ = status;
    if (settings_.capability("events"))
        callbacks_.event(make_event("MIGRATION", Json{{"status", status}}));
}

void MigrateControl::send_link(const std::optional<Error>& broken)
{
    Json data{{"up", !broken}};
    if (broken)
        data["reason"] = broken->text();
    callbacks_.event(make_event("MIGRATION_LINK", std::move(data)));
}

/// A round begins. As QEMU tells it, the first when it starts to copy.
void MigrateControl::send_pass()
{
    if (settings_.capability("events"))
        callbacks_.event(
            make_event("MIGRATION_PASS", Json{{"pass", source_->report().rounds.size() + 1}}));
}

void MigrateControl::defect_found(const Error& defect)
{
    if (source_)
        (void)source_->give_up(defect);
    if (door_ && door_->session())
        door_->session()->give_up(defect);
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
