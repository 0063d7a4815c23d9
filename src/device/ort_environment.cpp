#include "device/ort_environment.hpp"

#include <execinfo.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
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

/// An exception that passes a frame of the C library's (std::call_once has one) makes that load
/// libgcc_s, and where memory is short by then, which may be why it was thrown, the process ends:
/// "libgcc_s.so.1 must be installed for unwinding to work". A backtrace loads it now.
void load_unwinder() {
  void* frame = nullptr;
  static_cast<void>(::backtrace(&frame, 1));
}

/// ONNX Runtime 1.31.1 reads through null where there is no memory for the schemas that its
/// environment registers: asks for more than they take first. Not of malloc, whose ways change with
/// what it is given back.
/// @throws std::bad_alloc
void check_there_is_memory() {
  constexpr std::size_t kForEnvironment = std::size_t{32} << 20;
  void* const memory =
      ::mmap(nullptr, kForEnvironment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  ::munmap(memory, kForEnvironment);
}

void let_go() {
  if (held().use_count() == 1) {
    held().reset();
  }
}

}  // namespace

std::shared_ptr<Ort::Env> ort_environment(bool telemetry) {
  static const bool made = [&] {
    load_unwinder();
    check_there_is_memory();
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
