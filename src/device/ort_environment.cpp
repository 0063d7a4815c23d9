#include "device/ort_environment.hpp"

#include <optional>

#include "device/telemetry_off.hpp"

namespace kvcache::device {
namespace {

void ORT_API_CALL drop_message(void* /*param*/, OrtLoggingLevel /*severity*/,
                               const char* /*category*/, const char* /*logid*/,
                               const char* /*code_location*/, const char* /*message*/) {}

Ort::Env new_environment(bool telemetry) {
  std::optional<TelemetryOff> off;
  if (!telemetry) {
    off.emplace();
  }
  return {ORT_LOGGING_LEVEL_WARNING, "kvcache", &drop_message, nullptr};
}

}  // namespace

Ort::Env& ort_environment(bool telemetry) {
  static Ort::Env environment = new_environment(telemetry);
  return environment;
}

}  // namespace kvcache::device
