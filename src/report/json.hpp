// The machine-readable form of what is reported; keys keep their order.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "kvcache/types.hpp"
#include "report/agreement.hpp"
#include "report/environment.hpp"
#include "report/read_bandwidth.hpp"

namespace kvcache::report {

using Json = nlohmann::ordered_json;

Json to_json(const Environment& environment);
Json to_json(const ModelInfo& info);
Json to_json(const Agreement& agreement);
Json to_json(const BandwidthResult& bandwidth);

/// Count, min, median, p90 and max of times in milliseconds, and the raw samples. Needs one sample.
Json times_to_json(const std::vector<double>& milliseconds);

}  // namespace kvcache::report
