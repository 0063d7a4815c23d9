#include "device/telemetry_off.hpp"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

namespace kvcache::device {
namespace {

constexpr const char* kVariable = "ORT_DISABLE_TELEMETRY";

/// Tables are kept to the end of the process: a thread may still be reading one.
char** keep(std::vector<char*> entries) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<std::vector<char*>>> kept;
  const std::scoped_lock lock(mutex);
  return kept.emplace_back(std::make_unique<std::vector<char*>>(std::move(entries)))->data();
}

}  // namespace

TelemetryOff::TelemetryOff() {
  if (std::getenv(kVariable) != nullptr) {  // NOLINT(concurrency-mt-unsafe): as safe as any getenv
    return;
  }
  static char entry[] = "ORT_DISABLE_TELEMETRY=1";
  before_ = __atomic_load_n(&environ, __ATOMIC_ACQUIRE);
  std::vector<char*> entries;
  for (char** at = before_; at != nullptr && *at != nullptr; ++at) {
    entries.push_back(*at);
  }
  entries.push_back(static_cast<char*>(entry));
  entries.push_back(nullptr);
  table_ = keep(std::move(entries));
  __atomic_store_n(&environ, table_, __ATOMIC_RELEASE);
}

TelemetryOff::~TelemetryOff() {
  char** expected = table_;
  if (table_ != nullptr && !__atomic_compare_exchange_n(&environ, &expected, before_, false,
                                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    // Another thread set a variable meanwhile, and with that has taken over the table's entries.
    ::unsetenv(kVariable);  // NOLINT(concurrency-mt-unsafe): it moves entries and frees nothing
  }
}

}  // namespace kvcache::device
