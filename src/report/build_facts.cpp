#include "report/build_facts.hpp"

#include <fmt/format.h>
#include <onnxruntime_c_api.h>

#include "cache/state_header.hpp"
#include "model/config.hpp"
#include "report/environment.hpp"

namespace kvcache::report {

std::vector<std::pair<std::string, std::string>> build_facts() {
  const Environment environment = read_environment();
#ifdef KVCACHE_USE_CUDA
  const char* const cuda = "in this build";
#else
  const char* const cuda = "not in this build";
#endif
  constexpr bool kSanitised = sizeof(KVCACHE_SANITISERS) > 1;
  return {{"Compiler", environment.compiler},
          {"Build", fmt::format("{}{}{}", KVCACHE_BUILD_TYPE, kSanitised ? ", sanitisers " : "",
                                KVCACHE_SANITISERS)},
          {"ONNX Runtime",
           fmt::format("{}, headers 1.{}", environment.onnxruntime_version, ORT_API_VERSION)},
          {"CUDA", cuda},
          {"Model files", fmt::format("format {}", model::kFormatVersion)},
          {"Saved states", fmt::format("formats 1 to {}", cache::kNewestFormatVersion)}};
}

}  // namespace kvcache::report
