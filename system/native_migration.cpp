// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/native_migration.h"

namespace drover {

namespace {

/// One after the other; the first error, or the last answer, is the answer.
void run(QmpClient& qemu, std::shared_ptr<std::vector<Json>> commands, size_t at,
         std::function<void(Json)> done)
{
    qemu.forward((*commands)[at],
                 [&qemu, commands, at, done = std::move(done)](Json answer) mutable {
                     if (answer.contains("error") || at + 1 == commands->size())
                         return done(std::move(answer));
                     run(qemu, std::move(commands), at + 1, std::move(done));
                 });
}

} // namespace

void NativeMigration::migrate(const Json& arguments, QmpResponder respond)
{
    start(Phase::Sending,
          {qmp_command("migrate-set-capabilities", settings_.native_capabilities()),
           qmp_command("migrate-set-parameters", settings_.native_parameters()),
           qmp_command("migrate", arguments)},
          std::move(respond));
}

/// The guest is always started with -S, so QEMU has to be told by "cont" that it may run; it then
/// looks at the saved guest's own state.
void NativeMigration::migrate_incoming(const Json& arguments, bool run, QmpResponder respond)
{
    start(Phase::Receiving,
          {qmp_command("migrate-set-capabilities", settings_.native_capabilities()),
           qmp_command("migrate-set-parameters", settings_.native_parameters()),
           qmp_command(run ? "cont" : "stop"), qmp_command("migrate-incoming", arguments)},
          std::move(respond));
}

void NativeMigration::start(Phase phase, std::vector<Json> commands, QmpResponder respond)
{
    const Phase before = std::exchange(phase_, phase);
    run(qemu_, std::make_shared<std::vector<Json>>(std::move(commands)), 0,
        [this, alive = alive_, before, respond = std::move(respond)](Json answer) {
            // Its events may have come before the answer: then it is over already.
            if (*alive && answer.contains("error") && (is_sending() || awaits_guest()))
                refused(before);
            respond(QmpResponse{std::move(answer)});
        });
}

void NativeMigration::refused(Phase before)
{
    end();
    phase_ = before;
}

void NativeMigration::status_changed(const std::string& status)
{
    const bool good = status == "completed";
    if (!good && status != "failed" && status != "cancelled")
        return;
    if (phase_ != Phase::Sending && phase_ != Phase::Receiving)
        return;
    const bool incoming = phase_ == Phase::Receiving;
    end();
    if (incoming)
        callbacks_.incoming_ended(good);
}

/// The engine uses QEMU's migration too, and knows nothing of what the user has set.
void NativeMigration::end()
{
    phase_ = Phase::Over;
    if (Json reset = settings_.engine_parameters(); !reset.empty())
        qemu_.execute("migrate-set-parameters", std::move(reset), [](const Result<Json>&) {});
    qemu_.execute("migrate-set-capabilities", settings_.engine_capabilities(),
                  [](const Result<Json>&) {});
}

} // namespace drover
