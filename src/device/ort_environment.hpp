// ONNX Runtime's environment.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>

namespace kvcache::device {

/// Of the whole process, silent: sessions have their own log. Making it takes 16 ms, for it
/// registers the schemas of all operators; it must be there before a session, or a provider's
/// options, but weights can be read meanwhile.
///
/// Who makes a session keeps this as long. It is destroyed when the process ends; where a session
/// is still there then, it is left to the system.
/// @throws Error device_unavailable while the process is ending
std::shared_ptr<Ort::Env> ort_environment();

/// To be called when the library of a provider (CUDA's) has been loaded: makes the environment go
/// before that library's static objects.
///
/// The environment's destructor shuts the provider down, which lets go of the provider's kernel
/// registry, a static `std::shared_ptr`. exit() destroys static objects in the reverse order of
/// their construction, so those of a library that was loaded after the environment had been made
/// go first, and the registry's count was decremented in memory that had been freed: in one process
/// of a hundred the heap's lists lay there, and it aborted with "malloc(): corrupted ...". ONNX
/// Runtime alone does the same with a static `Ort::Env` (seen with 1.31.1).
void destroy_environment_before_provider();

}  // namespace kvcache::device
