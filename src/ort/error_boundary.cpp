#include "ort/error_boundary.hpp"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "base/throw_error.hpp"

namespace kvcache {
namespace {

/// ONNX Runtime has no code for it: what its allocators, std::bad_alloc and the system's ENOMEM
/// leave in its message.
constexpr std::array<std::string_view, 5> kNoMemory{"bad_alloc", "bad allocation",
                                                    "Cannot allocate memory",
                                                    "Failed to allocate memory", "out of memory"};

/// Nor for these of the system's: EMFILE, EAGAIN.
constexpr std::array<std::string_view, 2> kRefused{"Too many open files",
                                                   "Resource temporarily unavailable"};

bool says_one_of(const Ort::Exception& error, std::span<const std::string_view> parts) {
  const std::string_view message = error.what();
  return std::ranges::any_of(
      parts, [&](std::string_view part) { return message.find(part) != std::string_view::npos; });
}

}  // namespace

void rethrow_as_error(const Meaning& meaning) {
  try {
    throw;
  } catch (const Ort::Exception& error) {
    if (says_one_of(error, kNoMemory)) {
      throw_out_of_memory(meaning, error.what());
    }
    if (says_one_of(error, kRefused)) {
      throw_refused(meaning, error.what());
    }
    throw_error(meaning.otherwise, "{}: ONNX Runtime {}: {}", meaning.what, Ort::GetVersionString(),
                error.what());
  } catch (...) {
    rethrow_system_as_error(meaning);
  }
}

}  // namespace kvcache
