#include "device/ort_environment.hpp"

namespace kvcache::device {
namespace {

void ORT_API_CALL drop_message(void* /*param*/, OrtLoggingLevel /*severity*/,
                               const char* /*category*/, const char* /*logid*/,
                               const char* /*code_location*/, const char* /*message*/) {}

}  // namespace

Ort::Env& ort_environment() {
  static Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "kvcache", &drop_message, nullptr);
  return environment;
}

}  // namespace kvcache::device
