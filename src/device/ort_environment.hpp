// ONNX Runtime's environment.
#pragma once

#include <onnxruntime_cxx_api.h>

namespace kvcache::device {

/// Of the whole process, silent: sessions have their own log. Making it takes 16 ms, for it
/// registers the schemas of all operators; it must be there before a session, or a provider's
/// options, but weights can be read meanwhile. The first call makes it and decides about
/// ONNX Runtime's telemetry (ModelOptions::telemetry).
Ort::Env& ort_environment(bool telemetry);

}  // namespace kvcache::device
