#include "device/ort_environment.hpp"

#include <cstdlib>
#include <optional>

#include "base/throw_error.hpp"
#include "device/telemetry_off.hpp"

namespace kvcache::device {
namespace {

void ORT_API_CALL drop_message(void* /*param*/, OrtLoggingLevel /*severity*/,
                               const char* /*category*/, const char* /*logid*/,
                               const char* /*code_location*/, const char* /*message*/) {}

/// The process's own hold on the environment. No destructor of a static object: when the
/// environment goes is for handlers of exit() to say, which can be registered more than once.
std::shared_ptr<Ort::Env>& held() {
  static auto* const environment = new std::shared_ptr<Ort::Env>;
  return *environment;
}

std::shared_ptr<Ort::Env> new_environment(bool telemetry) {
  std::optional<TelemetryOff> off;
  if (!telemetry) {
    off.emplace();
  }
  return std::make_shared<Ort::Env>(ORT_LOGGING_LEVEL_WARNING, "kvcache", &drop_message, nullptr);
}

void let_go() {
  if (held().use_count() == 1) {
    held().reset();
  }
}

}  // namespace

std::shared_ptr<Ort::Env> ort_environment(bool telemetry) {
  static const bool made = [&] {
    held() = new_environment(telemetry);
    return std::atexit(&let_go) == 0;
  }();
  if (!made || !held()) {
    throw_error(ErrorCode::device_unavailable,
                "ONNX Runtime cannot be used: the process is ending");
  }
  return held();
}

void destroy_environment_before_provider() {
  static const bool registered = std::atexit(&let_go) == 0;  // the last registered runs first
  static_cast<void>(registered);
}

}  // namespace kvcache::device
