// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/plan.h"
#include "contrib/balancer/judge/plan_writer.h"

#include <algorithm>

namespace drover::balancer {

namespace {

Advice refuse(const Scene& scene, Reason reason, VmId vm, HostId to)
{
    return {std::nullopt, reason, refusal_text(scene, reason, vm, to), {}};
}

Reason refusal_of(const Scene& scene, VmId vm, HostId to)
{
    const Reason refusal = scene.pair_refusal(vm, to, Purpose::Asked);
    if (refusal != Reason::None)
        return refusal;
    const Step step{vm, scene.fleet().host_of(vm), to};
    return scene.evaluate({&step, 1}).refusal;
}

} // namespace

Advice check_move(const Snapshot& snapshot, VmId vm, HostId host)
{
    PlanWriter writer(snapshot);
    const Scene& scene = writer.scene();
    Reason refusal = scene.vm_refusal(vm, Purpose::Asked);
    if (refusal == Reason::None)
        refusal = refusal_of(scene, vm, host);
    if (refusal != Reason::None)
        return refuse(scene, refusal, vm, host);
    Advice advice{writer.describe({vm, snapshot.fleet->host_of(vm), host}), Reason::None, {}, {}};
    advice.why = "asked for; " + advice.move->why;
    advice.move->why = advice.why;
    return advice;
}

Advice best_target(const Snapshot& snapshot, VmId vm)
{
    PlanWriter writer(snapshot);
    const Scene& scene = writer.scene();
    if (const Reason refusal = scene.vm_refusal(vm, Purpose::Asked); refusal != Reason::None)
        return refuse(scene, refusal, vm, no_host);
    const Search search(writer.scene());
    const auto step = search.place(vm, Purpose::Asked);
    Advice advice;
    for (const HostId id : search.pool()) {
        if (advice.rejected.size() >= snapshot.rules.kept_rejections)
            break;
        Reason refusal = refusal_of(scene, vm, id);
        if ((step && id == step->to) || refusal == Reason::SameHost)
            continue;
        if (refusal == Reason::None)
            refusal = Reason::BetterThere;
        advice.rejected.push_back({0, vm, id, refusal, refusal_text(scene, refusal, vm, id)});
    }
    if (step) {
        advice.move = writer.describe(*step);
        advice.why = advice.move->why = "the best of the hosts; " + advice.move->why;
        return advice;
    }
    if (!advice.rejected.empty()) {
        advice.reason = advice.rejected[0].reason;
        advice.why = "no host takes it; the emptiest: " + advice.rejected[0].why;
    } else {
        const NobodyTakes nobody = nobody_takes(scene, vm);
        advice.reason = nobody.reason;
        advice.why = "no host takes it: " + nobody.why;
    }
    return advice;
}

} // namespace drover::balancer
