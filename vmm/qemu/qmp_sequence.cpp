// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/qmp_sequence.h"

#include <memory>

namespace drover::qemu {

namespace {

struct Sequence {
    QmpClient& client;
    std::vector<QmpStep> steps;
    std::function<bool()> go_on;
    std::function<void(Result<std::vector<Json>>)> done;
    std::vector<Json> values;
};

void run_next(const std::shared_ptr<Sequence>& sequence)
{
    const size_t at = sequence->values.size();
    if (at == sequence->steps.size())
        return sequence->done(std::move(sequence->values));
    if (!sequence->go_on())
        return sequence->done(fail(ErrorKind::Cancelled, "it was given up meanwhile"));
    QmpStep& step = sequence->steps[at];
    sequence->client.execute(
        step.command, std::move(step.arguments),
        [sequence, at](Result<Json> value) {
            if (!value) {
                const std::string& command = sequence->steps[at].command;
                return sequence->done(
                    std::unexpected(std::move(value.error()).in("QEMU's " + command)));
            }
            sequence->values.push_back(std::move(*value));
            run_next(sequence);
        },
        std::move(step.fds));
}

} // namespace

void run_sequence(QmpClient& client, std::vector<QmpStep> steps, std::function<bool()> go_on,
                  std::function<void(Result<std::vector<Json>>)> done)
{
    run_next(std::make_shared<Sequence>(
        Sequence{client, std::move(steps), std::move(go_on), std::move(done), {}}));
}

} // namespace drover::qemu
