// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/pulse.h"

namespace drover::balancer {

Pulse::Pulse(QmpClient& client, std::string command, Error silent, Patience patience)
    : client_(client), command_(std::move(command)), silent_(std::move(silent)),
      patience_(patience), timer_(loop::every(patience.period, [this] { feel(); }))
{
}

void Pulse::feel()
{
    if (*unanswered_ >= patience_.most_unanswered)
        return client_.give_up(silent_); // which may be the end of us
    if ((*unanswered_)++ == 0)
        client_.execute(command_, Json::object(),
                        [count = unanswered_](const Result<Json>&) { *count = 0; });
}

} // namespace drover::balancer
