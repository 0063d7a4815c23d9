// ONNX Runtime's telemetry, kept off.
#pragma once

namespace kvcache::device {

/// While one is there, ONNX Runtime finds ORT_DISABLE_TELEMETRY=1 in the process's environment,
/// unless that has a value of the host's already, which stays.
///
/// Official builds of ONNX Runtime 1.29 and later begin to send telemetry when their environment is
/// made, and that variable is the only thing they look at; DisableTelemetryEvents() comes too late.
/// setenv(3) is not for a library: it may free the table that another thread is reading. So another
/// table, one entry longer, takes the place of the process's for the few milliseconds; both are
/// whole at any time. Variables that other threads set meanwhile stay. A program that another
/// thread starts meanwhile gets the entry too, which does no harm.
class TelemetryOff {
 public:
  /// @throws std::bad_alloc
  TelemetryOff();
  TelemetryOff(const TelemetryOff&) = delete;
  TelemetryOff& operator=(const TelemetryOff&) = delete;
  ~TelemetryOff();

 private:
  char** before_ = nullptr;
  char** table_ = nullptr;  // null where the host's value stays
};

}  // namespace kvcache::device
